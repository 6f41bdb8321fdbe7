"""Every request has an end: stalls and drips, of the API and of the token endpoint."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from pipeline.config.source import Source
from pipeline.errors import ApiUnavailable, AuthError, Unreachable
from pipeline.http.client import open_client
from pipeline.http.retry import FailureKind
from pipeline.messages import RequestCounts
from pipeline.ratelimit import Limits, RateWindow, open_budget
from tests.support.clock import Api, run
from tests.support.wire import (
    STALL,
    Answering,
    Seen,
    answer,
    client_of,
    read_json,
    serving,
    things,
    zipped,
)
from tests.support.yaml_sources import quick

CLIENT = "kind: oauth2_client_credentials, client_id: me, client_secret: s3cret-of-the-client"
LONG_S = 20.0  # nothing here takes so long, but what hangs
TOKEN = answer({"access_token": "t"})
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def within(source: Source, **seconds: float) -> Source:
    return source.model_copy(update={"timeouts": source.timeouts.model_copy(update=seconds)})


def of_token(url: str) -> str:
    return f"{{{CLIENT}, token_url: '{url}/token'}}"


async def failure(source: Source) -> str:
    """What the user is told of a page of this source, which does not hang."""
    async with client_of(source) as client, asyncio.timeout(LONG_S):
        with pytest.raises((ApiUnavailable, Unreachable, AuthError)) as caught:
            await client.fetch(things(source), read_json, "page", RequestCounts())
    return str(caught.value)


@pytest.mark.parametrize("said", [b"", TOKEN[:-4]], ids=["silent", "mid body"])
def test_a_token_endpoint_that_is_silent_is_a_timeout_of_it(said: bytes) -> None:
    async def test() -> None:
        async with serving(lambda *_: (said, STALL)) as wire:
            source = quick("http://127.0.0.1:9/v4", auth=of_token(wire.url))
            sentence = await failure(within(source, read_s=0.1))
            assert sentence.startswith(
                "page: no response from the token endpoint in time, after 2 attempts. The token "
                "endpoint at 127.0.0.1 has not responded once in this run. Check: 1. the address "
                "of the token endpoint; "
            )
            assert [seen.target for seen in wire.seen] == ["/token"] * 2

    asyncio.run(test())


def test_a_token_endpoint_that_is_silent_for_a_moment_is_asked_again() -> None:
    def silent_at_first(number: int, seen: Seen) -> bytes:
        if seen.method == "GET":
            return answer([1])
        return STALL if number == 1 else TOKEN

    async def test() -> None:
        async with serving(silent_at_first) as wire:
            source = within(quick(f"{wire.url}/v4", auth=of_token(wire.url)), read_s=0.1)
            async with client_of(source) as client, asyncio.timeout(LONG_S):
                pages = (
                    client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(4)
                )
                assert await asyncio.gather(*pages) == [[1]] * 4
            assert [seen.target for seen in wire.seen].count("/token") == 2

    asyncio.run(test())


def test_all_who_wait_for_a_token_that_does_not_come_learn_of_it_at_once() -> None:
    async def test() -> None:
        async with serving(lambda *_: STALL) as wire:
            source = within(quick("http://127.0.0.1:9/v4", auth=of_token(wire.url)), read_s=0.1)
            async with client_of(source) as client, asyncio.timeout(LONG_S):
                pages = [
                    client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(30)
                ]
                found = await asyncio.gather(*pages, return_exceptions=True)
                assert {type(error) for error in found} == {Unreachable}
                assert client.breaker_state == "closed"  # it is the API's
            assert len(wire.seen) <= 4

    asyncio.run(test())


@asynccontextmanager
async def dripping(head: bytes) -> AsyncIterator[str]:
    """The URL of a server that never stalls, and never comes to an end behind ``head``."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


HEADS = {"head": OK + b"X-Filler:", "body": OK + b"Content-Length: 9999999\r\n\r\n"}


@pytest.mark.parametrize("where", HEADS)
def test_an_answer_that_drips_is_cut_off(where: str) -> None:
    """Each read is in time, the whole is not."""

    async def test() -> None:
        async with dripping(HEADS[where]) as url:
            said = await failure(within(quick(url), read_s=5, total_s=0.1))
            assert said.startswith("page: no response in time, after ")

    asyncio.run(test())


@pytest.mark.parametrize("where", HEADS)
def test_a_token_that_drips_is_cut_off(where: str) -> None:
    async def test() -> None:
        async with dripping(HEADS[where]) as url:
            source = quick("http://127.0.0.1:9/v4", auth=of_token(url))
            said = await failure(within(source, read_s=5, total_s=0.1))
            assert said.startswith(
                "page: no response from the token endpoint in time, after 2 attempts"
            )

    asyncio.run(test())


def long_token(length: int) -> bytes:
    return b'{"access_token": "' + b"a" * length + b'"}'


LONG = {
    "long": (
        answer(raw=long_token(70_000)),
        "The response of the token endpoint is longer than 65,536 bytes. Expected a token",
    ),
    "packed": (
        answer(raw=b"..", head="Content-Encoding: gzip, gzip"),
        "The response of the token endpoint is compressed more than once",
    ),
    "deep": (
        answer(raw=b"[" * 60_000),
        "The token endpoint responded with 200 and no content type. Expected",
    ),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_token_has_a_token_s_size(kind: str) -> None:
    given, expected = LONG[kind]

    async def test() -> None:
        async with serving(lambda *_: given) as wire:
            said = await failure(quick("http://127.0.0.1:9/v4", auth=of_token(wire.url)))
            assert said.startswith(expected)
            assert said.endswith("Check `auth.token_url`.")
            assert len(wire.seen) == 1

    asyncio.run(test())


@pytest.mark.parametrize("given", [answer(raw=long_token(5000)), zipped(long_token(5000))])
def test_a_token_of_some_length_is_one(given: bytes) -> None:
    answering: Answering = lambda _, seen: given if seen.method == "POST" else answer([1])  # noqa: E731

    async def test() -> None:
        async with serving(answering) as wire:
            source = quick(f"{wire.url}/v4", auth=of_token(wire.url))
            async with client_of(source) as client:
                assert await client.fetch(things(source), read_json, "page", RequestCounts()) == [1]
            assert wire.seen[1].headers["authorization"] == "Bearer " + "a" * 5000

    asyncio.run(test())


class Refusing(Api):
    """As ``Api``, which takes 0.6 s; refuses the first token, and mints others at once."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "id.test":
            return httpx.Response(200, json={"access_token": f"t{len(self.arrived)}"})
        self.status = 401 if not self.arrived else 200
        found = await super().handle_async_request(request)
        return httpx.Response(found.status_code, stream=httpx.ByteStream(b"[1]"))


@pytest.mark.parametrize("pages", [1, 6])
def test_neither_the_budget_nor_a_new_connection_takes_of_an_answer_s_time(
    pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not of the second time that a request is sent, with a new token."""

    async def test() -> None:
        api = Refusing(connect_s=1.5)
        source = within(quick("http://api.test", auth=of_token("http://id.test")), total_s=0.7)
        budget = open_budget("patient", Limits((RateWindow(1, 10.0),), 8), None)
        async with open_client(source, budget, transport=api) as client:
            waits = (
                client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(pages)
            )
            assert await asyncio.gather(*waits) == [[1]] * pages
            assert client.spent.failures[FailureKind.TIMEOUT] == 0
        assert api.arrived[-1] - api.arrived[0] >= pages * 10

    run(test(), monkeypatch)
