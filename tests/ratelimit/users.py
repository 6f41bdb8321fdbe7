"""Processes that use one budget against the strict server, as hard as it lets them."""

import asyncio
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, repeat
from math import inf
from multiprocessing.context import SpawnProcess
from time import monotonic

from pipeline.ratelimit import Budget, Limits, open_budget
from tests.ratelimit.strict_server import Wire, wires


async def _worker(budget: Budget, wire: Wire, user: str, more: Callable[[], bool]) -> None:
    while more():
        async with budget.request() as grant:
            status = await wire.get(user, partial(budget.departed, grant))
        if status == 429:
            budget.throttled(None)


@dataclass(frozen=True)
class Use:
    """What each process does: ``requests`` requests, or as many as it can ``until`` a time."""

    name: str
    limits: Limits
    where: str | None
    port: int
    requests: int | None = None
    until: float = inf  # on the monotonic clock
    share: float = 1.0

    def run(self, user: str) -> None:
        asyncio.run(self._run(user))

    async def _run(self, user: str) -> None:
        left = count(self.requests, -1) if self.requests is not None else repeat(1)
        tasks = min(self.limits.in_flight, 32)
        budget = open_budget(self.name, self.limits, self.where, share=self.share)
        async with wires(self.port, tasks) as opened, budget:

            def more() -> bool:
                return next(left) > 0 and monotonic() < self.until

            await asyncio.gather(*(_worker(budget, wire, f"/{user}", more) for wire in opened))

    def start(self, processes: int) -> list[SpawnProcess]:
        """Processes of their own, as Dagster starts its runs. The caller joins or kills them."""
        spawn = multiprocessing.get_context("spawn")
        users = [f"user-{i}" for i in range(processes)]
        started = [spawn.Process(target=self.run, args=(user,), daemon=True) for user in users]
        for process in started:
            process.start()
        return started
