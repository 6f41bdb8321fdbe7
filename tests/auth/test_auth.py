"""Credentials: one token for all, renewed in time and once on 401, and no secret in any text."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from emulator.testing import Emulator, running
from pipeline.auth import Auth, AuthContext, Secrets
from pipeline.auth.api_key import ApiKeyAuth
from pipeline.auth.basic import BasicAuth
from pipeline.auth.bearer import BearerTokenAuth
from pipeline.auth.custom import CustomAuth, GuardedAuth
from pipeline.auth.none import NoAuth
from pipeline.auth.oauth2 import ClientCredentialsAuth, RefreshTokenAuth
from pipeline.config.limits import BreakerConfig, RetriesConfig
from pipeline.config.source import Source
from pipeline.decode import DEFAULT_FORMAT
from pipeline.decode.body_checks import BadBody
from pipeline.decode.exact_json import shorten
from pipeline.errors import (
    ApiUnavailable,
    AuthError,
    ConfigError,
    ContractBroken,
    HeadraceError,
    RequestRefused,
)
from pipeline.http.client import Client
from pipeline.http.transport import BudgetedTransport
from pipeline.messages import HttpRequest, HttpResponse, RequestCounts
from pipeline.ratelimit import Limits, RateWindow, open_budget
from tests.support.wire import answer, client_of, form_of, read_json, serving, things
from tests.support.yaml_sources import quick, source_of

SECRET = "s3cret-of-the-client"
CREDENTIALS = ClientCredentialsAuth(
    kind="oauth2_client_credentials",
    token_url="https://id.test/token",
    client_id=SecretStr("my-id"),
    client_secret=SecretStr(SECRET),
    client_id_header="Client-ID",
    renew_before_s=60,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make_auth(auth: Auth, clock: Callable[[], float] = lambda: 0.0) -> httpx.Auth:
    return auth.make(AuthContext(clock))


def hidden(text: str, auth: Auth) -> str:
    return Secrets(auth).redacted(text)


def token(text: str = "token-1", **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"access_token": text, **more})


class Flow:
    """One request through an auth, answered by hand."""

    def __init__(self, auth: httpx.Auth) -> None:
        self._flow = auth.async_auth_flow(httpx.Request("GET", "https://api.test/things"))

    async def first(self) -> httpx.Request:
        return await anext(self._flow)

    async def then(self, response: httpx.Response) -> httpx.Request | None:
        try:
            return await self._flow.asend(response)
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        await self._flow.aclose()


def test_a_token_is_fetched_with_the_secret_in_the_body_and_put_into_the_header() -> None:
    async def run() -> None:
        auth = make_auth(CREDENTIALS, clock=Clock())
        flow = Flow(auth)
        asked = await flow.first()
        assert (asked.method, str(asked.url)) == ("POST", "https://id.test/token")
        assert form_of(asked) == {
            "client_id": "my-id",
            "client_secret": SECRET,
            "grant_type": "client_credentials",
        }
        signed = await flow.then(token(expires_in=5_587_808))
        assert signed is not None
        assert signed.headers["Authorization"] == "Bearer token-1"
        assert signed.headers["Client-ID"] == "my-id"
        assert await flow.then(httpx.Response(200)) is None
        again = await Flow(auth).first()
        assert again.headers["Authorization"] == "Bearer token-1"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("expires_in", "good_for_s"),
    [
        (1000, 940), (100, 50), (10, 5), ("1000", 940), (None, 3540), (0, 3540), (-5, 3540),
        ("soon", 3540), (float("nan"), 3540), ({}, 3540),
    ],
)  # fmt: skip
def test_a_token_is_renewed_before_it_runs_out(expires_in: object, good_for_s: int) -> None:
    async def run() -> None:
        clock = Clock()
        auth = make_auth(CREDENTIALS, clock=clock)
        flow = Flow(auth)
        await flow.first()
        body = {"access_token": "token-1", "expires_in": expires_in}
        await flow.then(httpx.Response(200, content=json.dumps(body)))
        clock.now += good_for_s - 0.5
        assert (await Flow(auth).first()).url.host == "api.test"
        clock.now += 1
        assert (await Flow(auth).first()).url.host == "id.test"

    asyncio.run(run())


def test_one_401_renews_the_token_once_for_all_and_a_second_is_handed_on() -> None:
    async def run() -> None:
        auth = make_auth(CREDENTIALS, clock=Clock())
        one, two = Flow(auth), Flow(auth)
        await one.first()
        await one.then(token("old"))
        assert (await two.first()).headers["Authorization"] == "Bearer old"
        renewal = await one.then(httpx.Response(401))
        assert renewal is not None
        assert renewal.url.host == "id.test"
        waiting = asyncio.create_task(two.then(httpx.Response(401)))
        await asyncio.sleep(0)
        assert not waiting.done(), "it waits for the renewal that is under way"
        signed = await one.then(token("new"))
        assert signed is not None
        assert signed.headers["Authorization"] == "Bearer new"
        other = await waiting
        assert other is not None
        assert (other.url.host, other.headers["Authorization"]) == ("api.test", "Bearer new")
        assert await one.then(httpx.Response(401)) is None

    asyncio.run(run())


async def refused(flow: Flow) -> httpx.Request:
    """What the flow sends after a 401."""
    sent = await flow.then(httpx.Response(401))
    assert sent is not None
    return sent


def test_a_token_that_ran_out_on_its_way_is_renewed_again() -> None:
    """Its request may have waited for its place in the budget for longer than the token lived."""

    async def run() -> None:
        clock = Clock()
        auth = make_auth(CREDENTIALS, clock=clock)
        flow = Flow(auth)
        await flow.first()
        for number in range(3):
            await flow.then(token(f"no. {number}", expires_in=300))
            clock.now += 600
            assert (await refused(flow)).url.host == "id.test"
        signed = await flow.then(token("fresh", expires_in=300))
        assert signed is not None
        assert signed.headers["Authorization"] == "Bearer fresh"
        assert await flow.then(httpx.Response(401)) is None, "a token that is good is refused"

    asyncio.run(run())


def test_tokens_that_always_run_out_on_their_way_are_no_circle() -> None:
    async def run() -> int:
        clock = Clock()
        flow = Flow(make_auth(CREDENTIALS, clock=clock))
        tokens = 0
        sent: httpx.Request | None = await flow.first()
        while sent is not None:
            assert sent.url.host == "id.test"
            await flow.then(token(expires_in=300))
            tokens += 1
            clock.now += 600
            sent = await flow.then(httpx.Response(401))
        return tokens

    assert asyncio.run(run()) == 5


def test_a_request_leaves_with_the_newest_token() -> None:
    async def run() -> None:
        left: list[str] = []

        class Wire(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                left.append(request.headers["Authorization"])
                return httpx.Response(200, stream=httpx.ByteStream(b""))

        memory = open_budget("api", Limits((RateWindow(100, 1.0),), in_flight=1), "memory")
        auth = make_auth(CREDENTIALS, clock=Clock())
        waits, renews = Flow(auth), Flow(auth)
        await waits.first()
        signed = await waits.then(token("old"))
        assert signed is not None
        await renews.first()
        async with memory:
            wire = BudgetedTransport(Wire(), memory, signed.url)
            async with memory.request():
                sending = asyncio.create_task(wire.handle_async_request(signed))
                await asyncio.sleep(0)
                await refused(renews)
                await renews.then(token("new"))
                assert not left, "it waits for its place"
            await (await sending).aclose()
        assert left == ["Bearer new"]
        assert (await refused(waits)).url.host == "id.test", "it was the newest that was refused"

    asyncio.run(run())


def test_a_request_that_dies_while_it_fetches_a_token_holds_up_no_other() -> None:
    async def run() -> None:
        auth = make_auth(CREDENTIALS, clock=Clock())
        flow = Flow(auth)
        await flow.first()
        await flow.close()
        assert (await asyncio.wait_for(Flow(auth).first(), 60)).url.host == "id.test"

    asyncio.run(run())


BAD_TOKENS: list[tuple[httpx.Response, type[Exception], str]] = [
    (httpx.Response(200, html="<html>hello</html>"), AuthError,
     "The token endpoint responded with 200 and text/html; charset=utf-8. Expected a tok"),
    (httpx.Response(403, json={"status": 403, "message": "invalid client secret"}), AuthError,
     r"refused the credentials with status 403 \(invalid client secret\)\. Check: 1\. `auth.cli"),
    (httpx.Response(400, json={"error": "invalid_client"}), AuthError, r"400 \(invalid_client\)"),
    (httpx.Response(403, json={"error": "access_denied", "error_description": "what audience?"}),
     AuthError, r"403 \(access_denied: what audience\?\)\. Check: .* `auth.scope`, `auth.params`"),
    (httpx.Response(401, json={"errors": [{"message": "Invalid user credentials."}]}), AuthError,
     r"401 \(.*Invalid user credentials"),
    (httpx.Response(200, json=["token"]), AuthError, "200, without a token at `access_token`"),
    (httpx.Response(200, json={}), AuthError, "200, without a token at `access_token`"),
    (httpx.Response(200, json={"access_token": {"a": 1}}), AuthError, "200, without a token"),
    (httpx.Response(200, json={"access_token": "a\nb"}), AuthError, "200, without a token"),
    (httpx.Response(200, json={"access_token": "a\u00e9"}), AuthError, "200, without a token"),
    (httpx.Response(500, text="oops"), ApiUnavailable, "the token endpoint responded with 500"),
    (httpx.Response(429, text="oops"), ApiUnavailable, "the token endpoint responded with 429"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_TOKENS, ids=lambda case: case[2][:40])
def test_what_is_no_token_is_said(case: tuple[httpx.Response, type[Exception], str]) -> None:
    response, error, text = case

    async def run() -> None:
        flow = Flow(make_auth(CREDENTIALS, clock=Clock()))
        await flow.first()
        await flow.then(response)

    with pytest.raises(error, match=text) as caught:
        asyncio.run(run())
    assert SECRET not in str(caught.value)


def signed(auth: httpx.Auth) -> httpx.Request:
    return next(auth.auth_flow(httpx.Request("GET", "https://api.test/things?a=1")))


def test_keys_and_fixed_tokens() -> None:
    key = ApiKeyAuth(kind="api_key", name="X-Key", key=SecretStr("k-1"), prefix="Token ")
    assert signed(make_auth(key)).headers["X-Key"] == "Token k-1"
    in_query = ApiKeyAuth(kind="api_key", name="api key", place="query", key=SecretStr("k/1&"))
    assert str(signed(make_auth(in_query)).url) == "https://api.test/things?a=1&api%20key=k%2F1%26"
    assert "X-Key" not in signed(make_auth(ApiKeyAuth(kind="api_key", name="X-Key"))).headers
    assert signed(make_auth(BearerTokenAuth(kind="bearer", token=SecretStr("t")))).headers[
        "Authorization"
    ] == ("Bearer t")
    assert "Authorization" not in signed(make_auth(BearerTokenAuth(kind="bearer"))).headers
    basic = BasicAuth(kind="basic", username="Aladdin", password=SecretStr("open sesame"))
    assert signed(make_auth(basic)).headers["Authorization"] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert "Authorization" not in signed(make_auth(NoAuth())).headers


def test_a_refresh_token_is_sent_in_the_body() -> None:
    spec = RefreshTokenAuth(
        kind="oauth2_refresh_token",
        token_url="https://id.test/token",
        refresh_token=SecretStr("r-1"),
        client_id=SecretStr("my-id"),
    )

    async def run() -> httpx.Request:
        return await Flow(make_auth(spec)).first()

    assert form_of(asyncio.run(run())) == {
        "grant_type": "refresh_token",
        "refresh_token": "r-1",
        "client_id": "my-id",
    }


ROTATING = "kind: oauth2_refresh_token, refresh_token: refresh-0, client_id: me"


@pytest.mark.parametrize("kind", ["new ones", "none", "odd ones"])
def test_a_refresh_token_that_comes_with_a_renewal_is_the_one_to_use(kind: str) -> None:
    """The endpoint takes each once, and the API each token: the next page needs a renewal."""
    takes, used = "refresh-0", set[str]()
    odd = iter([None, "", 7, {"a": 1}])

    def answering(number: int, seen: Any) -> bytes:
        nonlocal takes
        if seen.method == "GET":
            bearer = seen.headers["authorization"]
            fresh = bearer not in used
            used.add(bearer)
            return answer([bearer]) if fresh else answer(status=401)
        sent = dict(httpx.QueryParams(seen.body.decode()))["refresh_token"]
        if sent != takes:
            return answer({"error": "invalid_grant"}, 400)
        given: dict[str, Any] = {"access_token": f"access-{number}"}
        if kind == "new ones":
            takes = given["refresh_token"] = f"refresh-{number}"
        elif kind == "odd ones":
            given["refresh_token"] = next(odd)
        return answer(given)

    async def run() -> None:
        async with serving(answering) as wire:
            source = quick(f"{wire.url}/v4", auth=f"{{{ROTATING}, token_url: {wire.url}/token}}")
            async with client_of(source) as client:
                for _ in range(4):
                    await client.fetch(things(source), read_json, "page", RequestCounts())
            assert [seen.method for seen in wire.seen].count("POST") == 4
            assert len(used) == 4

    asyncio.run(run())


def test_a_refresh_token_of_the_run_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    secrets = ["refresh-0", "refresh-1", "refresh-3", "access-1", "access-3"]
    heard = ""

    def answering(number: int, seen: Any) -> bytes:
        nonlocal heard
        heard = f"{heard} {seen.headers.get('authorization')} {seen.body!r}"
        if number in (1, 3):
            data = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
            return answer(data)
        return answer({"message": heard}, 401 if number == 2 else 403)

    async def run() -> str:
        async with serving(answering) as wire:
            source = quick(f"{wire.url}/v4", auth=f"{{{ROTATING}, token_url: {wire.url}/token}}")
            async with client_of(source) as client:
                all_loggers_at_debug(caplog)
                with pytest.raises(RequestRefused) as caught:
                    await client.fetch(things(source), read_json, "page", RequestCounts())
            return f"{caught.value} {caught.value!r} {client!r}"

    said = asyncio.run(run())
    assert [secret for secret in secrets if secret in heard] == [*secrets[:2], *secrets[3:]]
    assert "403. The response is not quoted, since it repeats a secret" in said
    assert not [secret for secret in secrets if secret in said]
    every_secret_stays_hidden(caplog, secrets)


def test_a_refresh_token_that_was_used_up_is_said() -> None:
    async def run() -> None:
        spec = RefreshTokenAuth(
            kind="oauth2_refresh_token", token_url="https://id.test", refresh_token=SecretStr("r")
        )
        flow = Flow(make_auth(spec))
        await flow.first()
        await flow.then(httpx.Response(400, json={"error": "invalid_grant"}))

    with pytest.raises(
        AuthError, match=r"400 \(invalid_grant\)\. Check `auth.refresh_token`, .* used it"
    ):
        asyncio.run(run())


def test_a_client_s_own_token_needs_no_refresh_token() -> None:
    async def run() -> httpx.Request:
        auth = make_auth(CREDENTIALS, clock=Clock())
        flow = Flow(auth)
        await flow.first()
        await flow.then(token("old", refresh_token="unasked"))
        again = await flow.then(httpx.Response(401))
        assert again is not None
        return again

    assert "refresh_token" not in form_of(asyncio.run(run()))


@pytest.mark.parametrize("bad", ["key\n", "k\u00e9y", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_said_without_the_key(bad: str) -> None:
    makers: list[Callable[[], object]] = [
        lambda: make_auth(ApiKeyAuth(kind="api_key", name="X", key=SecretStr(bad))),
        lambda: make_auth(BearerTokenAuth(kind="bearer", token=SecretStr(bad))),
        lambda: make_auth(CREDENTIALS.model_copy(update={"client_id": SecretStr(bad)})),
    ]
    for make in makers:
        with pytest.raises(
            ConfigError, match="has a line break or a letter beyond ASCII"
        ) as caught:
            make()
        assert bad not in str(caught.value)


def test_an_auth_of_one_s_own() -> None:
    def spec(path: str, **options: str) -> CustomAuth:
        given = {name: SecretStr(value) for name, value in options.items()}
        return CustomAuth(kind="python", path=path, options=given)

    auth = make_auth(spec("httpx:BasicAuth", username="u", password="p"))
    assert isinstance(auth, GuardedAuth)
    assert isinstance(auth.inner, httpx.BasicAuth)
    for path in ("nowhere_at_all:Auth", "httpx:Nothing", "httpx:BasicAuth"):
        with pytest.raises(ConfigError, match="can't be used") as caught:
            make_auth(spec(path, oddly="hush-hush"))
        assert "hush-hush" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"is not a subclass of httpx\.Auth"):
        make_auth(spec("builtins:dict"))


def test_secrets_are_taken_out_of_what_an_api_said() -> None:
    key = ApiKeyAuth(kind="api_key", name="k", key=SecretStr("a key/1"))
    assert hidden("no such key: a key/1 (a%20key%2F1)", key) == "no such key: *** (***)"
    assert (
        hidden("a short one", ApiKeyAuth(kind="api_key", name="k", key=SecretStr("a")))
        == "a short one"
    )
    custom = CustomAuth(kind="python", path="a:b", options={"x": SecretStr("hush-hush")})
    assert hidden("said hush-hush", custom) == "said ***"


@pytest.mark.parametrize("secret", ["hush-hush-0123456789", "qz/1 9+kwv"])
def test_no_part_of_a_secret_is_left_where_a_text_was_cut(secret: str) -> None:
    parts = [secret[at : at + 4] for at in range(len(secret) - 3)]
    state: dict[str, Any] = {"status": 400, "body": b""}

    def answering(_: int, seen: Any) -> bytes:
        return answer(raw=state["body"], status=state["status"])

    async def read(response: HttpResponse) -> None:
        if response.status == 203:  # as a parser quotes: a piece, with no mark
            raise BadBody(f"odd near {bytes(response.body)[60:90]!r}")
        DEFAULT_FORMAT.check(response.body)
        raise ContractBroken(f"page: got {shorten(bytes(response.body).decode(), 200)}")

    async def run() -> list[str]:
        sentences = []
        async with serving(answering) as wire:
            auth = f"{{kind: api_key, name: k, key: '{secret}'}}"
            once = {"retries": RetriesConfig(errors=0), "breaker": BreakerConfig(failures=10_000)}
            source = quick(wire.url, auth=auth).model_copy(update=once)
            async with client_of(source) as client:
                for before in range(0, 320, 3):
                    body = ("x" * before + secret).encode()
                    for status, sent in (
                        (400, body + b"x" * 500),
                        (200, body + b"x" * 500),
                        (200, b"{" + body + b"x" * (before % 60)),
                        (200, b"[" + body + b"x" * 500 + b"]"),
                        (203, body),
                    ):
                        state.update(status=status, body=sent)
                        with pytest.raises(HeadraceError) as caught:
                            await client.fetch(things(source), read, "page", RequestCounts())
                        sentences.append(str(caught.value))
        return sentences

    for sentence in asyncio.run(run()):
        assert not [part for part in parts if part in sentence], sentence


def every_secret_stays_hidden(caplog: pytest.LogCaptureFixture, secrets: list[str]) -> None:
    for record in caplog.records:
        shown = f"{record.getMessage()} {record.args!r}"
        assert not [secret for secret in secrets if secret in shown], record.name


def all_loggers_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in ("httpx", "aiohttp", "asyncio", "headrace", "pipeline"):
            caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger("pipeline").debug("the capture works")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("auth", "secrets"),
    [
        ("{kind: api_key, place: query, name: api_key, key: top-s3cret-key}", ["top-s3cret-key"]),
        ("{kind: api_key, name: X-Key, key: top-s3cret-key}", ["top-s3cret-key"]),
        ("{kind: bearer, token: top-s3cret-token}", ["top-s3cret-token"]),
        ("{kind: basic, username: me, password: top-s3cret}", ["top-s3cret", "bWU6dG9wLXMzY3JldA"]),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 302, 299])
def test_no_secret_is_in_a_log_or_an_error(
    auth: str, secrets: list[str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The server says all that it was sent again, in each way in which it can fail."""

    def echo(_: int, seen: Any) -> bytes:
        said = f"{seen.target} {seen.headers}"
        if status == 299:
            return answer(raw=said.encode())
        return answer({"message": said}, status, head=f"Location: {seen.target}")

    async def run() -> tuple[str, Source, Client]:
        async with serving(echo) as wire:
            source = quick(wire.url, auth=auth)
            async with client_of(source) as client:
                all_loggers_at_debug(caplog)
                try:
                    await client.fetch(
                        things(source, [("a", "b")]), read_json, "page", RequestCounts()
                    )
                except HeadraceError as error:
                    return f"{error} {error!r}", source, client
                return "", source, client

    text, source, client = asyncio.run(run())
    for secret in secrets:
        assert secret not in text
        assert secret not in repr(source)
        assert secret not in repr(client)
        assert secret not in source.model_dump_json()
    every_secret_stays_hidden(caplog, secrets)
    assert "the capture works" in caplog.text


