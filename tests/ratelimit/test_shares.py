"""The law of the shares, on a clock of the test's own: lent while nobody else is about, evenly."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ratelimit import Limits, RateWindow, reservation
from pipeline.ratelimit.limits import part_of
from pipeline.ratelimit.state_layout import MARGIN_MIN
from tests.ratelimit.test_reservation import new
from tests.support.thorough import THOROUGH

FULL = -1
LONG = [RateWindow(5, 30.0), RateWindow(3, 10.0), RateWindow(100, 10.0), RateWindow(30, 60.0)]
SHORT_TOO = [
    (RateWindow(4, 1.0), RateWindow(30, 20.0)),
    (RateWindow(10, 1.0), RateWindow(40, 10.0), RateWindow(100, 60.0)),
    (RateWindow(50, 1.0), RateWindow(400, 10.0)),
]
SHARES = st.sampled_from([0.75, 0.5, 0.3])


@dataclass
class Shared:
    """Backfills that ask without end, and one run with the whole share that comes and goes."""

    windows: tuple[RateWindow, ...]
    share: float
    backfills: int
    late_s: float = 0.0
    seed: int = 0
    full: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)

    def run(self, until: float, comes_at: float = 1e9, asks: int = 0) -> Shared:
        limits, order = Limits(self.windows, 8), random.Random(self.seed)
        row = new(limits)
        queue: list[tuple[float, int, float | None]] = [
            (0.0, user, None) for user in range(self.backfills)
        ]
        heapq.heappush(queue, (comes_at, FULL, None))
        while (event := heapq.heappop(queue))[0] < until:
            now, user, ticket = event
            share = 1.0 if user == FULL else self.share
            answer = reservation.take(row, limits, now, ticket, share)
            if answer.wait_s > 0:
                late_s = self.late_s * order.random()
                heapq.heappush(queue, (now + answer.wait_s + late_s, user, answer.ticket))
                continue
            sent = self.full if user == FULL else self.low
            sent.append(now)
            if user != FULL or len(sent) < asks:
                heapq.heappush(queue, (now, user, None))
        return self

    @property
    def each_s(self) -> float:
        """How far apart the slots of the part are that is kept for others."""
        longest_s, requests = self.longest_s, self.windows[-1].requests
        return longest_s / (requests - part_of(requests, self.share))

    @property
    def longest_s(self) -> float:
        """With the margin."""
        return reservation.stretched(Limits(self.windows, 8), MARGIN_MIN)[-1][1]

    def lent_whole(self, after: float, windows: int) -> bool:
        """Whether the backfills had what there is of so many of the longest windows."""
        had = sum(1 for at in self.low if after <= at < after + windows * self.longest_s)
        return had >= 0.97 * windows * self.windows[-1].requests - 1


@pytest.mark.slow
@settings(max_examples=30 * THOROUGH)
@given(
    windows=st.sampled_from([(window,) for window in LONG] + SHORT_TOO),
    share=SHARES,
    backfills=st.sampled_from([1, 2, 4, 16]),
    late_s=st.sampled_from([0.0, 0.003]),
    seed=st.integers(0, 1000),
)
def test_backfills_that_are_alone_have_the_whole(
    windows: tuple[RateWindow, ...], share: float, backfills: int, late_s: float, seed: int
) -> None:
    world = Shared(windows, share, backfills, late_s, seed)
    world.run(10 * world.longest_s)
    assert world.lent_whole(after=world.longest_s, windows=8)


@settings(max_examples=40 * THOROUGH)
@given(
    window=st.sampled_from(LONG),
    share=SHARES,
    backfills=st.sampled_from([1, 2, 4, 16]),
    late_s=st.sampled_from([0.0, 0.003]),
    comes=st.floats(0, 4),
    asks=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_a_run_that_comes_at_any_moment_has_its_part_at_once_and_evenly(
    window: RateWindow,
    share: float,
    backfills: int,
    late_s: float,
    comes: float,
    asks: int,
    seed: int,
) -> None:
    world = Shared((window,), share, backfills, late_s, seed)
    comes_at = comes * world.longest_s
    world.run(comes_at + (asks + 2) * world.each_s, comes_at, asks)
    assert len(world.full) == asks
    # a loan may catch up with 50 ms, and each time round the timers are late
    late_s = reservation.CATCH_UP_S + late_s * (2 + asks * world.each_s / world.longest_s)
    for k, at in enumerate(world.full, 1):
        assert at - comes_at <= k * world.each_s + late_s


@pytest.mark.slow
@settings(max_examples=30)
@given(
    window=st.sampled_from(LONG),
    share=SHARES,
    backfills=st.sampled_from([1, 4, 16]),
    comes=st.floats(1, 2),
    asks=st.integers(1, 20),
)
def test_a_run_that_is_done_gives_its_part_back(
    window: RateWindow, share: float, backfills: int, comes: float, asks: int
) -> None:
    world = Shared((window,), share, backfills)
    world.run((8 + asks) * world.longest_s, comes * world.longest_s, asks)
    done_at = world.full[-1]
    had = [at for at in world.low if done_at < at <= done_at + 1.01 * world.longest_s]
    kept = part_of(window.requests, share)
    assert len(had) > min(kept, window.requests - 2), "the next window has loans in it"
    assert world.lent_whole(after=done_at + world.longest_s, windows=5)


@pytest.mark.parametrize("windows", [(LONG[0],), SHORT_TOO[0], SHORT_TOO[1]])
def test_while_a_run_asks_nothing_is_lent(windows: tuple[RateWindow, ...]) -> None:
    world = Shared(windows, 0.5, 4)
    began = 2 * world.longest_s
    world.run(began + 6 * world.longest_s, began, 1_000_000)
    low = [at for at in world.low if at > began + world.longest_s]
    part = part_of(windows[-1].requests, 0.5)
    assert max(sum(a <= at < a + windows[-1].per_s for at in low) for a in low) <= part
    assert len(world.full) + len(low) >= 0.95 * 5 * windows[-1].requests


def test_an_hour_s_quota_is_lent_one_by_one_and_never_all_of_it_at_once() -> None:
    world = Shared((RateWindow(8, 3600.0),), 0.75, 3)
    world.run(3600.0)
    assert world.low[:7] == [0.0] * 7, "its part of six, and the first that is lent"
    assert world.low[7:] == [pytest.approx(1827, abs=reservation.CATCH_UP_S + 0.01)], (
        "half an hour later"
    )
