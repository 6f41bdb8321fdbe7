"""Cookies: sent back where the source wants them, or the API refuses a request without; few."""

import asyncio
from collections.abc import Callable
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


def answered(more: str, answering: Callable[[int, Seen], bytes], requests: int = 1) -> list[Any]:
    """What came of so many requests in a row, and then the cookies that each of them had."""

    async def run() -> list[Any]:
        results: list[Any] = []
        async with serving(answering) as wire:
            source = quick(wire.url, more=more)
            async with client_of(source) as client:
                for _ in range(requests):
                    try:
                        results.append(
                            await client.fetch(
                                things(source), read_json, "api/things", RequestCounts()
                            )
                        )
                    except HeadraceError as error:
                        results.append(str(error))
            return [*results, [seen.headers.get("cookie") for seen in wire.seen]]

    return asyncio.run(run())


def of_one_node(number: int, seen: Seen) -> bytes:
    """A page token that is known to the node of the cookie alone."""
    head = "Set-Cookie: node=a7; Path=/"
    if number > 1 and seen.headers.get("cookie") != "node=a7":
        return answer({"message": "unknown token"}, 400, head=head)
    return answer([{"id": number}], head=head)


def test_they_are_sent_back_once_the_api_has_refused_a_request_without_them() -> None:
    *pages, cookies = answered("", of_one_node, 3)
    assert pages == [[{"id": 1}], [{"id": 3}], [{"id": 4}]]
    assert cookies == [None, None, "node=a7", "node=a7"]


def test_the_yaml_may_forbid_them() -> None:
    _, refused, cookies = answered("cookies: false", of_one_node, 2)
    assert "`cookies: true` sends them back" in refused
    assert cookies == [None, None]


def test_they_are_tried_once_and_left_off_where_they_change_nothing() -> None:
    def answering(number: int, seen: Seen) -> bytes:
        return answer({"message": "unknown token"}, 400, head="Set-Cookie: node=a7")

    first, second, cookies = answered("", answering, 2)
    assert "cookies" not in first
    assert "The API sets cookies: `cookies: true` sends them back" in second
    assert cookies == [None, "node=a7", None]


def test_an_api_that_redirects_to_the_same_address_to_set_a_cookie_is_read() -> None:
    """The remedy of its refusal, followed."""

    def answering(number: int, seen: Seen) -> bytes:
        if "cookie" in seen.headers:
            return answer([{"id": 1}])
        return answer(status=302, head=f"Location: {seen.target}\nSet-Cookie: known=1; Path=/")

    assert "`cookies: true` sends them back" in answered("cookies: false", answering)[0]
    for more in ("", "cookies: true"):
        assert answered(more, answering)[0] == [{"id": 1}]