# Against the emulator, which enforces IGDB's rules over a socket.

EMULATOR_SECRET = "emulator-s3cret-of-the-client"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(games=50, client_secret=EMULATOR_SECRET, rate=0, in_flight=0) as found:
        yield found


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "emulator" in request.fixturenames:
        found: Emulator = request.getfixturevalue("emulator")
        found.clear_faults()
        found.config(expires_in_s=5_587_808)
        found.revoke_tokens()
        found.reset()


def igdb(emulator: Emulator, *, secret: str = EMULATOR_SECRET, token_url: str = "") -> Source:
    auth = (
        f"{{kind: oauth2_client_credentials, token_url: '{token_url or emulator.token_url}', "
        f"client_id: {emulator.client_id}, client_secret: {secret}, client_id_header: Client-ID}}"
    )
    return quick(emulator.base_url, auth=auth)


GAMES = b"fields id; sort id asc; limit 3;"


def games(source: Source) -> HttpRequest:
    return HttpRequest("POST", f"{source.base_url}/games", content=GAMES)


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Callable[[], Any]]:
    async with client_of(source) as client:

        async def once() -> Any:
            return await client.fetch(games(source), read_json, "igdb/games, page", RequestCounts())

        yield once


def tokens_minted(emulator: Emulator) -> int:
    return int(emulator.stats()["tokens_minted"])


