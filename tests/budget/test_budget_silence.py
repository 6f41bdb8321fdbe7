"""A budget's server that says nothing: a call ends after a while, and the next one is answered."""

import asyncio
import os
import signal
import socket
from time import monotonic

import pytest

from pipeline.budget import Limits, RateWindow, open_budget, redis_lua, remote
from pipeline.budget.postgres import PostgresStore
from pipeline.errors import Retryable

pytestmark = pytest.mark.slow

WIDE = Limits((RateWindow(1000, 0.5),), 4)
HANGS_S = 60.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 1.0)
    for name in redis_lua._TIMEOUTS:
        monkeypatch.setitem(redis_lua._TIMEOUTS, name, 1.0)


def test_a_connection_to_postgres_that_falls_silent_is_given_up_for_another(
    name: str, postgres_url: str
) -> None:
    """As when a firewall has forgotten it: nobody hangs up. Here the server's process stands."""

    async def test() -> None:
        async with open_budget(name, WIDE, postgres_url) as budget:
            store = budget._store
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


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_server_that_never_answers_is_an_error_that_is_tried_again(
    name: str, scheme: str
) -> None:
    pytest.importorskip(scheme.replace("postgresql", "psycopg"))

    async def opened(port: int) -> None:
        url = f"{scheme}://user:secret-word@127.0.0.1:{port}/0"
        with pytest.raises(Retryable, match=r"does not do as asked \(\w+\): is HEADR") as caught:
            async with open_budget(name, WIDE, url):
                pass
        assert "secret-word" not in f"{caught.value!r} {caught.value.__cause__!r}"

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = monotonic()
        asyncio.run(asyncio.wait_for(opened(deaf.getsockname()[1]), HANGS_S))
        assert monotonic() - began >= 1.0
