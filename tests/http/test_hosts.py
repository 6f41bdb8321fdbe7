"""An endpoint with an address of its own: credentials, budget, links and errors over sockets."""

import asyncio

import pytest

from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken, Unreachable
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.plan import reader_of, shape_of
from pipeline.messages import RequestCounts
from pipeline.partitions.window import Window
from tests.dialects.test_requests import NOON
from tests.support.wire import DROP, Seen, answer, client_of, serving
from tests.support.yaml_sources import source_of

KEYS = ["k0", "k1", "k2"]


def source(url: str, other: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}/v1
        start: 2026-11-01
        auth: {{kind: bearer, token: its-key}}
        retries: {{errors: 2, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          users: {{key: [id], columns: {{id: string}}}}
          messages:
            base_url: {other}/v2
            paging: {{kind: link, limit: 1, next: next}}
            rows: data
            key: [id]
            columns: {{id: string}}
        """
    )


async def keys_of(made: Source, name: str) -> tuple[list[str], int]:
    """The keys of an endpoint, and how many requests the budget has counted."""
    spec, keys = made.endpoints[name], list[str]()
    window = Window("snapshot", None, NOON, 0.0)
    decoder = spec.format.decoder(shape_of(spec), label=f"api/{name}")
    async with client_of(made) as client:
        pages = PageFetcher(client, made, name, window, decoder, RequestCounts())
        async for handed in reader_of(spec, pages, window, 2).run(None):
            keys += handed.table["id"].to_pylist()
        return keys, client.stats.requests


def users(number: int, seen: Seen) -> bytes:
    return answer([{"id": "u"}])


def messages(number: int, seen: Seen) -> bytes:
    at = int(seen.target.partition("?page=")[2] or 0)
    following = f"/v2/messages?page={at + 1}" if at < 2 else None
    return answer({"data": [{"id": KEYS[at]}], "next": following})


def test_an_endpoint_at_another_host_has_the_same_key_and_budget() -> None:
    async def run() -> None:
        async with serving(users) as api, serving(messages) as other:
            made = source(api.url, other.url)
            assert await keys_of(made, "users") == (["u"], len(api.seen))
            assert await keys_of(made, "messages") == (KEYS, 3)
            assert [seen.target for seen in other.seen] == [
                "/v2/messages",
                "/v2/messages?page=1",
                "/v2/messages?page=2",
            ]
            sent = {seen.headers["authorization"] for seen in (*api.seen, *other.seen)}
            assert sent == {"Bearer its-key"}
            assert {seen.target for seen in api.seen} == {"/v1/users"}

    asyncio.run(run())


def test_a_link_of_an_endpoint_leads_to_its_own_host_alone() -> None:
    async def run() -> None:
        async with serving(users) as api:
            elsewhere = answer({"data": [{"id": "a"}], "next": f"{api.url}/v1/users"})
            async with serving(lambda number, seen: elsewhere) as other:
                with pytest.raises(ContractBroken, match="the credentials would go there"):
                    await keys_of(source(api.url, other.url), "messages")
            assert api.seen == []

    asyncio.run(run())


def test_an_error_names_the_host_of_its_endpoint() -> None:
    async def run() -> None:
        async with serving(lambda number, seen: DROP) as other:
            made = source("http://api.invalid", other.url)
            with pytest.raises(Unreachable, match=r"The API at 127\.0\.0\.1 "):
                await keys_of(made, "messages")

    asyncio.run(run())


def test_an_address_with_a_query_is_refused_at_its_line() -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.messages\.base_url: expected https://host/"):
        source("http://a.test", "http://b.test?x=1")


def test_staged_rows_of_an_endpoint_are_those_of_its_own_address() -> None:
    one, two = source("http://a.test", "http://b.test"), source("http://a.test", "http://c.test")
    assert one.definition("users") == two.definition("users")
    assert one.definition("messages") != two.definition("messages")
    assert one.base_urls == ("http://a.test/v1", "http://b.test/v2")
