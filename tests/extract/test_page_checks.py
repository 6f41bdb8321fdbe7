"""Pages that came, and are not what was asked for: how often they are asked for again, and what is
said of them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken, HeadraceError
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.plan import shape_of
from pipeline.http.client import Client
from pipeline.http.request_batching import RequestBatcher
from pipeline.http.retry import FailureKind
from pipeline.messages import RequestCounts, Sender
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window
from tests.support.wire import Answering, answer, client_of, serving
from tests.support.yaml_sources import source_of

SECRET = "k3y-that-is-said-again"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
HTML = answer(raw=f"<html><title>{SECRET} is odd</title>".encode())
DEEP = answer(raw=b'{"count": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")  # for any Python


def source_at(url: str, more: str = "", breaker: int = 20) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        auth: {{kind: api_key, name: x-key, key: {SECRET}}}
        retries: {{errors: 4, first_wait_s: 0.004, max_wait_s: 0.1}}
        breaker: {{failures: {breaker}}}
        limits: {{in_flight: 50}}
        endpoints:
          things: {{key: [id], columns: {{id: int64}}, {more}}}
        """
    )


def pages_of(source: Source, sender: Sender) -> PageFetcher:
    things = source.endpoints["things"]
    reader = things.format.decoder(shape_of(things), label="api/things")
    return PageFetcher(
        sender, source, "things", Window("snapshot", None, NOW, 0), reader, RequestCounts()
    )


def run(answering: Answering, test: Any, more: str = "", breaker: int = 20) -> int:
    """How many requests the test took."""

    async def main() -> int:
        async with serving(answering) as wire:
            source = source_at(wire.url, more, breaker)
            async with client_of(source) as client:
                await test(source, client)
            return len(wire.seen)

    return asyncio.run(main())


def test_a_bad_page_of_a_batcher_is_asked_for_as_often_and_as_slowly_as_by_the_client() -> None:
    async def test(source: Source, client: Client) -> None:
        batcher = RequestBatcher(client, source, 1)
        worker = asyncio.create_task(batcher.work())
        with pytest.raises(ApiUnavailable, match="the body is HTML or XML") as e:
            await pages_of(source, batcher).page(PageRequest(10))
        worker.cancel()
        assert SECRET not in str(e.value)
        assert "***" in str(e.value)
        assert "after 5 attempts" in str(e.value)
        assert client.spent.failures[FailureKind.ERROR] == 5
        assert 0.03 <= client.spent.waited_s <= 0.06  # 4, 8, 16 and 32 ms, of each half at least

    assert run(lambda number, seen: HTML, test) == 5


def test_what_breaks_the_contract_in_a_batcher_says_no_secret() -> None:
    odd = answer([{"id": f"{SECRET}"}])

    async def test(source: Source, client: Client) -> None:
        batcher = RequestBatcher(client, source, 1)
        worker = asyncio.create_task(batcher.work())
        with pytest.raises(ContractBroken, match=r"column `id` is declared int64.*\*\*\*") as e:
            await pages_of(source, batcher).page(PageRequest(10))
        worker.cancel()
        assert SECRET not in str(e.value)

    assert run(lambda number, seen: odd, test) == 3


def test_pages_that_break_the_contract_side_by_side_are_no_api_that_is_down() -> None:
    """Each is asked for three times: more odd pages in a row than the breaker takes failures."""
    odd = answer([{"id": "x"}])

    async def test(source: Source, client: Client) -> None:
        pages = pages_of(source, client)
        asked = (pages.page(PageRequest(10)) for _ in range(12))
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {ContractBroken}
        assert client.breaker_state == "closed"

    assert run(lambda number, seen: odd, test, breaker=5) == 36


CUT = answer(raw=b'[{"id": 1}, {"id"')


def test_bad_bodies_side_by_side_are() -> None:
    async def test(source: Source, client: Client) -> None:
        pages = pages_of(source, client)
        asked = (pages.page(PageRequest(10)) for _ in range(12))
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {ApiUnavailable}
        assert client.breaker_state == "open"

    assert run(lambda number, seen: CUT, test, breaker=5) <= 12


@pytest.mark.parametrize(
    ("body", "error", "said", "requests"),
    [
        (DEEP, ContractBroken, "nested over 1,000 levels deep", 3),
        (answer({"total": 7}), ContractBroken, "Check: 1. count.path; 2. count.at", 3),
        (answer({"count": "many"}), ContractBroken, "expected a number at `count`", 3),
        (answer([1]), ContractBroken, "expected a number at `count`", 3),
        (HTML, ContractBroken, "the body is HTML or XML", 2),
        (CUT, ApiUnavailable, "after 5 attempts", 5),
    ],
)
def test_a_count_that_is_none(
    body: bytes, error: type[HeadraceError], said: str, requests: int
) -> None:
    async def test(source: Source, client: Client) -> None:
        with pytest.raises(error, match=said) as e:
            await pages_of(source, client).count(PageRequest(10))
        assert SECRET not in str(e.value)

    assert run(lambda number, seen: body, test, more="count: {}") == requests
