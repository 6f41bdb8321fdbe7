"""Cookies: off unless the source wants them, and then few."""

import asyncio
from typing import Any

from pipeline.errors import HeadraceError
from pipeline.messages import RequestCounts
from tests.support.wire import Seen, answer, client_of, read_json, serving, things
from tests.support.yaml_sources import quick


def cookies_sent(more: str, head: str) -> list[str | None]:
    """What three requests in a row have as their cookies."""

    async def run() -> list[str | None]:
        async with serving(lambda *_: answer([{"id": 1}], head=head)) as wire:
            source = quick(wire.url, more=more)
            async with client_of(source) as client:
                for _ in range(3):
                    await client.fetch(things(source), read_json, "api/things", RequestCounts())
            return [seen.headers.get("cookie") for seen in wire.seen]

    return asyncio.run(run())


def test_no_cookie_is_sent_back() -> None:
    assert cookies_sent("", "Set-Cookie: tenant=other") == [None] * 3


def test_the_yaml_may_want_them() -> None:
    assert cookies_sent("cookies: true", "Set-Cookie: node=a7; Path=/; HttpOnly") == [
        None,
        "node=a7",
        "node=a7",
    ]


def test_they_never_grow_beyond_what_servers_take() -> None:
    head = "\n".join(f"Set-Cookie: c{n}={'x' * 3000}" for n in range(20))
    _, second, third = cookies_sent("cookies: true", head)
    assert second == third
    assert second is not None
    assert 3000 < len(second) < 9000


def test_cookies_of_another_host_are_not_taken() -> None:
    assert cookies_sent("cookies: true", "Set-Cookie: a=b; Domain=other.test") == [None] * 3


def test_a_refusal_says_that_the_api_sets_cookies() -> None:
    def answering(number: int, seen: Seen) -> bytes:
        return answer({"message": "unknown token"}, 400, head="Set-Cookie: node=a7")

    async def run() -> Any:
        async with serving(answering) as wire:
            source = quick(wire.url)
            async with client_of(source) as client:
                try:
                    await client.fetch(things(source), read_json, "api/things", RequestCounts())
                except HeadraceError as error:
                    return str(error)

    assert "The API sets cookies: `cookies: true` sends them back" in asyncio.run(run())


def test_an_api_that_redirects_to_the_same_address_to_set_a_cookie_is_read() -> None:
    """The remedy of its refusal, followed."""

    def answering(number: int, seen: Seen) -> bytes:
        if "cookie" in seen.headers:
            return answer([{"id": 1}])
        return answer(status=302, head=f"Location: {seen.target}\nSet-Cookie: known=1; Path=/")

    async def run(more: str) -> Any:
        async with serving(answering) as wire:
            source = quick(wire.url, more=more)
            async with client_of(source) as client:
                try:
                    return await client.fetch(
                        things(source), read_json, "api/things", RequestCounts()
                    )
                except HeadraceError as error:
                    return error

    assert "`cookies: true` sends them back" in str(asyncio.run(run("")))
    assert asyncio.run(run("cookies: true")) == [{"id": 1}]
