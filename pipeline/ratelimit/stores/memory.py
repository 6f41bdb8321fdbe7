"""The kind ``memory``: a budget for one process, which ends with it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import ClassVar, TypeVar

from pipeline.ratelimit import reservation, state_layout
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.stores.base import BUDGET_STORES, Change, StateStore
from pipeline.ratelimit.usage_stats import Minute, last_hour

T = TypeVar("T")


@dataclass
class _SharedState:
    cells: memoryview[float]
    limits: Limits
    permits: set[int] = field(default_factory=set)
    users: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


@BUDGET_STORES.register("memory")
class MemoryStore(StateStore):
    """The users of one name share a state while any of them is open."""

    outlives_users = False
    _all: ClassVar[dict[str, _SharedState]] = {}

    async def open(self) -> None:
        cells = memoryview(bytearray(8 * state_layout.size(self.limits))).cast("d")
        state_layout.fresh(cells, self.limits, 0.0)
        self._state = state = self._all.setdefault(self.name, _SharedState(cells, self.limits))
        state.users.add(id(self))
        with state.lock:
            if state.limits.windows != self.limits.windows:
                head = [state.cells[i] for i in range(state_layout.RINGS)]
                sends = state_layout.send_times(state.cells)
                state_layout.carry_over(head, sends, cells, self.limits)
                state.cells, state.limits = cells, self.limits

    async def close(self) -> None:
        self._state.users.discard(id(self))
        if not self._state.users and self._all.get(self.name) is self._state:
            del self._all[self.name]

    async def update(self, change: Change[T]) -> T:
        with self._state.lock:  # nothing is awaited under it
            if self.limits.windows is not self._state.limits.windows:
                self.limits = replace(self.limits, windows=self._state.limits.windows)
            return change(self._state.cells, monotonic())

    def give_back(self, ticket: float) -> None:
        with self._state.lock:
            reservation.give_back(self._state.cells, ticket, self.share)

    async def take_permit(self) -> int | None:
        with self._state.lock:
            taken = self._state.permits
            permit = next((p for p in self.permit_numbers if p not in taken), None)
            if permit is not None:
                taken.add(permit)
        return permit

    def free_permit(self, permit: int) -> None:
        self._state.permits.discard(permit)

    @classmethod
    def printable_location(cls, location: str) -> str:
        return "the memory of each process"

    @classmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        now, state = monotonic(), cls._all.get(name)
        return now, last_hour(state.cells if state else state_layout.EMPTY, now)
