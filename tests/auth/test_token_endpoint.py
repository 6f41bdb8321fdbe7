"""The token endpoint as a server of its own: who asks it, how often, and when it wants a pause."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from pipeline.auth import AuthContext
from pipeline.auth.token_pause import TokenPause
from pipeline.config import Source
from pipeline.errors import ApiUnavailable, RateLimited
from pipeline.http.rate_limit_headers import retry_after_s
from pipeline.messages import RequestCounts
from tests.support.wire import Seen, answer, client_of, read_json, serving, things
from tests.support.yaml_sources import source_of

PAGES = 8
TOKEN = answer({"access_token": "token-of-the-run", "expires_in": 3600})
CLIENT = "kind: oauth2_client_credentials, client_id: me-myself, client_secret: only-i-know"
OWN = "kind: python, path: 'tests.auth.test_token_endpoint:OwnToken', options: {url: '"


class OwnToken(httpx.Auth):
    """An auth as users write it: it requests its token with each page that has none."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self._url = f"{url}/token"
        self.token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self.token:
            response = yield httpx.Request("POST", self._url)
            self.token = response.raise_for_status().json()["access_token"]
        request.headers["Authorization"] = self.token
        yield request


KINDS: dict[str, Callable[[str], str]] = {
    "oauth2": lambda url: f"{{{CLIENT}, token_url: '{url}/token'}}",
    "python": lambda url: f"{{{OWN}{url}'}}}}",
}


@dataclass
class Api:
    """An API and its token endpoint.

    :ivar refusals: what the token endpoint sends, before it gives a token.
    """

    refusals: list[bytes] = field(default_factory=list)
    token_requests: list[Seen] = field(default_factory=list)
    page_requests: list[Seen] = field(default_factory=list)
    requested_at: list[float] = field(default_factory=list)

    def __call__(self, number: int, seen: Seen) -> bytes:
        if not seen.target.endswith("/token"):
            self.page_requests.append(seen)
            return answer([{"id": 1}])
        self.token_requests.append(seen)
        self.requested_at.append(time.monotonic())
        return self.refusals.pop(0) if self.refusals else TOKEN


