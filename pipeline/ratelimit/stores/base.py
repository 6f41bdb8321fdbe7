"""What a store of a budget has to do, and the stores whose state is a row of cells.

A store serializes the users of one budget, gives them one clock, and counts the places in flight.
``take`` and the places never wait: they answer at once, and ``Budget`` does the waiting.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import ClassVar

from pipeline.ratelimit import advertised_limit, reservation
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.limits import Limits, part_of
from pipeline.ratelimit.reservation import Reservation
from pipeline.ratelimit.stats import Minute
from pipeline.ratelimit.usage_histogram import last_hour

Mark = float | str


class BudgetStore(ABC):
    """One user's access to a budget.

    :ivar poll_s: least and most seconds between two looks for a free place.
    :ivar margin: the margin as this user saw it last.
    :ivar part: the places that this share has always: the first ones.
    :ivar full_seen_at: when a user with the whole share was about, as far as this one knows; on
        the monotonic clock.
    """

    poll_s: tuple[float, float] = (0.002, 0.02)

    def __init__(self, name: str, limits: Limits, share: float) -> None:
        self.name, self.limits, self.share = name, limits, share
        self.margin = layout.MARGIN_MIN
        self.part = part_of(limits.in_flight, share)
        self.full_seen_at = -math.inf

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def take(self, ticket: float | None) -> Reservation:
        """Reserve a slot, or ask whether the one reserved may be used now."""

    @abstractmethod
    def give_back(self, ticket: float) -> None:
        """This user gave up waiting. Best effort, never waits."""

    def mark(self, granted: Reservation) -> Mark:
        """By what ``left`` and ``forget`` know a request that may go."""
        return granted.ticket

    @abstractmethod
    async def left(self, mark: Mark, late_s: float) -> Mark:
        """A request left that much later than it was granted. Returns its mark from then on."""

    @abstractmethod
    async def forget(self, marks: Sequence[Mark]) -> None:
        """Requests that the API did not count."""

    @abstractmethod
    async def throttled(self, wait_s: float | None) -> None:
        """A 429: block everybody, learn."""

    @abstractmethod
    async def block(self, wait_s: float) -> None:
        """The API says when there is quota again: block everybody."""

    @abstractmethod
    async def tell(self, requests: int, per_s: float) -> None:
        """The API says what its limit is: if it is lower, everybody keeps to it."""

    @property
    def lends(self) -> bool:
        """Whether a small share may have the places beyond its part, as far as this one knows."""
        return monotonic() - self.full_seen_at >= reservation.LENT_BACK_S

    def own(self, place: int) -> bool:
        """Whether it is one of those that this share has always."""
        return place < self.part

    def keeps(self, place: int) -> bool:
        """Whether a place may be kept for the next request of this process."""
        return self.own(place) or self.lends

    @abstractmethod
    async def look(self) -> None:
        """Look whether a user with the whole share is about."""

    @abstractmethod
    async def try_place(self) -> int | None:
        """A place in flight, if one is free. A user with the whole share that gets none says so."""

    @abstractmethod
    def free_place(self, place: int) -> None:
        """Give a place back. Never waits."""


class CellStore(BudgetStore):
    """A store whose state is a row of cells behind some lock, and whose places are numbered."""

    @abstractmethod
    def locked(self) -> AbstractAsyncContextManager[tuple[memoryview[float], float]]:
        """The cells, for this user alone, and the store's clock."""

    def follow(self, cells: memoryview[float]) -> None:
        """Keep to the windows in the cells: whoever opened the budget last has set them for all."""
        self.limits = replace(self.limits, windows=layout.windows(cells))

    async def take(self, ticket: float | None) -> Reservation:
        async with self.locked() as (cells, now):
            answer = reservation.take(cells, self.limits, now, ticket, self.share)
            self.margin = cells[layout.MARGIN]
            self.saw(now, cells[layout.FULL_SEEN_AT])
        return answer

    async def left(self, mark: Mark, late_s: float) -> Mark:
        async with self.locked() as (cells, _):
            return reservation.left(cells, float(mark), late_s, self.share)

    async def forget(self, marks: Sequence[Mark]) -> None:
        async with self.locked() as (cells, _):
            for mark in marks:
                reservation.forget(cells, self.limits, float(mark), self.share)

    async def throttled(self, wait_s: float | None) -> None:
        async with self.locked() as (cells, now):
            reservation.throttled(cells, self.limits, now, wait_s)
            self.margin = cells[layout.MARGIN]

    async def block(self, wait_s: float) -> None:
        async with self.locked() as (cells, now):
            reservation.block(cells, now, wait_s)

    async def tell(self, requests: int, per_s: float) -> None:
        async with self.locked() as (cells, now):
            advertised_limit.tell(cells, now, requests, per_s)

    @property
    def places(self) -> range:
        """Those that this user may take now; the whole share begins with those beyond a part."""
        whole = self.limits.in_flight
        if self.share >= 1:
            return range(whole - 1, -1, -1)
        return range(whole if self.lends else self.part)

    @abstractmethod
    async def take_one(self) -> int | None:
        """One of ``permits``, if one is free."""

    async def try_place(self) -> int | None:
        if self.share < 1:
            await self.look()
        place = await self.take_one()
        if place is None and self.share >= 1:
            await self.want()
        return place

    async def look(self) -> None:
        async with self.locked() as (cells, now):
            self.saw(now, cells[layout.FULL_SEEN_AT])

    async def want(self) -> None:
        """A user with the whole share waits for a place: small shares are to free what is lent."""
        if monotonic() - self.full_seen_at > reservation.LENT_BACK_S / 4:
            async with self.locked() as (cells, now):
                cells[layout.FULL_SEEN_AT] = max(cells[layout.FULL_SEEN_AT], now)
                self.saw(now, cells[layout.FULL_SEEN_AT])

    def saw(self, now: float, full_seen_at: float) -> None:
        """Two times on the store's clock."""
        self.full_seen_at = monotonic() - now + full_seen_at


