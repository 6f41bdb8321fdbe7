"""A Postgres that is restarted while permits are held."""

import asyncio
import time
from collections.abc import Callable

import pytest

from pipeline.ratelimit import Limits, RateWindow, open_budget
from pipeline.ratelimit.stores.postgres import PostgresStore
from tests.ratelimit.servers import Postgres, postgres

TWO = Limits((RateWindow(1000, 0.5),), 2)


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never so")


@pytest.mark.parametrize("found_out", [True, False], ids=["known to be away", "not known yet"])
def test_permits_that_are_freed_while_the_server_is_away_are_free(
    name: str, found_out: bool
) -> None:
    async def test(server: Postgres) -> None:
        async with open_budget(name, TWO, server.url) as budget:
            store = budget.store
            assert isinstance(store, PostgresStore)
            held = [await store.try_permit() for _ in range(2)]
            assert None not in held
            server.stop()
            waiting = asyncio.create_task(store.block(0.0))  # a call that needs the server
            await until(lambda: not found_out or store._connection is None)
            for permit in held:
                store.free_permit(permit or 0)
            await until(lambda: not store._locks)
            server.start()
            await waiting
            taken = [await store.try_permit() for _ in range(3)]
            assert [permit is not None for permit in taken] == [True, True, False]

    with postgres() as server:
        time.sleep(0.2)  # the port is open a moment before it answers
        asyncio.run(asyncio.wait_for(test(server), 60))