def source(url: str, auth: str, more: str = "") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}/v1
        start: 2026-11-01
        auth: {auth}
        retries: {{errors: 3, throttled: 3, first_wait_s: 0.1, max_wait_s: 0.2}}
        {more}
        endpoints:
          things: {{key: [id]}}
        """
    )


async def pages_of(api: Api, kind: str = "oauth2", more: str = "") -> list[Any]:
    """What comes of pages that are requested at the same time."""
    async with serving(api) as wire:
        of = source(wire.url, KINDS[kind](wire.url), more)
        async with client_of(of) as client:
            fetches = [
                client.fetch(things(of), read_json, "api/things, page", RequestCounts())
                for _ in range(PAGES)
            ]
            return await asyncio.gather(*fetches, return_exceptions=True)


def test_all_pages_wait_as_the_token_endpoint_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = answer({"error": "slow_down"}, 429, head="Retry-After: 0.4")
    api = Api([refused, answer(status=503, head="Retry-After: 0.4")])
    assert asyncio.run(pages_of(api)) == [[{"id": 1}]] * PAGES
    assert len(api.token_requests) == 3
    first, second, third = api.requested_at
    assert min(second - first, third - second) >= 0.4
    assert "no response" not in caplog.text


def test_a_token_endpoint_without_a_time_gets_few_requests() -> None:
    """And is not called down: it has responded."""
    api = Api([answer(status=429)] * 1_000)
    errors = asyncio.run(pages_of(api))
    assert len(api.token_requests) <= 2 * 4
    assert {type(error) for error in errors} == {ApiUnavailable}
    assert str(errors[0]) == (
        "api/things, page: the token endpoint responded with 429 (too many requests), after 4 "
        "attempts. The token endpoint at 127.0.0.1 still refuses requests as too many (breaker "
        "closed). Check who else requests tokens with the same credentials."
    )


def test_a_long_pause_of_the_token_endpoint_ends_the_step() -> None:
    """After one request, and Dagster waits for as long."""
    api = Api([answer(status=429, head="Retry-After: 3600")])
    errors = asyncio.run(pages_of(api))
    assert len(api.token_requests) == 1
    assert {type(error) for error in errors} == {RateLimited}
    assert all(3500 < error.wait_s <= 3600 for error in errors)
    assert "the token endpoint asks for a pause of 3,600 s (Retry-After)" in str(errors[0])


def test_a_token_endpoint_that_fails_gets_the_requests_of_one_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    api = Api([answer(status=500)] * 1_000)
    errors = asyncio.run(pages_of(api))
    assert len(api.token_requests) <= 2 * 4, "not of each page that waits"
    assert all("the token endpoint responded with 500, after 4" in str(e) for e in errors)
    assert "no response" not in caplog.text


HTML = answer(raw=b"<html>Back soon</html>", head="Content-Type: text/html")
ILL = answer({"error": "temporarily_unavailable"}, 400)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], [HTML]),
        ([], [answer(raw=b"")]),
        ([ILL], [ILL]),
        ([answer({"error": "server_error"})], []),
        ([answer({"error": "slow_down"}, 400)], []),
    ],
)
def test_an_outage_of_the_token_endpoint_that_looks_like_a_refusal_is_waited_for(
    first: list[bytes], then: list[bytes]
) -> None:
    """A page of maintenance counts as an outage where the endpoint has given a token before."""
    api = Api([*first])

    is_dead = False

    def answering(number: int, seen: Seen) -> bytes:
        """The third page has a token that is dead, until there is another one."""
        nonlocal is_dead
        if seen.target.endswith("/token"):
            is_dead = is_dead and bool(api.refusals)
        elif len(api.page_requests) == 2 and then:
            api.refusals, is_dead = [*then], True
        response = api(number, seen)
        return answer(status=401) if is_dead and response not in (TOKEN, *then) else response

    async def run() -> list[object]:
        async with serving(answering) as wire:
            of = source(wire.url, KINDS["oauth2"](wire.url))
            async with client_of(of) as client:
                return [
                    await client.fetch(things(of), read_json, "api/things, page", RequestCounts())
                    for _ in range(4)
                ]

    assert asyncio.run(run()) == [[{"id": 1}]] * 4
    assert len(api.token_requests) == 1 + len(first) + 2 * len(then)


def test_an_outage_of_the_token_endpoint_that_stays_is_no_refusal() -> None:
    errors = asyncio.run(pages_of(Api([ILL] * 1_000)))
    assert {type(error) for error in errors} == {ApiUnavailable}
    assert "the token endpoint responded with 400 (temporarily_unavailable), after 4" in str(
        errors[0]
    )


def test_a_token_endpoint_at_a_wrong_address_is_not_told_as_wrong_credentials() -> None:
    error = asyncio.run(pages_of(Api([answer({"message": "no route"}, 404)] * 9)))[0]
    assert "token endpoint is not at its address in `auth`: status 404 (no route). " in str(error)
    assert "refused the credentials" not in str(error)


def test_an_auth_of_the_user_s_own_waits_as_well() -> None:
    """Each page of it sends a request for a token, and all of them are refused at first."""
    api = Api([answer(status=429, head="Retry-After: 0.4")] * PAGES)
    assert asyncio.run(pages_of(api, "python")) == [[{"id": 1}]] * PAGES
    at_first, later = api.requested_at[:PAGES], api.requested_at[PAGES:]
    assert 1 <= len(later) <= PAGES
    assert later[0] - at_first[0] >= 0.4


def test_a_pause_doubles_and_is_logged_where_it_is_long(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    pause = TokenPause(AuthContext(lambda: now_s, 4.0, 60.0, retry_after_s))
    for _ in range(4):
        pause.begin()
        pause.begin()  # of a request that was on its way already
        now_s += 100.0
    pause.end()
    pause.begin({"retry-after": "20"})
    assert [each.getMessage() for each in caplog.records] == [
        "the token endpoint failed: all pages wait 16 s for a token",
        "the token endpoint failed: all pages wait 32 s for a token",
        "the token endpoint wants fewer requests: all pages wait 20 s for a token (Retry-After)",
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "agent"),
    [("", "headrace"), ("{User-Agent: acme-lake/1.0 (data@acme.example)}", "acme-lake/1.0")],
)
def test_token_requests_say_who_sends_them(kind: str, headers: str, agent: str) -> None:
    api = Api()
    more = f"headers: {headers}" if headers else ""
    assert asyncio.run(pages_of(api, kind, more)) == [[{"id": 1}]] * PAGES
    for seen in (*api.token_requests, *api.page_requests):
        assert seen.headers["user-agent"].startswith(agent)


def test_a_login_has_its_own_name_and_no_header_of_the_pages() -> None:
    api = Api([answer({"token": "t-1"})])
    login = "kind: login, username: me, password: only-i-know, headers: {user-agent: my-login}"
    more = "headers: {User-Agent: acme, X-Plan: gold, Accept: text/csv}"

    async def run() -> None:
        async with serving(api) as wire:
            of = source(wire.url, f"{{{login}, token_url: '{wire.url}/token'}}", more)
            async with client_of(of) as client:
                await client.fetch(things(of), read_json, "page", RequestCounts())

    asyncio.run(run())
    (sent,) = api.token_requests
    assert sent.headers["user-agent"] == "my-login"
    assert sent.headers["accept"] == "application/json"
    assert "x-plan" not in sent.headers
    assert api.page_requests[0].headers["user-agent"] == "acme"