@dataclass
class _Memory:
    cells: memoryview[float]
    limits: Limits
    places: set[int] = field(default_factory=set)
    users: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryStore(CellStore):
    """For one process: the users of one name share a state while any of them is open."""

    _all: ClassVar[dict[str, _Memory]] = {}

    async def open(self) -> None:
        cells = memoryview(bytearray(8 * layout.size(self.limits))).cast("d")
        layout.fresh(cells, self.limits, 0.0)
        self._memory = known = self._all.setdefault(self.name, _Memory(cells, self.limits))
        known.users.add(id(self))
        with known.lock:
            if known.limits.windows != self.limits.windows:
                kept = [known.cells[i] for i in range(layout.RINGS)]
                layout.carry_over(kept, layout.sent(known.cells), cells, self.limits)
                known.cells, known.limits = cells, self.limits

    async def close(self) -> None:
        self._memory.users.discard(id(self))
        if not self._memory.users and self._all.get(self.name) is self._memory:
            del self._all[self.name]

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[tuple[memoryview[float], float]]:
        with self._memory.lock:  # nothing is awaited under it
            if self.limits.windows is not self._memory.limits.windows:
                self.limits = replace(self.limits, windows=self._memory.limits.windows)
            yield self._memory.cells, monotonic()

    def give_back(self, ticket: float) -> None:
        with self._memory.lock:
            reservation.give_back(self._memory.cells, ticket, self.share)

    async def take_one(self) -> int | None:
        with self._memory.lock:
            held = self._memory.places
            place = next((place for place in self.places if place not in held), None)
            if place is not None:
                held.add(place)
        return place

    def free_place(self, place: int) -> None:
        self._memory.places.discard(place)

    @classmethod
    def counts(cls, name: str) -> tuple[float, list[Minute]]:
        """The clock, and each minute of the last hour."""
        now, known = monotonic(), cls._all.get(name)
        cells = known.cells if known else memoryview(bytes(8 * layout.RINGS)).cast("d")
        return now, last_hour(cells, now)
