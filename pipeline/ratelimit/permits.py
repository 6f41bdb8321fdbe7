"""The permits in flight of one process: taken one by one, and reused inside for a while.

A small share has the first permits. Those beyond are lent to it while no user with the whole share
is active, and go back as soon as the requests that use them end.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from pipeline.errors import Retryable
from pipeline.ratelimit.stores.base import BudgetStore

TURN_S = 0.5
LOOK_S = 0.25
NAMED_S = 30.0
"""Seconds without a permit after which the log says who holds them."""
STOPPED_S, MAX_WAIT_S = 300.0, 1800.0
"""Seconds after which the wait ends: with a stopped process among the holders, and without."""
RETRY_S = 60.0

log = logging.getLogger("headrace.budget")


class Permits:
    """The permits of one user; one task at a time takes."""

    def __init__(self, store: BudgetStore, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._taken_at: dict[int, float] = {}
        self._wanted: asyncio.Future[int] | None = None

    async def take(self) -> int:
        """Wait for a permit.

        :raises Retryable: none came free for so long that a process must have stopped with it.
        """
        least_s, most_s = self._store.poll_s
        wait_s = least_s
        began, named = self._clock(), False
        while True:
            permit = await self._store.try_permit()
            if permit is not None:
                self._taken_at[permit] = monotonic()
                return permit
            spread = random.uniform(0.5, 1.5)  # noqa: S311 - no secret, only not all at once
            permit = await self._reused(wait_s * spread)
            if permit is not None:
                return permit
            wait_s = min(most_s, wait_s * 1.5)
            waited_s = self._clock() - began
            if waited_s > NAMED_S:
                named = self._name_holders(waited_s, named=named)

    def _name_holders(self, waited_s: float, *, named: bool) -> bool:
        """Log once who holds the permits; end a wait that would not."""
        if named and waited_s <= STOPPED_S:
            return True
        holders = self._store.permit_holders()
        who = ", ".join(map(str, holders)) or "other processes"
        whole = self._store.limits.in_flight
        if not named:
            log.warning(
                "no permit came free for %.0f s: all %d of the budget %s are held by %s",
                waited_s,
                whole,
                self._store.name,
                who,
            )
        # Holders may wait for the next window, however long: that is no reason to end.
        most_s = max(MAX_WAIT_S, 1.1 * self._store.limits.longest_s)
        if waited_s > (STOPPED_S if any(one.is_stopped for one in holders) else most_s):
            raise Retryable(
                f"No permit came free for {waited_s:.0f} s. All {whole} of the budget "
                f"`{self._store.name}` are held by {who}. Check: 1. whether one of these processes "
                "is stopped, and let it go on or end it; 2. `limits.in_flight`.",
                wait_s=RETRY_S,
            )
        return True

    async def wait(self, permit: int, wait_s: float) -> bool:
        """Wait for a send slot, with a permit. False: the permit is lent, and wanted back."""
        until = monotonic() + wait_s
        while not self._store.owns(permit) and until - monotonic() > LOOK_S:
            await asyncio.sleep(LOOK_S)
            await self._store.look()
            if not self._store.keeps(permit):
                return False
        await asyncio.sleep(max(0.0, until - monotonic()))
        return True

    def free(self, permit: int) -> None:
        """Reuse a permit within the process, but not for long: others queue for it too."""
        wanted = self._wanted
        reusable = monotonic() - self._taken_at[permit] < TURN_S and self._store.keeps(permit)
        if wanted is not None and not wanted.done() and reusable:
            wanted.set_result(permit)
        else:
            self.release(permit)

    def release(self, permit: int) -> None:
        """Free a permit for all."""
        self._taken_at.pop(permit, None)
        self._store.free_permit(permit)

    async def _reused(self, wait_s: float) -> int | None:
        """Wait for the next attempt, or for a permit that a request of this process frees."""
        self._wanted = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self._wanted,), timeout=wait_s)
        except asyncio.CancelledError:
            if self._wanted.done():
                self.release(self._wanted.result())
            raise
        else:
            return self._wanted.result() if self._wanted.done() else None
        finally:
            self._wanted = None
