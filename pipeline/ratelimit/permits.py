"""The permits in flight of one process: taken one by one, and reused inside for a while.

A small share has the first permits. Those beyond are lent to it while no user with the whole share
is active, and go back as soon as the requests that use them end.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic

from pipeline.ratelimit.stores.base import BudgetStore

TURN_S = 0.5
LOOK_S = 0.25


class Permits:
    """The permits of one user; one task at a time takes."""

    def __init__(self, store: BudgetStore) -> None:
        self._store = store
        self._taken_at: dict[int, float] = {}
        self._wanted: asyncio.Future[int] | None = None

    async def take(self) -> int:
        """Wait for a permit."""
        least_s, most_s = self._store.poll_s
        wait_s = least_s
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