def test_fifty_requests_at_once_share_one_token(emulator: Emulator) -> None:
    before = tokens_minted(emulator)

    async def run() -> list[Any]:
        async with opened(igdb(emulator)) as once:
            return await asyncio.gather(*(once() for _ in range(50)))

    found = asyncio.run(run())
    assert len(found) == 50
    assert all(len(rows) == 3 for rows in found)
    assert tokens_minted(emulator) == before + 1


def test_a_token_revoked_in_the_middle_of_a_run_is_renewed_once(emulator: Emulator) -> None:
    before = tokens_minted(emulator)

    async def run() -> None:
        async with opened(igdb(emulator)) as once:
            for _ in range(3):
                await asyncio.gather(*(once() for _ in range(20)))
                await asyncio.to_thread(emulator.revoke_tokens)
            await asyncio.gather(*(once() for _ in range(20)))

    asyncio.run(run())
    assert tokens_minted(emulator) == before + 4


def failed(source: Source, caplog: pytest.LogCaptureFixture) -> str:
    async def run() -> str:
        async with opened(source) as once:
            all_loggers_at_debug(caplog)
            with pytest.raises(HeadraceError) as caught:
                await once()
            assert isinstance(caught.value, AuthError)
            return str(caught.value)

    text = asyncio.run(run())
    every_secret_stays_hidden(caplog, [EMULATOR_SECRET, "wr0ng-secret"])
    assert EMULATOR_SECRET not in text
    return text


