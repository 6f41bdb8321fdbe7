"""The family of budget stores: where the users of one budget meet.

A store serializes the users of a budget, gives them one clock, and counts the permits in flight.
No method waits for a send slot or a permit: each returns at once, and ``Budget`` does the waiting.

Most kinds are a ``StateStore``: their state is one row of cells (``state_layout``), and the law of
the reservation runs on it. Such a kind says how one user at a time changes the row, and how a
permit is taken. The whole of one, for the users of one process:

    from time import monotonic
    from typing import ClassVar, TypeVar

    from pipeline.ratelimit import reservation, state_layout
    from pipeline.ratelimit.stores.base import BUDGET_STORES, Change, StateStore
    from pipeline.ratelimit.usage_stats import Minute, last_hour

    T = TypeVar("T")


    @BUDGET_STORES.register("dict")  # HEADRACE_BUDGET=dict://anything
    class DictStore(StateStore):
        rows: ClassVar[dict[str, memoryview]] = {}
        permits: ClassVar[set[tuple[str, int]]] = set()

        async def open(self) -> None:
            row = memoryview(bytearray(8 * state_layout.size(self.limits))).cast("d")
            state_layout.fresh(row, self.limits, 0.0)
            self.rows.setdefault(self.name, row)

        async def close(self) -> None: ...

        async def update(self, change: Change[T]) -> T:
            return change(self.rows[self.name], monotonic())

        def give_back(self, ticket: float) -> None:
            reservation.give_back(self.rows[self.name], ticket, self.share)

        async def take_permit(self) -> int | None:
            free = (p for p in self.permit_numbers if (self.name, p) not in self.permits)
            permit = next(free, None)
            if permit is not None:
                self.permits.add((self.name, permit))
            return permit

        def free_permit(self, permit: int) -> None:
            self.permits.discard((self.name, permit))

        @classmethod
        def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
            now = monotonic()
            return now, last_hour(cls.rows.get(name, state_layout.EMPTY), now)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import ClassVar, Final, TypeVar
from urllib.parse import urlsplit

from pipeline.kinds import Kinds
from pipeline.ratelimit import reservation, state_layout
from pipeline.ratelimit.limits import Limits, part_of
from pipeline.ratelimit.reservation import Reservation
from pipeline.ratelimit.state_layout import Cells
from pipeline.ratelimit.usage_stats import Minute

T = TypeVar("T")
SendId = float | str
"""By which a store knows a request that may go: its send time, or a name."""
Change = Callable[[Cells, float], T]
"""A step of the law: from the row of cells and the store's clock to a result. The row is changed in
place. A store that has only a part of the row at hand may run a step again from its beginning."""


_STATES: Final = {"T": "stopped", "t": "stopped by a debugger", "Z": "a zombie", "D": "in a wait"}


@dataclass(frozen=True)
class LockHolder:
    """A process that holds locks. ``state`` is the kernel's letter."""

    pid: int
    state: str

    @property
    def is_stopped(self) -> bool:
        return self.state in ("T", "t")

    def __str__(self) -> str:
        meaning = _STATES.get(self.state)
        return f"pid {self.pid} (state {self.state}{f': {meaning}' if meaning else ''})"


class BudgetStore(ABC):
    """A user's access to a budget.

    :param name: of the budget, the same for all its users.
    :param location: the setting that names the store: ``memory``, a folder, or a URL.
    :ivar poll_s: least and most seconds between two attempts at a permit.
    :ivar margin: the send margin as this user saw it last.
    :ivar part: the number of permits that this share has always: the first ones.
    :ivar full_seen_at: when a user with the whole share was last active, as far as this one knows;
        on the monotonic clock.
    """

    poll_s: tuple[float, float] = (0.002, 0.02)
    outlives_users: ClassVar[bool] = True
    """Whether a budget stays when its last user closes: opening it again forgets nothing then."""

    def __init__(self, name: str, limits: Limits, share: float, location: str) -> None:
        self.name, self.limits, self.share, self.location = name, limits, share, location
        self.margin = state_layout.MARGIN_MIN
        self.part = part_of(limits.in_flight, share)
        self.full_seen_at = -math.inf

    @abstractmethod
    async def open(self) -> None:
        """:raises ConfigError, Retryable: the store can't be used, or does not respond."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def take(self, ticket: float | None) -> Reservation:
        """Reserve a send slot, or ask whether the reserved one may be used now."""

    @abstractmethod
    def give_back(self, ticket: float) -> None:
        """Free the send slot of a user that gave up waiting. Best effort, never waits."""

    def send_id(self, granted: Reservation) -> SendId:
        """By which ``departed`` and ``forget`` know a request."""
        return granted.ticket

    @abstractmethod
    async def departed(self, send: SendId, late_s: float) -> SendId:
        """Record that a request left that much later than granted; return its id from then on."""

    @abstractmethod
    async def forget(self, sends: Sequence[SendId]) -> None:
        """Free the send slots of requests that the API did not count."""

    @abstractmethod
    async def throttled(self, wait_s: float | None) -> None:
        """Record a 429: all users pause, and the send margin grows."""

    @abstractmethod
    async def block(self, wait_s: float) -> None:
        """Pause all users until the API has quota again."""

    @abstractmethod
    async def advertise(self, requests: int, per_s: float) -> None:
        """Record the limit that the API says: all users keep to it if it is the lower one."""

    @property
    def lends(self) -> bool:
        """Whether a small share may have the permits beyond its part, as far as this one knows."""
        return monotonic() - self.full_seen_at >= reservation.LENT_BACK_S

    def owns(self, permit: int) -> bool:
        """Whether a permit is one of those that this share has always."""
        return permit < self.part

    def keeps(self, permit: int) -> bool:
        """Whether a permit may be kept for the next request of this process."""
        return self.owns(permit) or self.lends

    @abstractmethod
    async def look(self) -> None:
        """Look whether a user with the whole share is active."""

    @abstractmethod
    async def try_permit(self) -> int | None:
        """A permit in flight, if one is free. A user with the whole share records that it waits."""

    def permit_holders(self) -> tuple[LockHolder, ...]:
        """The processes that hold permits, where the store knows them."""
        return ()

    @abstractmethod
    def free_permit(self, permit: int) -> None:
        """Free a permit. Never waits."""

    @classmethod
    @abstractmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        """The store's clock, and each minute of the last hour on it. Blocks.

        :raises ConfigError, Retryable: the store can't be used, or does not respond.
        """

    @classmethod
    def identity(cls, location: str) -> str:
        """What an opened store says of itself, the same for all its users whatever they call it.
        Blocks. Empty: not known, or a store of one process.

        :raises ConfigError, Retryable: the store can't be used, or does not answer.
        """
        return ""

    @classmethod
    def printable_location(cls, location: str) -> str:
        """The location without secrets, for a person."""
        return without_secrets(location)


def without_secrets(url: str) -> str:
    """Scheme, host, port and path of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


