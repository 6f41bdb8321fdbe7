"""Ways to a token: what is sent to the endpoint, where the token is, and who is told what."""

import asyncio
import json
import logging
from base64 import b64encode
from typing import Any

import pytest

from pipeline.auth import AuthContext
from pipeline.config import Source
from pipeline.errors import AuthError, ConfigError, HeadraceError
from pipeline.messages import RequestCounts
from tests.auth.test_auth import Flow
from tests.support.wire import answer, client_of, form_of, read_json, serving, things
from tests.support.yaml_sources import quick

CLIENT = "kind: oauth2_client_credentials, client_id: 'my id', client_secret: 's+cr=t/1'"
LOGIN = "kind: login, body: {identity: me@shop.test, password: hush-hush-1}"


def first_of(auth: str) -> Any:
    source = quick("http://127.0.0.1:1", auth=f"{{{auth}, token_url: http://127.0.0.1:1/token}}")
    return asyncio.run(Flow(source.auth.make(AuthContext())).first())


def test_a_client_can_say_who_it_is_in_a_header() -> None:
    asked = first_of(f"{CLIENT}, client_auth: basic, scope: read")
    both = b64encode(b"my+id:s%2Bcr%3Dt%2F1").decode()  # each of the two as in a form (2.3.1)
    assert asked.headers["Authorization"] == f"Basic {both}"
    assert asked.headers["Accept"] == "application/json"
    assert form_of(asked) == {"grant_type": "client_credentials", "scope": "read"}


def test_an_endpoint_is_sent_what_it_wants_beside_the_rfc() -> None:
    more = "params: {audience: 'https://api.shop.test', grant_type: account_credentials}"
    asked = form_of(first_of(f"{CLIENT}, {more}"))
    assert asked["audience"] == "https://api.shop.test"
    assert asked["grant_type"] == "account_credentials"
    assert asked["client_secret"] == "s+cr=t/1"


def test_a_refresh_token_with_the_client_in_a_header() -> None:
    refresh = "kind: oauth2_refresh_token, refresh_token: r-1, client_auth: basic"
    asked = first_of(f"{refresh}, client_id: me, client_secret: s")
    assert asked.headers["Authorization"] == f"Basic {b64encode(b'me:s').decode()}"
    assert form_of(asked) == {"grant_type": "refresh_token", "refresh_token": "r-1"}
    with pytest.raises(ConfigError, match="basic needs client_id and client_secret: add them"):
        first_of(f"{refresh}, client_id: me")


class Shop:
    """An API that has to be logged in to, and takes each token for so many requests."""

    def __init__(self, good_for: int = 1_000) -> None:
        self.good_for = good_for
        self.logins: list[Any] = []
        self.left: dict[str, int] = {}

    def __call__(self, number: int, seen: Any) -> bytes:
        if seen.target.endswith("/login"):
            return self._login(json.loads(seen.body))
        given = seen.headers.get("x-session", "")
        self.left[given] = self.left.get(given, 0) - 1
        return answer([given]) if self.left[given] >= 0 else answer({"message": given}, 401)

    def _login(self, sent: Any) -> bytes:
        self.logins.append(sent)
        if sent != {"identity": "me@shop.test", "password": "hush-hush-1"}:
            return answer({"message": f"not {sent['password']}"}, 400)
        name = f"token-{len(self.logins)}"
        self.left[f"S {name}"] = self.good_for
        return answer({"data": {"token": name}}, 201)


def shop(url: str, *, auth: str = LOGIN, token_at: str = "data.token") -> Source:
    more = f"token_url: {url}/v1/login, token_at: {token_at}, name: X-Session, prefix: 'S '"
    return quick(f"{url}/v1", auth=f"{{{auth}, {more}}}")


async def pages(source: Source, number: int) -> list[Any]:
    async with client_of(source) as client:
        return [
            await client.fetch(things(source), read_json, "page", RequestCounts())
            for _ in range(number)
        ]


def test_a_login_gives_a_token_for_the_header_that_the_api_reads() -> None:
    async def run() -> None:
        api = Shop()
        async with serving(api) as wire:
            assert await pages(shop(wire.url), 3) == [["S token-1"]] * 3
        assert api.logins == [{"identity": "me@shop.test", "password": "hush-hush-1"}]

    asyncio.run(run())


