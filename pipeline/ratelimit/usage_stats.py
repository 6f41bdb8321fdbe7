"""The usage of a budget: by one run, and by all users in each minute of the last hour. Pure.

A run's figures are in bounded memory, in unix times. Those of all users are counted in the cells,
on the store's clock. Seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.state_layout import BINS, MINUTES, MORE_BINS, Cells

MAX_BINS = 1024


@dataclass
class SendGrant:
    """The right to send a request, now. ``Budget.departed`` moves its times.

    :ivar waited_permit_s: the wait for a permit in flight.
    :ivar waited_slot_s: the wait for a send slot.
    :ivar departed_at: on the monotonic clock: when it was granted, or left, if that was later.
    :ivar send_id: by which the store knows the request.
    :ivar permit: the permit in flight that it holds.
    """

    waited_permit_s: float
    waited_slot_s: float
    departed_at: float = 0.0
    send_id: float | str = 0.0
    permit: int = 0


class Minute(NamedTuple):
    """A minute of all users of a budget.

    :ivar at: its start, on the store's clock; a unix time in what ``usage`` returns.
    :ivar waited_s: for send slots, summed over the processes that waited.
    """

    at: float
    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0


class MinuteBin(NamedTuple):
    """The places of the cells of a minute."""

    minute: int
    requests: int
    throttled: int
    waited_s: int

    @classmethod
    def of(cls, minute: int) -> MinuteBin:
        at = 2 * (minute % MINUTES)
        return cls(BINS + at, BINS + at + 1, MORE_BINS + at, MORE_BINS + at + 1)


def minute_of(cells: Cells, now: float) -> MinuteBin:
    """The cells of this minute, which begin at nothing."""
    minute = int(now // 60)
    at = MinuteBin.of(minute)
    if cells[at.minute] != minute:
        for index in at[1:]:
            cells[index] = 0.0
        cells[at.minute] = minute
    return at


def last_hour(cells: Cells, now: float) -> list[Minute]:
    """The last hour on this clock, oldest first."""
    current = int(now // 60)
    minutes = []
    for minute in range(current - 59, current + 1):
        at = MinuteBin.of(minute)
        values = [cells[index] for index in at[1:]] if cells[at.minute] == minute else [0.0] * 3
        minutes.append(Minute(minute * 60.0, int(values[0]), int(values[1]), values[2]))
    return minutes


@dataclass(frozen=True)
class BudgetStats:
    """The usage of one user of the budget, without the requests of other processes.

    :ivar margin: how far the pace stays behind the limit, a fraction of the shortest window.
    :ivar share_used: used of the limit between the first request and the last, of 1.
    :ivar sends: (unix time, requests) in steps of ``bin_s`` from the first request to the last.
    """

    requests: int = 0
    throttled: int = 0
    waited_permit_s: float = 0.0
    waited_slot_s: float = 0.0
    first_at: float | None = None
    last_at: float | None = None
    margin: float = 0.0
    share_used: float = 0.0
    bin_s: float = 1.0
    sends: tuple[tuple[float, int], ...] = ()


@dataclass
class UsageRecorder:
    """Counts while the run goes on. Bins double in width rather than grow beyond ``MAX_BINS``."""

    requests: int = 0
    throttled: int = 0
    waited_permit_s: float = 0.0
    waited_slot_s: float = 0.0
    first_at: float | None = None
    last_at: float | None = None
    bin_s: float = 1.0
    bins: list[int] = field(default_factory=list)

    def sent(self, at: float, grant: SendGrant) -> None:
        """Count one grant; ``at`` never decreases by much, but a clock may be set back."""
        if self.first_at is None:
            self.first_at = at
        self.last_at = at = max(at, self.last_at or at)
        self.requests += 1
        self.waited_permit_s += grant.waited_permit_s
        self.waited_slot_s += grant.waited_slot_s
        while (index := int((at - self.first_at) / self.bin_s)) >= MAX_BINS:
            self.bins += [0] * (len(self.bins) % 2)
            self.bins = [sum(self.bins[i : i + 2]) for i in range(0, len(self.bins), 2)]
            self.bin_s *= 2
        self.bins += [0] * (index + 1 - len(self.bins))
        self.bins[index] += 1

    def frozen(self, limits: Limits, margin: float) -> BudgetStats:
        first, last = self.first_at or 0.0, self.last_at or 0.0
        return BudgetStats(
            requests=self.requests,
            throttled=self.throttled,
            waited_permit_s=self.waited_permit_s,
            waited_slot_s=self.waited_slot_s,
            first_at=self.first_at,
            last_at=self.last_at,
            margin=margin,
            share_used=share_used(limits, self.requests, last - first),
            bin_s=self.bin_s,
            sends=tuple((first + i * self.bin_s, count) for i, count in enumerate(self.bins)),
        )


def share_used(limits: Limits, requests: int, elapsed_s: float) -> float:
    """The used part of the window that allows the least in ``elapsed_s``."""
    shares = [
        requests / window.requests
        if elapsed_s < window.per_s
        else (requests - 1) * window.per_s / (window.requests * elapsed_s)
        for window in limits.windows
    ]
    return min(1.0, max(shares))
