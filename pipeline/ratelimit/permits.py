"""The places in flight of one process: taken one after the other, and handed on inside for a while.

A small share has the first places. Those beyond are lent to it while no user with the whole share
is about, and go back as soon as what is under way on them ends.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic

from pipeline.ratelimit.stores.base import BudgetStore

TURN_S = 0.5
LOOK_S = 0.25


class Permits:
    """The places of one user, for whom one task at a time asks."""

    def __init__(self, store: BudgetStore) -> None:
        self._store = store
        self._since: dict[int, float] = {}
        self._wanted: asyncio.Future[int] | None = None

    async def take(self) -> int:
        """Wait for a place."""
        least_s, most_s = self._store.poll_s
        wait_s = least_s
        while True:
            place = await self._store.try_place()
            if place is not None:
                self._since[place] = monotonic()
                return place
            spread = random.uniform(0.5, 1.5)  # noqa: S311 - no secret, only not all at once
            place = await self._handed_over(wait_s * spread)
            if place is not None:
                return place
            wait_s = min(most_s, wait_s * 1.5)

    async def wait(self, place: int, wait_s: float) -> bool:
        """Wait with a place in hand, for a slot. False: it is lent, and is wanted back."""
        until = monotonic() + wait_s
        while not self._store.own(place) and until - monotonic() > LOOK_S:
            await asyncio.sleep(LOOK_S)
            await self._store.look()
            if not self._store.keeps(place):
                return False
        await asyncio.sleep(max(0.0, until - monotonic()))
        return True

    def free(self, place: int) -> None:
        """Hand a place on within the process, but not for long: others queue for it too."""
        wanted = self._wanted
        here = monotonic() - self._since[place] < TURN_S and self._store.keeps(place)
        if wanted is not None and not wanted.done() and here:
            wanted.set_result(place)
        else:
            self.release(place)

    def release(self, place: int) -> None:
        """Give it back to all."""
        self._since.pop(place, None)
        self._store.free_place(place)

    async def _handed_over(self, wait_s: float) -> int | None:
        """Wait for the next look, or for a place that a request of this process is done with."""
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