def test_a_session_that_ends_is_begun_anew() -> None:
    async def run() -> None:
        api = Shop(good_for=2)
        async with serving(api) as wire:
            came = await pages(shop(wire.url), 5)
        assert came == [["S token-1"], ["S token-1"], ["S token-2"], ["S token-2"], ["S token-3"]]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("auth", "token_at", "said"),
    [
        (
            LOGIN.replace("hush-hush-1", "hush-hush-2"),
            "data.token",
            "refused the credentials with status 400 (not quoted, since the response repeats a "
            "secret). Check `auth.body.identity`, `auth.body.password` and `auth.token_at`.",
        ),
        (
            LOGIN,
            "token",
            "The token endpoint responded with 201, without a token at `token`. Check "
            "`auth.body.identity`, `auth.body.password` and `auth.token_at`.",
        ),
    ],
)
def test_a_login_that_gives_no_token_is_said(
    auth: str, token_at: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def run() -> HeadraceError:
        async with serving(Shop()) as wire:
            source = shop(wire.url, auth=auth, token_at=token_at)
            assert "hush-hush" not in f"{source!r} {source.model_dump_json()}"
            with pytest.raises(AuthError) as caught:
                await pages(source, 1)
            return caught.value

    error = asyncio.run(run())
    assert said in str(error)
    assert "hush-hush" not in f"{error!r} {caplog.text}"


@pytest.mark.parametrize(
    "auth", [CLIENT, f"{CLIENT.replace('client_credentials', 'refresh_token')}, refresh_token: r"]
)
def test_an_endpoint_that_says_the_client_s_header_again_gives_nothing_away(
    auth: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def run() -> HeadraceError:
        def says_it_again(_: int, seen: Any) -> bytes:
            return answer({"message": f"got {seen.headers['authorization']}"}, 401)

        async with serving(says_it_again) as wire:
            more = f"client_auth: basic, token_url: {wire.url}/token"
            with pytest.raises(AuthError) as caught:
                await pages(quick(wire.url, auth=f"{{{auth}, {more}}}"), 1)
            return caught.value

    error = asyncio.run(run())
    assert "(not quoted, since the response repeats a secret)" in str(error)
    assert b64encode(b"my+id:s%2Bcr%3Dt%2F1").decode() not in f"{error!r} {caplog.text}"


@pytest.mark.parametrize(
    ("login", "head", "target", "body"),
    [
        (
            "form: {scope: all, key: hush-hush-1}",
            {"content-type": "application/x-www-form-urlencoded"},
            "/login",
            b"scope=all&key=hush-hush-1",
        ),
        ("params: {key: 'hush hush/1'}", {}, "/login?of=x&key=hush+hush%2F1", b""),
        ("method: GET, headers: {X-Key: hush-hush-1}", {"x-key": "hush-hush-1"}, "/login", b""),
        (
            "username: me, password: hush-hush-1",
            {"authorization": f"Basic {b64encode(b'me:hush-hush-1').decode()}"},
            "/login",
            b"",
        ),
    ],
)
def test_a_login_in_each_form(
    login: str, head: dict[str, str], target: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def run() -> None:
        def api(_: int, seen: Any) -> bytes:
            if not seen.target.startswith("/login"):
                return answer([seen.headers["x-session"]])
            assert seen.method == ("GET" if "GET" in login else "POST")
            assert (seen.target, seen.body) == (target, body)
            assert head.items() <= seen.headers.items()
            return answer({"data": {"token": "t"}})

        async with serving(api) as wire:
            url = f"{wire.url}/login{'?of=x' if 'of=x' in target else ''}"
            more = f"token_url: '{url}', token_at: data.token, name: X-Session, prefix: 'S '"
            source = quick(wire.url, auth=f"{{kind: login, {login}, {more}}}")
            assert await pages(source, 1) == [["S t"]]

    asyncio.run(run())
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("body: {a: b}, form: {a: b}", "a `body` or a `form`: take one of them out"),
        ("method: GET, body: {a: b}", "`method: GET` sends no `body`"),
        ("password: x", "`password` without `username`: add it"),
        ("token_at: a", "has no user and no password: add `body`, `form`"),
    ],
)
def test_a_login_whose_parts_do_not_fit(login: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        first_of(f"kind: login, {login}")