BUDGET_STORES: Final[Kinds[BudgetStore]] = Kinds("budget store", BudgetStore)  # type: ignore[type-abstract]
"""The kinds of stores by name: ``memory``, ``folder``, and the schemes of URLs."""


class StateStore(BudgetStore):
    """A store whose state is a row of cells, and whose permits are numbered."""

    @abstractmethod
    async def update(self, change: Change[T]) -> T:
        """Run a step of the law on the row: no other user changes the row between."""

    @abstractmethod
    async def take_permit(self) -> int | None:
        """Take one of ``permit_numbers``, if one is free."""

    @property
    def permit_numbers(self) -> range:
        """The permits that this user may take now, in its order.

        The whole share begins with those beyond a part: they are lent to small shares.
        """
        whole = self.limits.in_flight
        if self.share >= 1:
            return range(whole - 1, -1, -1)
        return range(whole if self.lends else self.part)

    def follow(self, cells: Cells) -> None:
        """Keep to the windows in the cells: the user that opened the budget last set them."""
        self.limits = replace(self.limits, windows=state_layout.windows(cells))

    def note_full(self, now: float, full_seen_at: float) -> None:
        """Note when a user with the whole share was active: two times on the store's clock."""
        self.full_seen_at = monotonic() - now + full_seen_at

    async def take(self, ticket: float | None) -> Reservation:
        def change(cells: Cells, now: float) -> Reservation:
            taken = reservation.take(cells, self.limits, now, ticket, self.share)
            self.margin = cells[state_layout.MARGIN]
            self.note_full(now, cells[state_layout.FULL_SEEN_AT])
            return taken

        return await self.update(change)

    async def departed(self, send: SendId, late_s: float) -> SendId:
        return await self.update(
            lambda cells, _: reservation.departed(cells, float(send), late_s, self.share)
        )

    async def forget(self, sends: Sequence[SendId]) -> None:
        def change(cells: Cells, now: float) -> None:
            for send in sends:
                reservation.forget(cells, self.limits, float(send), self.share)

        await self.update(change)

    async def throttled(self, wait_s: float | None) -> None:
        def change(cells: Cells, now: float) -> None:
            reservation.throttled(cells, self.limits, now, wait_s)
            self.margin = cells[state_layout.MARGIN]

        await self.update(change)

    async def block(self, wait_s: float) -> None:
        await self.update(lambda cells, now: reservation.block(cells, now, wait_s))

    async def advertise(self, requests: int, per_s: float) -> None:
        await self.update(lambda cells, now: reservation.record(cells, now, requests, per_s))

    async def try_permit(self) -> int | None:
        if self.share < 1:
            await self.look()
        permit = await self.take_permit()
        if permit is None and self.share >= 1:
            await self.want_permit()
        return permit

    async def look(self) -> None:
        await self.update(lambda cells, now: self.note_full(now, cells[state_layout.FULL_SEEN_AT]))

    async def want_permit(self) -> None:
        """A user with the whole share waits for a permit: small shares are to free what is lent."""

        def change(cells: Cells, now: float) -> None:
            cells[state_layout.FULL_SEEN_AT] = max(cells[state_layout.FULL_SEEN_AT], now)
            self.note_full(now, cells[state_layout.FULL_SEEN_AT])

        if monotonic() - self.full_seen_at > reservation.LENT_BACK_S / 4:
            await self.update(change)
