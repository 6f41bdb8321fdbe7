"""The budget's law: when a request may go out. Pure functions over the cells; no clock, no I/O.

A user asks with ``take``, which reserves the earliest send time (a *slot*) that keeps every window,
and returns the wait. When that time has come the user asks again with its ticket. Then the slot
is checked against what was really sent meanwhile, and moved to the present. A request that leaves
later than it may, since it had to connect first, is reported with ``departed``, and moved again. So
the ring holds true send times and not plans. The law:

    a grant at ``now`` needs the N-th last entry of the ring at or before ``now - W·(1 + margin)``

for each window of N requests in W seconds. Entries that are reserved and not yet used count as
sent, thus no order of late wake-ups, lost users and 429s can put more than N into a window; nor can
late departures, if none is later than the window is long, and each is known before the next grant.

Short windows are smoothed besides: slots keep ``SMOOTH·W/N`` apart, on a schedule that a late user
may catch up with by ``CATCH_UP_S``. Longer windows may be used up in a burst.

Users with a share under 1 have a ring of their own, held to that part of the windows. The rest is
lent to them while no user with the whole share is active, and comes back as a *rate*: a short
window is lent whole, since it comes round at once. Of a long one, whose spent quota can't be given
back, one request is lent each ``W / (N - part)`` seconds, beside the part and beyond their ring. So
the slots of the rest come free as evenly as they were lent: who comes with the whole share, at any
moment, gets its k-th of them within ``k·W / (N - part)``. A loan is
granted only for an immediate send and reserves nothing, so it delays no other user.

*The ring* has the last send times, in order; each step on it is O(users), not O(N).
Other users' reservations lie in the future, so an entry is put in its place from the newest end.
Where the ring has forgotten, its oldest entry stands in: the slot errs on the late side.

*The send margin* is how far the pace stays behind the limit, learned from the 429s by AIMD.
A server that counts a sliding window sees requests when they arrive, not when they are sent: it
takes a margin of (peak-to-peak jitter ÷ window) to be free of 429s. That jitter is not known
beforehand, so each 429 adds to the margin, once a burst: the 429s of one burst have one cause. A
burst goes on until more requests have succeeded than can have been in flight: an API that refuses
every request for a while teaches nothing of the pace. A single 429 may be a hiccup: its step is
small, and is forgotten within minutes. A 429 within ``AGAIN_S`` of the last cut is jitter: the step
is larger, and the margin halves only every quarter of an hour. Each such 429 pauses all processes,
so forgetting early is dear.

The margin is a fraction of the shortest window. Jitter is seconds, not a fraction, so a longer
window of the same budget is stretched by the same seconds, or by ``LONG_PAD`` of it if that is
more.

*The advertised limit* is the API's own: all users keep to it while it is the lower one.
An advertised limit never widens a configured one. It expires after ``ADVERTISED_TTL_S`` unless a
later response repeats it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from pipeline.ratelimit.limits import MAX_REQUESTS, MAX_WINDOWS, Limits, RateWindow, part_of
from pipeline.ratelimit.state_layout import (
    ADVERTISED_PER_S,
    ADVERTISED_REQUESTS,
    ADVERTISED_UNTIL,
    BLOCKED_UNTIL,
    CAP,
    COUNT,
    CUT_AT,
    DECAYED_AT,
    FULL_SEEN_AT,
    LONG_AGO,
    LOW_COUNT,
    MARGIN,
    MARGIN_MAX,
    MARGIN_MIN,
    NEXT_AT,
    NEXT_LENT_AT,
    OUTSTANDING,
    STEP,
    SUCCESSES,
    Cells,
    ring_starts,
)
from pipeline.ratelimit.usage_stats import minute_of


class Ring:
    """The sorted send times of one class of users, inside the cells."""

    __slots__ = ("cap", "cells", "count", "start")

    def __init__(self, cells: Cells, *, low: bool) -> None:
        self.cells = cells
        self.start = ring_starts(cells)[low]
        self.count = LOW_COUNT if low else COUNT
        self.cap = int(cells[CAP])

    def back(self, at: float, n: int, skip: float | None = None) -> float:
        """The n-th last entry at or before ``at``, not counting one entry ``skip``."""
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        oldest = max(0, count - cap)
        seq = count - 1
        while seq >= oldest and cells[start + seq % cap] > at:
            seq -= 1
        seq -= n - 1
        if skip is not None and seq >= 0 and at >= skip >= cells[start + max(seq, oldest) % cap]:
            seq -= 1
        if seq < 0:
            return LONG_AGO
        return cells[start + max(seq, oldest) % cap]

    def insert(self, at: float) -> None:
        """Add a time, in order. The count is raised last: a kill before that loses nothing."""
        cells, cap, start = self.cells, self.cap, self.start
        seq = count = int(cells[self.count])
        while seq > max(0, count - cap + 1) and cells[start + (seq - 1) % cap] > at:
            cells[start + seq % cap] = cells[start + (seq - 1) % cap]
            seq -= 1
        cells[start + seq % cap] = at
        cells[self.count] = count + 1

    def find(self, at: float) -> int | None:
        """The entry with exactly this time, if the ring still holds it."""
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        for seq in range(count - 1, max(-1, count - cap - 1), -1):
            if cells[start + seq % cap] <= at:
                return seq if cells[start + seq % cap] == at else None
        return None

    def move(self, old: float, new: float) -> None:
        """Move an entry to a later time, in order; without the old one, add it."""
        seq = self.find(old)
        if seq is None:
            self.insert(new)
            return
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        while seq + 1 < count and cells[start + (seq + 1) % cap] < new:
            cells[start + seq % cap] = cells[start + (seq + 1) % cap]
            seq += 1
        cells[start + seq % cap] = new

    def forget(self, at: float) -> bool:
        """Take an entry out, wherever it is; killed in between, a later one counts twice."""
        seq = self.find(at)
        if seq is None:
            return False
        cells, cap, start = self.cells, self.cap, self.start
        newest = int(cells[self.count]) - 1
        for later in range(seq, newest):
            cells[start + later % cap] = cells[start + (later + 1) % cap]
        return self.drop_newest(cells[start + newest % cap])

    def drop_newest(self, at: float) -> bool:
        """Forget the newest entry, if that is its time."""
        count = int(self.cells[self.count])
        if count == 0 or self.cells[self.start + (count - 1) % self.cap] != at:
            return False
        self.cells[self.count] = count - 1
        self.cells[self.start + (count - 1) % self.cap] = LONG_AGO
        return True


FIRST_STEP, STEP_AGAIN = 0.01, 0.02
AGAIN_S = 300.0
HICCUP_HALF_LIFE_S, HALF_LIFE_S = 120.0, 900.0
COOL_DOWN_MIN_S = 1.0
QUIET_S = 30.0
SURE_WAIT_S, FIRST_PART = 1.0, 0.25
LONG_PAD = 0.002


def cut(cells: Cells, limits: Limits, now: float, wait_s: float) -> bool:
    """Add to the margin after a 429, once a burst. Returns whether it grew."""
    cool_down_s = max(COOL_DOWN_MIN_S, limits.shortest.per_s, min(wait_s, 60.0))
    if now < cells[CUT_AT] + cool_down_s or _goes_on(cells, limits, now):
        return False
    again = now < cells[CUT_AT] + cool_down_s + AGAIN_S
    cells[STEP] = STEP_AGAIN if again else FIRST_STEP
    cells[MARGIN] = min(MARGIN_MAX, cells[MARGIN] + cells[STEP])
    cells[CUT_AT] = cells[DECAYED_AT] = now
    cells[SUCCESSES] = 0.0
    return True


def granted(cells: Cells) -> None:
    """Count a granted request as a success, until a 429 takes it back."""
    cells[SUCCESSES] += 1


def refused(cells: Cells) -> None:
    cells[SUCCESSES] = max(0.0, cells[SUCCESSES] - 1)


def _goes_on(cells: Cells, limits: Limits, now: float) -> bool:
    """True for a 429 of the same burst as the last: hardly any request has succeeded since."""
    under_way = min(limits.in_flight, limits.shortest.requests)
    quiet_at = max(cells[CUT_AT], cells[BLOCKED_UNTIL]) + QUIET_S
    return cells[SUCCESSES] <= under_way and now < quiet_at


def default_wait_s(cells: Cells, limits: Limits, now: float) -> float:
    """The pause of all processes, seconds, after a 429 where neither API nor YAML names one.

    The first 429 of a burst means that one request came a little early: a quarter of a short window
    makes up for it, and the margin grows. Others that follow at once mean more, and cost a second;
    those that come during a pause had left before it, and add nothing.
    """
    if now < cells[BLOCKED_UNTIL]:
        return 0.0
    soon = now < cells[CUT_AT] + max(COOL_DOWN_MIN_S, limits.shortest.per_s)
    first = not (soon or _goes_on(cells, limits, now))
    return min(SURE_WAIT_S, FIRST_PART * limits.shortest.per_s) if first else SURE_WAIT_S


def decay(cells: Cells, now: float) -> None:
    """Let the excess go with time. Once a second is enough."""
    passed_s = now - cells[DECAYED_AT]
    if passed_s < 1.0:
        return
    excess = cells[MARGIN] - MARGIN_MIN
    half_life_s = HICCUP_HALF_LIFE_S if cells[STEP] <= FIRST_STEP else HALF_LIFE_S
    cells[MARGIN] = MARGIN_MIN + max(0.0, excess) * 0.5 ** (passed_s / half_life_s)
    cells[DECAYED_AT] = now


def stretched(limits: Limits, margin: float) -> list[tuple[int, float]]:
    """(requests, seconds) of each window as it is kept, the margin included."""
    pad_s = margin * limits.shortest.per_s
    return [(w.requests, w.per_s + max(pad_s, LONG_PAD * w.per_s)) for w in limits.windows]


ADVERTISED_TTL_S = 600.0


def record(cells: Cells, now: float, requests: int, per_s: float) -> None:
    """Record that the API allows so many requests in any so many seconds."""
    cells[ADVERTISED_UNTIL] = LONG_AGO  # killed in between, half of it must not hold
    cells[ADVERTISED_REQUESTS] = min(max(1, requests), MAX_REQUESTS)
    cells[ADVERTISED_PER_S] = per_s
    cells[ADVERTISED_UNTIL] = now + ADVERTISED_TTL_S


def effective(cells: Cells, limits: Limits, now: float) -> Limits:
    """The limits that hold now: the configured ones, and the advertised one if it is lower.

    The rings remember as many sends as the configured windows need. An advertised limit of more
    requests is split into equal parts of its time.
    """
    requests, per_s = int(cells[ADVERTISED_REQUESTS]), cells[ADVERTISED_PER_S]
    if not now < cells[ADVERTISED_UNTIL] <= now + ADVERTISED_TTL_S or requests < 1 or per_s <= 0:
        return limits
    if any(math.ceil(per_s / w.per_s) * w.requests <= requests for w in limits.windows):
        return limits
    parts = -(-requests // max(w.requests for w in limits.windows))
    advertised = RateWindow(requests // parts, per_s / parts)
    return replace(limits, windows=(*limits.windows[: MAX_WINDOWS - 1], advertised))


SHORT_S = 2.0
SMOOTH = 0.98
CATCH_UP_S = 0.05
LENT_BACK_S = 2.0  # longer than most pages take: a user that sends page after page stays active
MAX_BLOCK_S = 86_400.0
EPSILON_S = 1e-7


class Reservation(NamedTuple):
    """``wait_s`` is 0 if the request may go now; else ask again with ``ticket`` after it.

    The ticket of a request that may go is its send time. ``blocked_s``: the part of the wait that
    the API asked for.
    """

    wait_s: float
    ticket: float
    blocked_s: float = 0.0


def take(
    cells: Cells,
    limits: Limits,
    now: float,
    ticket: float | None = None,
    share: float = 1.0,
) -> Reservation:
    """Ask for a slot, or, with the ticket of one, whether the request may go now."""
    if ticket is None:
        forget_other_clock(cells, limits, now)
        decay(cells, now)
    limits = effective(cells, limits, now)
    main, low = Ring(cells, low=False), Ring(cells, low=True) if share < 1 else None
    if share >= 1:
        cells[FULL_SEEN_AT] = max(cells[FULL_SEEN_AT], now)
    rules = _rules(cells, limits, now, main, low, share)
    due = ticket is None or now >= ticket
    turn_at = now
    if ticket is None or main.find(ticket) is None:
        turn_at, ticket = _reserve(cells, limits, now, rules)
        main.insert(ticket)
        if low:
            low.insert(ticket)
    elif now < cells[BLOCKED_UNTIL]:
        old = ticket
        turn_at, ticket = _reserve(cells, limits, now, rules)
        _move(main, low, old, ticket)
    if share >= 1:
        cells[FULL_SEEN_AT] = max(cells[FULL_SEEN_AT], ticket)
    own_at = max(ticket, _allowed_at(rules, now, ticket))
    each_s = _lent_each_s(cells, limits, share) if low else math.inf
    lent_at = _lent_at(cells, rules, turn_at, ticket, each_s)
    wait_s = min(own_at, lent_at) - now
    if wait_s > EPSILON_S:
        if due or lent_at < own_at:
            cells[minute_of(cells, now).waited_s] += wait_s
        return Reservation(wait_s, ticket, max(0.0, cells[BLOCKED_UNTIL] - now))
    if low and lent_at <= now + EPSILON_S:
        sent_at = max(now, lent_at)
        main.forget(ticket)
        low.forget(ticket)
        main.insert(sent_at)
        cells[NEXT_LENT_AT] = max(cells[NEXT_LENT_AT], sent_at - CATCH_UP_S) + each_s
    else:
        sent_at = max(now, ticket)
        _move(main, low, ticket, sent_at)
    cells[minute_of(cells, now).requests] += 1
    granted(cells)
    return Reservation(0.0, sent_at)


def give_back(cells: Cells, ticket: float, share: float = 1.0) -> bool:
    """Free the slot of a user that gave up waiting, if no other has queued behind it."""
    if not Ring(cells, low=False).drop_newest(ticket):
        return False
    if share < 1:
        Ring(cells, low=True).drop_newest(ticket)
    cells[NEXT_AT] = min(cells[NEXT_AT], ticket)
    return True


def forget(cells: Cells, limits: Limits, sent_at: float, share: float = 1.0) -> None:
    """Free the slot of a request that the API did not count, also with later sends behind it."""
    main = Ring(cells, low=False)
    main.forget(sent_at)
    if share < 1:
        Ring(cells, low=True).forget(sent_at)
    newest = main.back(math.inf, 1)
    cells[NEXT_AT] = min(cells[NEXT_AT], newest + _spacing_s(limits.shortest))


def departed(cells: Cells, sent_at: float, late_s: float, share: float = 1.0) -> float:
    """Record that a request left later than the ring says: it counts from then on.

    Returns its send time. One that the rings don't hold any more stays forgotten.
    """
    departed_at = sent_at + max(0.0, late_s)
    for ring in (Ring(cells, low=low) for low in ((False, True) if share < 1 else (False,))):
        if ring.find(sent_at) is not None:
            ring.move(sent_at, departed_at)
    return departed_at


def block(cells: Cells, now: float, wait_s: float) -> None:
    """Pause all users for ``wait_s`` seconds. A longer pause that holds already stays."""
    until = now + min(max(wait_s, 0.0), MAX_BLOCK_S)
    cells[BLOCKED_UNTIL] = max(cells[BLOCKED_UNTIL], until)


def throttled(cells: Cells, limits: Limits, now: float, wait_s: float | None) -> None:
    """Record a 429: all users pause, and the margin grows."""
    limits = effective(cells, limits, now)
    cells[minute_of(cells, now).throttled] += 1
    refused(cells)
    wait_s = limits.throttle_wait_s if wait_s is None else wait_s
    wait_s = default_wait_s(cells, limits, now) if wait_s is None else wait_s
    cut(cells, limits, now, wait_s)
    block(cells, now, wait_s)


def forget_other_clock(cells: Cells, limits: Limits, now: float) -> None:
    """Drop the times that a clock left in the future when it was set back."""
    if cells[BLOCKED_UNTIL] > now + MAX_BLOCK_S + 1.0:
        cells[BLOCKED_UNTIL] = now
    horizon = max(now, cells[BLOCKED_UNTIL]) + 60.0 + OUTSTANDING * 2 * limits.longest_s
    if cells[NEXT_AT] > horizon or Ring(cells, low=False).back(math.inf, 1) > horizon:
        cells[COUNT] = cells[LOW_COUNT] = 0
        cells[NEXT_AT] = cells[FULL_SEEN_AT] = cells[NEXT_LENT_AT] = LONG_AGO


class _Rule(NamedTuple):
    """A rule of a ring: at most ``requests`` in any ``per_s``."""

    ring: Ring
    requests: int
    per_s: float
    for_all: bool


def _rules(
    cells: Cells, limits: Limits, now: float, main: Ring, low: Ring | None, share: float
) -> list[_Rule]:
    windows = stretched(limits, cells[MARGIN])
    rules = [_Rule(main, requests, per_s, True) for requests, per_s in windows]
    if low is not None:
        wanted_back = now - cells[FULL_SEEN_AT] < LENT_BACK_S
        rules += [
            _Rule(low, part_of(requests, share), per_s, False)
            for requests, per_s in windows
            if _is_long(per_s) or wanted_back
        ]
    return rules


def _is_long(per_s: float) -> bool:
    return per_s > SHORT_S * 1.5


def _lent_each_s(cells: Cells, limits: Limits, share: float) -> float:
    """How far apart requests are lent to a small share, of the part that is kept for others."""
    rests = [
        per_s / (requests - part_of(requests, share))
        for requests, per_s in stretched(limits, cells[MARGIN])
        if _is_long(per_s) and requests > part_of(requests, share)
    ]
    return max(rests, default=math.inf)


def _lent_at(cells: Cells, rules: list[_Rule], at: float, ticket: float, each_s: float) -> float:
    """When a request may be lent: not while one of the whole share waits, or has just gone."""
    at = max(at, cells[NEXT_LENT_AT], cells[FULL_SEEN_AT] + each_s, cells[BLOCKED_UNTIL])
    return _allowed_at([rule for rule in rules if rule.for_all], at, ticket)


def _allowed_at(rules: list[_Rule], at: float, ticket: float | None) -> float:
    """The earliest time, from ``at`` on, that keeps each rule as the rings are now."""
    return max(at, *(rule.ring.back(at, rule.requests, ticket) + rule.per_s for rule in rules))


def _reserve(cells: Cells, limits: Limits, now: float, rules: list[_Rule]) -> tuple[float, float]:
    """Find the slot, and move the schedule on. Returns the turn in the schedule, and the slot.

    What holds back a user with a small share alone does not hold back the schedule of all: it has
    no turn in it then, and is lent what comes free between.
    """
    at = max(now, cells[BLOCKED_UNTIL], cells[NEXT_AT] - CATCH_UP_S)
    at = _settle([rule for rule in rules if rule.for_all], at)
    slot = _settle(rules, at)
    if slot <= at:
        cells[NEXT_AT] = max(cells[NEXT_AT], at) + _spacing_s(limits.shortest)
    return at, slot


def _settle(rules: list[_Rule], at: float) -> float:
    """The earliest time that keeps the rules."""
    for _ in range(OUTSTANDING):  # a later time has more before it, so look again from there
        allowed = _allowed_at(rules, at, None)
        if allowed <= at:
            break
        at = allowed
    return at


def _spacing_s(shortest: RateWindow) -> float:
    return SMOOTH * shortest.per_s / shortest.requests if shortest.per_s <= SHORT_S else 0.0


def _move(main: Ring, low: Ring | None, old: float, new: float) -> None:
    main.move(old, new)
    if low is not None:
        low.move(old, new)