def test_a_second_401_is_for_good(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    emulator.faults({"kind": "token_401"})
    emulator.reset()
    before = tokens_minted(emulator)
    text = failed(igdb(emulator), caplog)
    assert text.startswith("igdb/games, page: the API refused the credentials (401)")
    assert "Authorization Failure" in text
    assert "Check that the key and the secret are right" in text
    assert tokens_minted(emulator) == before + 2, "one, and one renewal"


def test_a_wrong_secret(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    text = failed(igdb(emulator, secret="wr0ng-secret"), caplog)
    assert "The token endpoint refused the credentials with status" in text
    assert "Check: 1. `auth.client_id` and `auth.client_secret`; 2." in text
    assert "wr0ng-secret" not in text


def test_a_token_endpoint_that_answers_html(caplog: pytest.LogCaptureFixture) -> None:
    html = answer(raw=b"<html>Sign in</html>", head="Content-Type: text/html")

    async def run() -> str:
        async with serving(lambda *_: html) as wire:
            auth = (
                f"{{kind: oauth2_client_credentials, token_url: '{wire.url}/token', "
                f"client_id: me, client_secret: {SECRET}}}"
            )
            source = quick("http://127.0.0.1:9/v4", auth=auth)
            async with client_of(source) as client:
                all_loggers_at_debug(caplog)
                with pytest.raises(AuthError) as caught:
                    await client.fetch(things(source), read_json, "page", RequestCounts())
            assert len(wire.seen) == 1
            return str(caught.value)

    assert asyncio.run(run()) == (
        "The token endpoint responded with 200 and text/html. Expected a token in JSON. Check "
        "`auth.token_url`."
    )
    every_secret_stays_hidden(caplog, [SECRET])


def test_a_token_endpoint_that_is_ill_for_a_moment_is_asked_again() -> None:
    def ill_at_first(number: int, seen: Any) -> bytes:
        if seen.method == "POST":
            return answer({"access_token": "t"}) if number > 2 else answer(status=500)
        return answer([1])

    async def run() -> Any:
        async with serving(ill_at_first) as wire:
            auth = (
                f"{{kind: oauth2_client_credentials, token_url: '{wire.url}/token', "
                "client_id: me, client_secret: s}"
            )
            source = quick(f"{wire.url}/v4", auth=auth)
            async with client_of(source) as client:
                return await client.fetch(things(source), read_json, "page", RequestCounts())

    assert asyncio.run(run()) == [1]


def test_an_expired_token_is_renewed(emulator: Emulator) -> None:
    emulator.config(expires_in_s=0.1)
    before = tokens_minted(emulator)

    async def run() -> None:
        async with opened(igdb(emulator)) as once:
            await once()
            await asyncio.sleep(0.15)
            await once()

    asyncio.run(run())
    assert tokens_minted(emulator) == before + 2


@pytest.mark.parametrize("known_before", [False, True])
def test_a_refusal_of_the_token_endpoint_is_asked_for_once(known_before: bool) -> None:
    """Twelve pages wait for a token: one of them asks, all of them learn what was said."""
    asked: list[str] = []

    def answering(number: int, seen: Any) -> bytes:
        asked.append(seen.target)
        if seen.target == "/token" and known_before and asked.count("/token") == 1:
            return answer({"access_token": "soon-revoked", "expires_in": 900})
        if seen.target == "/token":
            return answer({"message": "invalid client secret"}, 403)
        return answer({"message": "revoked"}, 401)

    async def main(wire: Any) -> list[Any]:
        source = quick(f"{wire.url}/v1", auth=f"{{{CLIENT}, token_url: {wire.url}/token}}")
        async with client_of(source) as client:
            pages = (
                client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(12)
            )
            return await asyncio.gather(*pages, return_exceptions=True)

    async def run() -> None:
        async with serving(answering) as wire:
            for error in await main(wire):
                assert isinstance(error, AuthError)
                assert "invalid client secret" in str(error)
            assert asked.count("/token") == 1 + known_before
            del asked[:]
            await main(wire)  # another run asks again
            assert asked.count("/token") == 1 + known_before

    asyncio.run(run())


CLIENT = f"kind: oauth2_client_credentials, client_id: me, client_secret: {SECRET}"


def test_a_key_as_the_name_needs_no_password_and_is_a_secret() -> None:
    source = source_of(
        """
        source: api
        base_url: http://127.0.0.1:9
        start: 2026-11-01
        auth: {kind: basic, username: "${KEY}", password: "${NONE:-}"}
        endpoints: {things: {key: [id]}}
        """,
        {"KEY": "sk-live-12345678"},
    )
    assert isinstance(source.auth, BasicAuth)
    assert source.auth.password.get_secret_value() == ""
    assert "sk-live" not in Secrets(source.auth).redacted("refused: sk-live-12345678")
