"""Pages that ride together: who gets on, until when, and what becomes of a pack that fails."""

import asyncio
import gc
import json
import re
import weakref
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.config.loader import load_source
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.messages import HttpRequest, HttpResponse, RequestCounts, Sender
from pipeline.ratelimit import Limits, RateWindow, open_budget
from tests.support.wire import Seen, Wire, answer, serving

IGDB = Path(__file__).resolve().parent.parent.parent / "sources" / "igdb.yaml"
TOKEN = {"access_token": "t", "expires_in": 5_000_000, "token_type": "bearer"}


def api(_: int, seen: Seen) -> bytes:
    """Each statement's answer is a row that says which statement it was."""
    if seen.target == "/token":
        return answer(TOKEN)
    if seen.target != "/v4/multiquery":
        return answer([{"asked": seen.body.decode()}])
    blocks = re.findall(rb'query (\S+) "([^"]+)" \{ (.*?) \};', seen.body)
    parts = [{"name": n.decode(), "result": [{"asked": q.decode()}]} for _, n, q in blocks]
    return answer(parts)


@asynccontextmanager
async def sender_of(wire: Wire, per_s: float) -> AsyncIterator[Sender]:
    environment = {
        "IGDB_BASE_URL": f"{wire.url}/v4",
        "IGDB_TOKEN_URL": f"{wire.url}/token",
        "IGDB_CLIENT_ID": "me",
        "IGDB_CLIENT_SECRET": "hush",
        "IGDB_START": "2026-01-01",
    }
    source = load_source(IGDB, environment)
    limits = Limits((RateWindow(1, 1 / per_s),), 8, 0.01)
    async with (
        open_client(source, open_budget("packing", limits, None)) as client,
        batching(client, source) as sender,
    ):
        yield sender


async def ask(sender: Sender, wire: Wire, number: int) -> str:
    async def read(answered: HttpResponse) -> str:
        (row,) = json.loads(bytes(answered.body))
        return str(row["asked"])

    url = f"{wire.url}/v4/games"
    request = HttpRequest("POST", url, content=f"limit 1; offset {number};".encode())
    return await sender.fetch(request, read, f"page {number}", RequestCounts())


def pages_of(wire: Wire) -> list[int]:
    """How many pages each request to the API asked for."""
    sent = [seen for seen in wire.seen if seen.target != "/token"]
    return [max(1, seen.body.count(b"query ")) for seen in sent]


def test_what_is_asked_for_while_a_pack_waits_for_the_budget_gets_on() -> None:
    async def main() -> list[int]:
        async with serving(api) as wire, sender_of(wire, per_s=5) as sender:

            async def later(number: int) -> str:
                for _ in range(3 * number):  # one by one, over many turns of the loop
                    await asyncio.sleep(0)
                return await ask(sender, wire, number)

            await ask(sender, wire, 99)  # the slot is used: the next is 0.2 s away
            said = await asyncio.gather(*(later(number) for number in range(25)))
            assert said == [f"limit 1; offset {number};" for number in range(25)]
            return pages_of(wire)

    assert asyncio.run(main()) == [1, 10, 10, 5]


def test_a_page_alone_goes_as_it_is() -> None:
    async def main() -> list[str]:
        async with serving(api) as wire, sender_of(wire, per_s=1000) as sender:
            await ask(sender, wire, 1)
            return [seen.target for seen in wire.seen]

    assert asyncio.run(main()) == ["/token", "/v4/games"]


def test_a_pack_that_is_refused_is_sent_page_by_page_and_the_next_ones_too() -> None:
    def refusing(number: int, seen: Seen) -> bytes:
        if seen.target == "/v4/multiquery":
            return answer([{"title": "no"}], 400)
        return api(number, seen)

    async def main() -> list[int]:
        async with serving(refusing) as wire, sender_of(wire, per_s=1000) as sender:
            for _ in range(2):
                said = await asyncio.gather(*(ask(sender, wire, number) for number in range(4)))
                assert said == [f"limit 1; offset {number};" for number in range(4)]
            return pages_of(wire)

    assert asyncio.run(main()) == [4, 1, 1, 1, 1, 1, 1, 1, 1]


def test_answers_in_another_order_reach_the_pages_that_asked() -> None:
    def backwards(number: int, seen: Seen) -> bytes:
        parts = json.loads(api(number, seen).split(b"\r\n\r\n", 1)[1])
        return answer(parts[::-1]) if seen.target == "/v4/multiquery" else answer(parts)

    async def main() -> list[int]:
        async with serving(backwards) as wire, sender_of(wire, per_s=1000) as sender:
            said = await asyncio.gather(*(ask(sender, wire, number) for number in range(4)))
            assert said == [f"limit 1; offset {number};" for number in range(4)]
            return pages_of(wire)

    assert asyncio.run(main()) == [4]


def test_what_has_been_read_is_not_held_by_those_who_wait_for_the_next_page() -> None:
    answers: list[weakref.ref[HttpResponse]] = []

    async def main() -> None:
        async with serving(api) as wire, sender_of(wire, per_s=1000) as sender:

            async def read(answered: HttpResponse) -> None:
                answers.append(weakref.ref(answered))

            def page(number: int) -> Awaitable[None]:
                content = f"limit 1; offset {number};".encode()
                request = HttpRequest("POST", f"{wire.url}/v4/games", content=content)
                return sender.fetch(request, read, f"page {number}", RequestCounts())

            await asyncio.gather(*(page(number) for number in range(10)))
            await asyncio.sleep(0)  # the worker sees that there is nothing more to do
            assert len(answers) == 10
            assert not [ref for ref in answers if ref() is not None]

    gc.disable()  # what it would have to find stands there until it comes, with its pack
    try:
        asyncio.run(main())
    finally:
        gc.enable()
