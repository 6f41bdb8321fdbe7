"""A budget's server that says nothing, or forgets: a call ends, and the next one is answered."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from time import monotonic

import pytest

from pipeline.errors import Retryable
from pipeline.ratelimit import Budget, Limits, RateWindow, open_budget
from pipeline.ratelimit.stores import redis, server
from pipeline.ratelimit.stores.postgres import PostgresStore
from tests.ratelimit import servers

pytestmark = pytest.mark.slow

WIDE = Limits((RateWindow(1000, 0.5),), 4)
HANGS_S = 60.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RESPONSE_S", 1.0)
    for name in redis._TIMEOUTS:
        monkeypatch.setitem(redis._TIMEOUTS, name, 1.0)


def test_a_connection_to_postgres_that_falls_silent_is_given_up_for_another(
    name: str, postgres_url: str
) -> None:
    """As when a firewall has forgotten it: nobody hangs up. Here the server's process stands."""

    async def test() -> None:
        async with open_budget(name, WIDE, postgres_url) as budget:
            store = budget.store
            assert isinstance(store, PostgresStore)
            async with budget.request():
                pass
            silent = store._connection.info.backend_pid
            os.kill(silent, signal.SIGSTOP)
            try:
                async with budget.request():
                    assert store._connection.info.backend_pid != silent
            finally:
                os.kill(silent, signal.SIGCONT)

    asyncio.run(asyncio.wait_for(test(), HANGS_S))


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_a_server_that_forgets_everything_begins_anew(
    request: pytest.FixtureRequest, name: str, server: str
) -> None:
    url = request.getfixturevalue(f"{server}_url")
    few = Limits((RateWindow(2, 0.5),), 4)

    async def test() -> None:
        async with open_budget(name, few, url) as one, open_budget(name, few, url) as two:
            for budget in (one, two):
                async with budget.request():
                    pass
            await (forget_redis if server == "redis" else forget_postgres)(url)
            began = monotonic()
            for budget in (one, two, one, two, one):
                async with budget.request():
                    pass
            assert monotonic() - began >= 1.0, "the fifth goes in the third window"

    asyncio.run(asyncio.wait_for(test(), HANGS_S))


def test_a_redis_that_is_restarted_is_waited_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RESPONSE_S", 30.0)
    port = servers.free_port()

    async def test() -> None:
        with ExitStack() as up:
            budget = open_budget(name, WIDE, up.enter_context(servers.redis_url(port)))
            async with budget:
                async with budget.request():
                    pass
                up.close()
                waiting = asyncio.create_task(send(budget))
                await asyncio.sleep(0.3)
                assert not waiting.done(), "there is nobody to ask"
                up.enter_context(servers.redis_url(port))
                await waiting

    asyncio.run(asyncio.wait_for(test(), HANGS_S))


async def send(budget: Budget) -> None:
    async with budget.request():
        pass


async def forget_redis(url: str) -> None:
    client = pytest.importorskip("redis.asyncio").from_url(url)
    await client.flushall()
    await client.aclose()


async def forget_postgres(url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP TABLE headrace_budgets")


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_server_that_never_answers_is_an_error_that_is_tried_again(
    name: str, scheme: str
) -> None:
    pytest.importorskip(scheme.replace("postgresql", "psycopg"))

    async def opened(port: int) -> None:
        url = f"{scheme}://user:secret-word@127.0.0.1:{port}/0"
        with pytest.raises(Retryable, match=r"failed \(\w+\)\. Check: 1\. HEADR") as caught:
            async with open_budget(name, WIDE, url):
                pass
        assert "secret-word" not in f"{caught.value!r} {caught.value.__cause__!r}"

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = monotonic()
        asyncio.run(asyncio.wait_for(opened(deaf.getsockname()[1]), HANGS_S))
        assert monotonic() - began >= 1.0
