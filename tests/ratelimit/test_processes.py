"""Real processes against a server that counts as strictly as can be."""

import asyncio
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic

import pytest

from pipeline.ratelimit import Budget, Limits, RateWindow, open_budget, usage
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.stores.folder import FolderStore
from tests.ratelimit.strict_server import strict_server
from tests.ratelimit.users import Use

SPAWN = multiprocessing.get_context("spawn")
WIDE = Limits((RateWindow(1000, 1.0),), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "processes", "asked"),
    [
        (4, 1, 24), (4, 16, 32), (50, 4, 400), (500, 1, 2000), (500, 16, 3200),
    ],
)  # fmt: skip
def test_any_number_of_processes_stays_within_one_limit(
    tmp_path: Path, rate: int, processes: int, asked: int
) -> None:
    places = 3 if rate < 500 else 16
    limits = Limits((RateWindow(rate, 1.0),), places)
    with strict_server([(rate, 1.0)], latency_s=0.02) as server:
        use = Use("api", limits, str(tmp_path), server.port, asked // processes)
        for user in use.start(processes):
            user.join(60)
            assert user.exitcode == 0
        seen = server.counted()
    assert seen.accepted + seen.refused == asked
    assert seen.most_in_flight <= places
    sent = asyncio.run(_sent(tmp_path, limits))
    assert len(sent) == min(asked, layout.capacity(limits))
    assert all(b - a >= 1.0 for a, b in zip(sent, sent[rate:], strict=False))
    assert seen.refused <= math.ceil(asked / 1000)
    assert sum(minute.requests for minute in usage(str(tmp_path), "api")) == asked


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "asked"), [(50, 600), (500, 3000)])
def test_with_jitter_on_the_way_the_margin_is_learned_from_few_refusals(
    tmp_path: Path, rate: int, asked: int
) -> None:
    places = 6 if rate < 500 else 32
    limits = Limits((RateWindow(rate, 1.0),), places)
    with strict_server([(rate, 1.0)], latency_s=0.02, jitter_s=0.04) as server:  # ±20 ms
        for user in Use("api", limits, str(tmp_path), server.port, asked // 4).start(4):
            user.join(90)
            assert user.exitcode == 0
        seen = server.counted()
    assert seen.accepted + seen.refused == asked
    assert seen.refused <= asked / 100
    assert seen.most_in_flight <= places


@pytest.mark.slow
def test_a_backfill_has_the_whole_until_a_scheduled_run_comes_and_when_it_has_gone(
    tmp_path: Path,
) -> None:
    limits = Limits((RateWindow(20, 3.2),), 4)  # a window that counts as long: five, fifteen lent
    asks = 30

    def backfill_had() -> int:
        return sum(had for user, had in server.counted().users.items() if user != "/scheduled")

    def wait_until_it_had(number: int) -> None:
        began = monotonic()
        while backfill_had() < number:
            assert monotonic() - began < 120
            time.sleep(0.1)

    with strict_server([(20, 3.2)], latency_s=0.02) as server:
        low = Use("api", limits, str(tmp_path), server.port, share=0.25)
        backfills = low.start(2)
        try:
            wait_until_it_had(60)
            alone = asyncio.run(_sent(tmp_path, limits))
            scheduled = SPAWN.Process(
                target=Use("api", limits, str(tmp_path), server.port, asks).run,
                args=("scheduled",),
                daemon=True,
            )
            scheduled.start()
            while "/scheduled" not in server.counted().users:
                assert scheduled.is_alive()
                time.sleep(0.01)
            before = backfill_had()
            scheduled.join(60)
            meanwhile = backfill_had() - before
            assert scheduled.exitcode == 0
            gone = monotonic()
            wait_until_it_had(before + meanwhile + 60)
            again = [at for at in asyncio.run(_sent(tmp_path, limits)) if at > gone]
        finally:
            for process in backfills:
                process.kill()
                process.join()
        seen = server.counted()
    assert seen.users["/scheduled"] + seen.refused >= asks
    assert meanwhile <= asks / 2, "its part is a quarter of all; two of three processes had two"
    for times in (alone, again):
        assert max(sum(a <= at < a + 3.3 for at in times) for a in times) >= 19
    assert seen.most_in_flight <= 4


async def _sent(folder: Path, limits: Limits) -> list[float]:
    """The send times of all processes, as the budget has them."""
    async with open_budget("api", limits, str(folder)) as budget:
        assert isinstance(budget.store, FolderStore)
        return await budget.store.update(lambda cells, _: layout.send_times(cells)[0])


def _hold(where: str, limits: Limits, requests: int, ready: Connection) -> None:
    """Hold places in flight, and say when."""

    async def hold_one(entered: asyncio.Event) -> None:
        async with budget.request():
            entered.set()
            await asyncio.sleep(60)

    async def hold() -> None:
        async with budget:
            entered = [asyncio.Event() for _ in range(requests)]
            tasks = [asyncio.create_task(hold_one(event)) for event in entered]
            for event in entered:
                await event.wait()
            ready.send("held")
            await asyncio.gather(*tasks)

    budget = open_budget("api", limits, where)
    asyncio.run(hold())


@contextmanager
def _holder(where: Path | str, limits: Limits, requests: int) -> Iterator[SpawnProcess]:
    ours, theirs = SPAWN.Pipe()
    args = (str(where), limits, requests, theirs)
    process = SPAWN.Process(target=_hold, args=args, daemon=True)
    process.start()
    try:
        assert ours.recv() == "held"
        yield process
    finally:
        process.kill()
        process.join()


def test_a_killed_process_gives_back_its_places(tmp_path: Path) -> None:
    async def send() -> None:
        async with open_budget("api", WIDE, str(tmp_path)) as budget:
            waiting = asyncio.create_task(_send_one(budget))
            await asyncio.sleep(0.1)
            assert not waiting.done(), "both places are held by the other process"
            assert holder.pid is not None
            os.kill(holder.pid, signal.SIGKILL)
            await asyncio.wait_for(waiting, 60)

    with _holder(tmp_path, WIDE, 2) as holder:
        asyncio.run(send())


async def _send_one(budget: Budget) -> None:
    async with budget.request():
        pass


def test_a_killed_process_loses_no_more_than_the_slot_it_waited_for(tmp_path: Path) -> None:
    limits = Limits((RateWindow(4, 3600.0),), 8)

    async def rest() -> list[float]:
        async with open_budget("api", limits, str(tmp_path)) as budget:
            return [(await budget.store.take(None)).wait_s for _ in range(3)]

    with _holder(tmp_path, limits, 2) as holder:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
    waits = asyncio.run(rest())
    assert waits[:2] == [0.0, 0.0]
    assert waits[2] > 3000


def test_a_stopped_process_holds_up_nobody_else(tmp_path: Path) -> None:
    async def send() -> None:
        async with open_budget("api", WIDE, str(tmp_path)) as budget:
            for _ in range(5):
                await _send_one(budget)

    with _holder(tmp_path, WIDE, 1) as holder:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        asyncio.run(asyncio.wait_for(send(), 10))
        os.kill(holder.pid, signal.SIGCONT)


@pytest.mark.slow
def test_a_killed_holder_s_lease_in_redis_ends(redis_url: str) -> None:
    async def send() -> None:
        async with open_budget("api", WIDE, redis_url) as budget, budget.request():
            pass

    with _holder(redis_url, WIDE, 2) as holder:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        began = time.monotonic()
        asyncio.run(asyncio.wait_for(send(), 20))
        assert time.monotonic() - began > 1.0, "it was held until its lease ended"
