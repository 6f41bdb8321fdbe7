"""A request counts from when it left, not from when it might: connecting takes its time."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from pipeline.http.transport import AiohttpTransport, BudgetedTransport
from pipeline.messages import HttpRequest, RequestCounts
from pipeline.ratelimit import Budget, Limits, RateWindow, SendGrant, open_budget, state_layout
from pipeline.ratelimit.stores.memory import MemoryStore
from tests.support.clock import CONNECT_S, Api, run
from tests.support.wire import Seen, answer, client_of, read_json, serving
from tests.support.yaml_sources import quick

API = "http://api.test/"
FOUR = Limits((RateWindow(4, 1.0),), 8)


async def sent(budget: Budget) -> list[float]:
    """The send times, as the budget has them."""
    await budget._notes_ended()
    assert isinstance(budget.store, MemoryStore)
    return await budget.store.update(lambda cells, _: state_layout.send_times(cells)[0])


@asynccontextmanager
async def metered(
    api: httpx.AsyncBaseTransport, limits: Limits = FOUR, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Budget]]:
    budget = open_budget("leaving", limits, None)
    transport = BudgetedTransport(api, budget, httpx.URL(API), **options)
    async with budget, httpx.AsyncClient(transport=transport) as client:
        yield client, budget


def test_first_requests_on_slow_connections_bring_no_429(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        api = Api()
        async with metered(api) as (client, budget):
            answers = await asyncio.gather(*(client.get(API) for _ in range(24)))
            assert [answer.status_code for answer in answers] == [200] * 24
            assert await sent(budget) == pytest.approx(api.arrived)
            assert api.arrived[-1] - api.arrived[0] < 6 * 1.1, "and the quota is used"

    run(test(), monkeypatch)


@pytest.mark.parametrize(("connect_s", "moved"), [(0.0, 0), (0.007, 0), (0.008, 1), (1.7, 1)])
def test_only_who_leaves_later_than_half_the_margin_asks_the_store(
    connect_s: float, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def test() -> None:
        api = Api(connect_s)
        async with metered(api) as (client, budget):
            departed = budget.store.departed

            async def counted(send: float | str, late_s: float) -> float | str:
                asked.append(late_s)
                return await departed(send, late_s)

            budget.store.departed = counted  # type: ignore[method-assign]
            for _ in range(3):  # on one connection
                await client.get(API)
            times = await sent(budget)
            assert (times[0] == pytest.approx(api.arrived[0], abs=1e-9)) == (moved or not connect_s)
            assert times[1:] == api.arrived[1:]

    run(test(), monkeypatch)
    assert asked == pytest.approx([connect_s] * moved)


def test_what_is_not_counted_is_given_back_though_it_left_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = Limits((RateWindow(4, 30.0), RateWindow(2, 0.2)), 4)

    async def test() -> None:
        api = Api(status=304)
        async with metered(api, limits, free_304=True) as (client, budget):
            await client.get(API)
            api.status = 200
            await asyncio.sleep(0.3)
            await client.get(API)
            assert await sent(budget) == pytest.approx(api.arrived[1:])

    run(test(), monkeypatch)


def test_it_may_be_told_as_not_counted_before_the_store_has_moved_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = Limits((RateWindow(4, 30.0), RateWindow(2, 0.2)), 4)

    async def use(budget: Budget, *, late_s: float) -> SendGrant:
        async with budget.request() as grant:
            await asyncio.sleep(late_s)
            budget.departed(grant)
        return grant

    async def test() -> None:
        async with open_budget("leaving", limits, None) as budget:
            budget.not_counted(await use(budget, late_s=0.1))
            await asyncio.sleep(0.3)
            kept = await use(budget, late_s=0.0)
            assert await sent(budget) == [kept.send_id]

    run(test(), monkeypatch)


def test_a_request_that_is_sent_again_moves_only_its_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    async def trace(event: str, _: object) -> None:
        said.append(event)

    async def test() -> None:
        api = Api(0.0)
        async with metered(api) as (client, budget):
            request = client.build_request("GET", API, extensions={"trace": trace})
            await client.send(request)
            api.connect_s, api.idle_connections = CONNECT_S, 0
            await client.send(request)
            assert await sent(budget) == pytest.approx(api.arrived)
            assert request.extensions["trace"] is trace

    run(test(), monkeypatch)
    assert said == ["http11.send_request_headers.complete"] * 2, "whose trace it was hears it too"


@pytest.mark.parametrize("auth", ["{kind: none}", "of /token", "of /v1/token"])
def test_all_that_goes_to_the_api_s_origin_counts_but_for_tokens(auth: str) -> None:
    """A next link is held to the origin, and may lead out of the path of base_url."""
    targets = ["/v1/things", "/v1", "/api/v1/things?page=2", "/", "/v10/things"]

    def answering(_: int, seen: Seen) -> bytes:
        return answer({"access_token": "t"} if seen.target.endswith("/token") else [])

    async def test() -> None:
        async with serving(answering) as wire:
            path = auth.removeprefix("of ")
            of_token = (
                "{kind: oauth2_client_credentials, client_id: me, client_secret: it, "
                f"token_url: '{wire.url}{path}'}}"
            )
            source = quick(f"{wire.url}/v1", auth=of_token if path != auth else auth)
            async with client_of(source) as client:
                for target in targets:
                    request = HttpRequest("GET", f"{wire.url}{target}")
                    await client.fetch(request, read_json, "page", RequestCounts())
                assert len(await sent(client.budget)) == len(targets)
            assert len(wire.seen) == len(targets) + (path != auth)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("url", "counts"),
    [
        ("https://api.test/v2", True),
        ("https://API.test:443/", True),
        ("https://api.test:8443/v1", False),
        ("http://api.test/v1", False),
        ("https://other.test/v1", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, counts: bool) -> None:
    budget = open_budget("leaving", FOUR, None)
    transport = BudgetedTransport(Api(), budget, httpx.URL("https://api.test/v1"))
    assert transport.counts(httpx.Request("GET", url)) is counts


class Reluctant(asyncio.Protocol):
    """Takes a connection, and does TLS only after ``CONNECT_S``. Says ok."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.tls, self.came = tls, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.beginning = asyncio.get_running_loop().create_task(self.begin(transport))

    async def begin(self, transport: asyncio.Transport) -> None:
        transport.pause_reading()
        await asyncio.sleep(CONNECT_S)
        loop = asyncio.get_running_loop()
        talk = await loop.start_tls(transport, self, self.tls, server_side=True)
        assert talk is not None
        self.talk = talk

    def data_received(self, data: bytes) -> None:
        self.came += data
        if self.came.endswith((b"\r\n\r\n", b"END")):
            self.came = b""
            self.talk.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def anonymous(protocol: int) -> ssl.SSLContext:
    """TLS that needs no certificate."""
    tls = ssl.SSLContext(protocol)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("aNULL:@SECLEVEL=0")
    return tls


@pytest.mark.parametrize("body", [b"", b"fields *; END"])
@pytest.mark.parametrize("transport", ["ours", "httpx's"])
def test_over_a_socket_a_request_counts_from_when_tls_was_through(
    body: bytes, transport: str
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        served, asked = anonymous(ssl.PROTOCOL_TLS_SERVER), anonymous(ssl.PROTOCOL_TLS_CLIENT)
        server = await loop.create_server(lambda: Reluctant(served), "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        wires = (
            AiohttpTransport(2, asked) if transport == "ours" else httpx.AsyncHTTPTransport(asked)
        )
        budget = open_budget("leaving", FOUR, None)
        inner = BudgetedTransport(wires, budget, httpx.URL(url))
        async with server, budget, httpx.AsyncClient(transport=inner) as client:
            for number in range(2):
                began = loop.time()
                method = "POST" if body else "GET"
                assert (await client.request(method, url, content=body)).text == "ok"
                if number == 0:
                    assert (await sent(budget))[0] - began >= CONNECT_S - 0.01
            assert len(await sent(budget)) == 2

    asyncio.run(asyncio.wait_for(test(), 20))
