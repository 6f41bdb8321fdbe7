"""The law of the slots, on a clock of the test's own: nothing here sleeps."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ratelimit import Limits, RateWindow, reservation, state_layout
from pipeline.ratelimit.usage_stats import last_hour

FOUR = Limits((RateWindow(4, 1.0),), 8)
RATES = st.sampled_from(
    [
        (RateWindow(4, 1.0),),
        (RateWindow(1, 0.5),),
        (RateWindow(50, 1.0),),
        (RateWindow(5, 30.0),),
        (RateWindow(4, 1.0), RateWindow(30, 20.0)),
        (RateWindow(10, 1.0), RateWindow(40, 10.0), RateWindow(100, 60.0)),
    ]
)


def new(limits: Limits) -> memoryview[float]:
    row = memoryview(bytearray(8 * state_layout.size(limits))).cast("d")
    state_layout.fresh(row, limits, 0.0)
    return row


@dataclass
class World:
    """Users that take turns on one state; each wakes up late by what ``late_s`` draws.

    What they are granted leaves late by what ``leaves_late_s`` draws, and is reported then.
    """

    limits: Limits
    late_s: list[float]
    leaves_late_s: list[float] = field(default_factory=lambda: [0.0])
    now: float = 1000.0
    shares: list[float] = field(default_factory=lambda: [1.0])
    killed: set[int] = field(default_factory=set)
    sent: list[tuple[float, int]] = field(default_factory=list)
    tell: tuple[int, float] | None = None

    def run(self, users: int, until: float, seed: int = 0) -> None:
        self.row, order = new(self.limits), random.Random(seed)
        if self.tell:
            reservation.record(self.row, self.now, *self.tell)
        queue: list[tuple[float, int, float | None]] = [(self.now, i, None) for i in range(users)]
        leaving: list[tuple[float, int, float, float]] = []
        turn = 0
        while queue:
            self.now, user, ticket = heapq.heappop(queue)
            if self.now > until:
                break
            while leaving and leaving[0][0] <= self.now:
                self.leave(*heapq.heappop(leaving))
            share = self.shares[user % len(self.shares)]
            answer = reservation.take(self.row, self.limits, self.now, ticket, share)
            turn += 1
            if answer.wait_s == 0:
                late_s = order.choice(self.leaves_late_s) * order.random()
                heapq.heappush(leaving, (self.now + late_s, user, answer.ticket, share))
                heapq.heappush(queue, (self.now, user, None))
                continue
            if turn in self.killed:  # it dies with a reservation; another takes its place
                heapq.heappush(queue, (self.now + 0.001, user, None))
                continue
            late_s = order.choice(self.late_s) * order.random()
            heapq.heappush(queue, (self.now + answer.wait_s + late_s, user, answer.ticket))
        while leaving:
            self.leave(*heapq.heappop(leaving))

    def leave(self, at: float, user: int, mark: float, share: float) -> None:
        self.sent.append((at, user))
        reservation.departed(self.row, mark, at - mark, share)
        assert state_layout.flaw(self.row, at) is None

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.sent]


def assert_kept(times: list[float], limits: Limits) -> None:
    for window in limits.windows:
        n = window.requests
        for first, after in zip(times, times[n:], strict=False):
            assert after - first >= window.per_s, f"{n + 1} in {after - first} s"


@settings(max_examples=30)
@given(
    windows=RATES,
    users=st.integers(1, 16),
    late_s=st.lists(st.floats(0, 3.0), min_size=1, max_size=4),
    leaves_late=st.lists(st.floats(0, 1.0), min_size=1, max_size=4),
    killed=st.sets(st.integers(0, 200), max_size=10),
    shares=st.lists(st.sampled_from([1.0, 0.75, 0.3]), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_no_window_ever_holds_more_than_its_limit(
    windows: tuple[RateWindow, ...],
    users: int,
    late_s: list[float],
    leaves_late: list[float],
    killed: set[int],
    shares: list[float],
    seed: int,
) -> None:
    limits = Limits(windows, 8)
    leaves_late_s = [part * limits.shortest.per_s for part in leaves_late]
    world = World(limits, late_s, leaves_late_s, killed=killed, shares=shares)
    world.run(users, 1000.0 + 8 * windows[-1].per_s / windows[-1].requests ** 0.3, seed)
    assert world.sent
    assert_kept(world.times, limits)


@settings(max_examples=30)
@given(windows=RATES, users=st.integers(1, 16), seed=st.integers(0, 1000))
def test_the_whole_quota_but_the_margin_is_used_while_there_is_work(
    windows: tuple[RateWindow, ...], users: int, seed: int
) -> None:
    limits = Limits(windows, 8)
    rounds = 6
    world = World(limits, [0.0])
    world.run(users, 1000.0 + rounds * windows[-1].per_s * 1.01 + 0.001, seed)
    assert len(world.sent) >= rounds * windows[-1].requests


@pytest.mark.slow
@settings(max_examples=30)
@given(
    users=st.integers(1, 16),
    late_ms=st.floats(0, 5),
    seed=st.integers(0, 1000),
    rate=st.sampled_from([4, 50]),
)
def test_late_wake_ups_cost_no_more_than_themselves(
    users: int, late_ms: float, seed: int, rate: int
) -> None:
    limits = Limits((RateWindow(rate, 1.0),), 8)
    world = World(limits, [late_ms / 1000])
    world.run(users, 1020.0, seed)
    times = world.times
    lost = 0.01 + late_ms / 1000 + 0.002
    assert (len(times) - 1) / (rate * (times[-1] - times[0])) >= 1 / (1 + lost) - 1 / (20 * rate)


def test_users_take_turns() -> None:
    world = World(FOUR, [0.004])
    world.run(5, 1050.0)
    had = [sum(1 for _, user in world.sent if user == i) for i in range(5)]
    assert max(had) - min(had) <= 2


def test_sends_are_spread_over_a_short_window_and_a_long_one_may_be_used_up_at_once() -> None:
    short, long = World(FOUR, [0.0]), World(Limits((RateWindow(5, 30.0),), 8), [0.0])
    short.run(1, 1003.0)
    long.run(1, 1029.0)
    assert min(b - a for a, b in zip(short.times, short.times[1:], strict=False)) > 0.19
    assert long.times == [1000.0] * 5


def test_a_429_holds_everybody_even_those_who_have_reserved() -> None:
    row = new(FOUR)
    assert reservation.take(row, FOUR, 100.0).wait_s == 0
    waiting = [reservation.take(row, FOUR, 100.0) for _ in range(3)]
    reservation.throttled(row, FOUR, 100.05, wait_s=7.0)
    again = [reservation.take(row, FOUR, 100.0 + a.wait_s, a.ticket) for a in waiting]
    sends = [100.0 + w.wait_s + a.wait_s for w, a in zip(waiting, again, strict=True)]
    assert min(sends) >= 107.05
    assert len(set(sends)) == 3, "they go on spread out, not all at once"


@pytest.mark.parametrize(
    ("per_s", "said_s", "first_s", "again_s"),
    [(1.0, None, 0.25, 1.0), (30.0, None, 1.0, 1.0), (1.0, 3.0, 3.0, 3.0)],
)
def test_the_first_429_of_a_burst_that_names_no_wait_costs_a_part_of_a_short_window(
    per_s: float, said_s: float | None, first_s: float, again_s: float
) -> None:
    limits = Limits((RateWindow(40, per_s),), 8, said_s)
    row = new(limits)
    for at, wait_s in (
        (100.0, first_s),
        (100.01, first_s),  # it had left before the first came
        (100.01 + first_s, again_s),
        (200.0, first_s),
        (200.0 + first_s, again_s),
    ):
        reservation.throttled(row, limits, at, wait_s=None)
        assert reservation.take(row, limits, at).wait_s == pytest.approx(wait_s, abs=0.02)


def test_the_longest_block_holds() -> None:
    row = new(FOUR)
    reservation.block(row, 100.0, 9.0)
    reservation.throttled(row, FOUR, 101.0, wait_s=None)
    assert reservation.take(row, FOUR, 102.0).wait_s == pytest.approx(7.0)
    reservation.block(row, 102.0, float("1e12"))
    assert reservation.take(row, FOUR, 102.0).wait_s <= reservation.MAX_BLOCK_S + 1


def test_a_burst_of_429s_cuts_once_and_going_on_cuts_deeper() -> None:
    row = new(FOUR)
    for i in range(20):
        reservation.cut(row, FOUR, 100.0 + i / 100, wait_s=1.0)
    assert row[state_layout.MARGIN] == pytest.approx(state_layout.MARGIN_MIN + 0.01)
    for at in (102.0, 104.0, 106.0):
        answered_well(row, 5)
        reservation.cut(row, FOUR, at, wait_s=1.0)
    assert row[state_layout.MARGIN] == pytest.approx(state_layout.MARGIN_MIN + 0.01 + 3 * 0.02)
    for at in range(200, 400, 2):
        answered_well(row, 5)
        reservation.cut(row, FOUR, at, wait_s=1.0)
    assert row[state_layout.MARGIN] == state_layout.MARGIN_MAX


def answered_well(row: memoryview[float], requests: int) -> None:
    for _ in range(requests):
        reservation.granted(row)


@pytest.mark.parametrize(("rate", "users"), [(4, 1), (4, 16), (50, 16)])
@pytest.mark.parametrize("says_s", [None, 3.0])
def test_a_storm_that_refuses_everything_for_a_while_is_one_burst(
    rate: int, users: int, says_s: float | None
) -> None:
    """Half a minute of nothing but 429s: it says nothing of the pace, and costs none of it."""
    limits = Limits((RateWindow(rate, 1.0),), 16)
    row, began, ends = new(limits), 1010.0, 1040.0
    queue: list[tuple[float, int, float | None]] = [(1000.0, i, None) for i in range(users)]
    answers: list[float] = []
    used = 0
    while (event := heapq.heappop(queue))[0] < 1100.0:
        now, user, ticket = event
        while answers and answers[0] <= now:
            reservation.throttled(row, limits, heapq.heappop(answers), says_s)
        answer = reservation.take(row, limits, now, ticket)
        if answer.wait_s > 0:
            heapq.heappush(queue, (now + answer.wait_s, user, answer.ticket))
            continue
        if began <= now < ends:
            heapq.heappush(answers, now + 0.02)
        used += now >= 1060.0
        heapq.heappush(queue, (now + 0.02, user, None))
    assert row[state_layout.MARGIN] <= state_layout.MARGIN_MIN + 0.01
    assert used >= 0.95 * 40 * min(rate, users / 0.0201)


def test_the_margin_goes_back_slowly() -> None:
    row = new(FOUR)
    reservation.cut(row, FOUR, 90.0, wait_s=1.0)
    answered_well(row, 5)
    reservation.cut(row, FOUR, 100.0, wait_s=1.0)
    before = row[state_layout.MARGIN]
    reservation.decay(row, 130.0)
    assert before * 0.97 < row[state_layout.MARGIN] < before
    for at in range(200, 20_000, 7):
        reservation.decay(row, at)
    assert row[state_layout.MARGIN] == pytest.approx(state_layout.MARGIN_MIN, rel=1e-3)


def test_a_learned_margin_stretches_a_long_window_by_seconds_not_by_its_fraction() -> None:
    limits = Limits((RateWindow(4, 1.0), RateWindow(5000, 3600.0)), 8)
    assert reservation.stretched(limits, 0.05) == [(4, 1.05), (5000, 3600.0 * 1.002)]


def test_a_small_share_leaves_the_rest_to_others_and_has_all_when_they_are_gone() -> None:
    both = World(FOUR, [0.0], shares=[0.75, 1.0])
    both.run(8, 1030.0)
    alone = World(FOUR, [0.0], shares=[0.75])
    alone.run(8, 1030.0)
    low = [at for at, user in both.sent if user % 2 == 0]
    assert_kept(low, Limits((RateWindow(3, 1.0),), 8))
    assert len(both.sent) >= 0.97 * 4 * 30
    assert len(alone.sent) >= 0.97 * 4 * 30


def test_a_slot_that_is_given_up_is_free_again_unless_somebody_queues_behind() -> None:
    row = new(FOUR)
    for _ in range(4):
        last = reservation.take(row, FOUR, 100.0)
    assert reservation.give_back(row, last.ticket)
    assert reservation.take(row, FOUR, 100.0).ticket == pytest.approx(last.ticket, abs=0.051)
    assert not reservation.give_back(row, last.ticket - 0.2)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_the_old_times() -> None:
    row = new(FOUR)
    for _ in range(4):
        reservation.take(row, FOUR, 1e9)
    reservation.block(row, 1e9, 60.0)
    assert reservation.take(row, FOUR, 5e8).wait_s <= 1.0


@pytest.mark.slow
def test_the_last_hour_is_counted_by_the_minute() -> None:
    limits = Limits((RateWindow(50, 1.0),), 8)
    world = World(limits, [0.0], now=60_000.0)
    world.run(2, 60_000.0 + 150)
    counted = last_hour(world.row, world.now)
    assert [minute.at for minute in counted[-3:]] == [60_000.0, 60_060.0, 60_120.0]
    assert sum(minute.requests for minute in counted) == len(world.sent)
    waited_s = sum(minute.waited_s for minute in counted)
    assert 140 <= waited_s <= 2 * 151, "two users, of whom one has reserved at least"
    assert len(counted) == 60
    reservation.throttled(world.row, limits, world.now, wait_s=1.0)
    reservation.throttled(world.row, limits, world.now, wait_s=1.0)
    assert [minute.throttled for minute in last_hour(world.row, world.now)[-2:]] == [0, 2]
    later = last_hour(world.row, world.now + 3700)
    assert {minute[1:] for minute in later} == {(0, 0, 0.0)}


def test_a_request_that_the_api_does_not_count_leaves_its_slot_to_others() -> None:
    hourly = Limits((RateWindow(3, 3600.0),), 8)
    row = new(hourly)
    granted = [reservation.take(row, hourly, 100.0 + i).ticket for i in range(3)]
    assert reservation.take(row, hourly, 200.0).wait_s > 3000
    reserved = state_layout.send_times(row)[0][-1]
    reservation.forget(row, hourly, granted[1])
    reservation.forget(row, hourly, reserved)
    reservation.forget(row, hourly, 150.0)  # nobody's
    assert state_layout.send_times(row)[0] == [granted[0], granted[2]]
    assert reservation.take(row, hourly, 200.0).wait_s == 0
    assert reservation.take(row, hourly, 201.0).wait_s > 3000


def test_a_request_that_leaves_late_counts_from_then_on() -> None:
    row = new(FOUR)
    first, second, _, low = (
        reservation.take(row, FOUR, 100.0 + i, None, 0.5).ticket for i in range(4)
    )
    assert reservation.departed(row, first, 1.5, 0.5) == first + 1.5
    assert reservation.departed(row, low, -1.0, 0.5) == low, "nothing moves backwards"
    reservation.departed(row, 50.0, 1.0, 0.5)  # nobody's
    for times in state_layout.send_times(row):
        assert times == [second, first + 1.5, second + 1.0, low]
    reservation.departed(row, low, 7.0)
    assert [times[-1] for times in state_layout.send_times(row)] == [low + 7.0, low], (
        "of the whole share"
    )


@pytest.mark.slow
@settings(max_examples=50)
@given(seed=st.integers(0, 1000), number=st.integers(1, 700))
def test_a_ring_stays_in_order_whatever_is_taken_out(seed: int, number: int) -> None:
    order = random.Random(seed)
    limits, now = Limits((RateWindow(40, 1.0),), 8), 1000.0
    row, held = new(limits), [0.0] * 0
    for _ in range(number):  # the ring goes round: it holds 296
        now += 0.03
        if held and order.random() < 0.4:
            gone = held.pop(order.randrange(len(held)))
            reservation.forget(row, limits, gone, 0.5)
        else:
            held.append(reservation.take(row, limits, now, None, 0.5).ticket)
        assert state_layout.flaw(row, now + 1e6) is None
        main, low = (set(times) - {state_layout.LONG_AGO} for times in state_layout.send_times(row))
        assert main == low <= set(held)
        assert set(held[-200:]) <= main


def test_what_the_api_says_of_its_limit_holds_if_it_is_lower() -> None:
    row = new(FOUR)
    assert reservation.effective(row, FOUR, 100.0) is FOUR
    reservation.record(row, 100.0, 50, 1.0)
    assert reservation.effective(row, FOUR, 100.0) is FOUR
    reservation.record(row, 100.0, 4, 1.0)
    assert reservation.effective(row, FOUR, 100.0) is FOUR
    reservation.record(row, 100.0, 20, 60.0)  # a ring of four can't remember twenty: part by part
    assert reservation.effective(row, FOUR, 100.0).windows == (
        *FOUR.windows,
        RateWindow(4, 12.0),
    )
    assert reservation.effective(row, FOUR, 100.0 + reservation.ADVERTISED_TTL_S) is FOUR
    assert reservation.effective(row, FOUR, 99.0) is FOUR  # of a clock that was set back


@settings(max_examples=30)
@given(
    users=st.integers(1, 16),
    requests=st.integers(1, 60),
    per_s=st.sampled_from([0.5, 1.0, 10.0]),
    late_s=st.lists(st.floats(0, 0.5), min_size=1, max_size=4),
)
def test_a_told_limit_is_kept_as_one_that_is_configured_and_used(
    users: int, requests: int, per_s: float, late_s: list[float]
) -> None:
    limits = Limits((RateWindow(40, 1.0),), 16)
    world = World(limits, late_s, tell=(requests, per_s))
    world.run(users, 1000.0 + 3 + 3 * per_s)
    assert_kept(world.times, limits)
    assert_kept(world.times, Limits((RateWindow(requests, per_s),), 8))
    pace = min(requests / per_s, 40.0)
    if max(late_s) == 0:
        assert len(world.times) >= 0.9 * pace * (3 + 3 * per_s) - 1
