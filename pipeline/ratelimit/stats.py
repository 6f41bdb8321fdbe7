"""What a run asks of its budget afterwards, in bounded memory. Unix times, seconds."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.ratelimit.limits import Limits

MAX_BINS = 1024


@dataclass
class SendGrant:
    """A request may go, now: what it waited for. ``Budget.left`` moves its time, and its mark.

    :ivar left_at: on the monotonic clock. It was granted then, or left then, if that was later.
    :ivar mark: by which the store knows it.
    """

    waited_place_s: float
    waited_slot_s: float
    left_at: float = 0.0
    mark: float | str = 0.0


class Minute(NamedTuple):
    """A minute of all users of a budget.

    :ivar at: when it began: on the store's clock, or a unix time where a user sees it.
    :ivar waited_s: for slots, summed over the processes that waited.
    """

    at: float
    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True)
class BudgetStats:
    """What one user had of the budget. Other processes' requests are not in it.

    :ivar margin: how far the pace stays behind the limit, a fraction of the shortest window.
    :ivar share_used: used of the limit between the first request and the last, of 1.
    :ivar sends: (unix time, requests) in steps of ``bin_s`` from the first request to the last.
    """

    requests: int = 0
    throttled: int = 0
    waited_place_s: float = 0.0
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
    waited_place_s: float = 0.0
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
        self.waited_place_s += grant.waited_place_s
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
            waited_place_s=self.waited_place_s,
            waited_slot_s=self.waited_slot_s,
            first_at=self.first_at,
            last_at=self.last_at,
            margin=margin,
            share_used=share_used(limits, self.requests, last - first),
            bin_s=self.bin_s,
            sends=tuple((first + i * self.bin_s, count) for i, count in enumerate(self.bins)),
        )


def share_used(limits: Limits, requests: int, elapsed_s: float) -> float:
    """Of the window that allows the least in ``elapsed_s``: the part that was used."""
    shares = [
        requests / window.requests
        if elapsed_s < window.per_s
        else (requests - 1) * window.per_s / (window.requests * elapsed_s)
        for window in limits.windows
    ]
    return min(1.0, max(shares))
