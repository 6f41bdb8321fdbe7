"""When a request may go out: the reservation core. Pure functions over the cells; no clock, no I/O.

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
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pipeline.ratelimit import advertised_limit, send_margin
from pipeline.ratelimit.limits import Limits, RateWindow, part_of
from pipeline.ratelimit.ring import Ring
from pipeline.ratelimit.state_layout import (
    BLOCKED_UNTIL,
    COUNT,
    FULL_SEEN_AT,
    LONG_AGO,
    LOW_COUNT,
    MARGIN,
    NEXT_AT,
    NEXT_LENT_AT,
    OUTSTANDING,
)
from pipeline.ratelimit.usage_stats import minute_of

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
    cells: memoryview[float],
    limits: Limits,
    now: float,
    ticket: float | None = None,
    share: float = 1.0,
) -> Reservation:
    """Ask for a slot, or, with the ticket of one, whether the request may go now."""
    if ticket is None:
        forget_other_clock(cells, limits, now)
        send_margin.decay(cells, now)
    limits = advertised_limit.effective(cells, limits, now)
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
    send_margin.granted(cells)
    return Reservation(0.0, sent_at)


def give_back(cells: memoryview[float], ticket: float, share: float = 1.0) -> bool:
    """Free the slot of a user that gave up waiting, if no other has queued behind it."""
    if not Ring(cells, low=False).drop_newest(ticket):
        return False
    if share < 1:
        Ring(cells, low=True).drop_newest(ticket)
    cells[NEXT_AT] = min(cells[NEXT_AT], ticket)
    return True


def forget(cells: memoryview[float], limits: Limits, sent_at: float, share: float = 1.0) -> None:
    """Free the slot of a request that the API did not count, also with later sends behind it."""
    main = Ring(cells, low=False)
    main.forget(sent_at)
    if share < 1:
        Ring(cells, low=True).forget(sent_at)
    newest = main.back(math.inf, 1)
    cells[NEXT_AT] = min(cells[NEXT_AT], newest + _spacing_s(limits.shortest))


def departed(cells: memoryview[float], sent_at: float, late_s: float, share: float = 1.0) -> float:
    """Record that a request left later than the ring says: it counts from then on.

    Returns its send time. One that the rings don't hold any more stays forgotten.
    """
    departed_at = sent_at + max(0.0, late_s)
    for ring in (Ring(cells, low=low) for low in ((False, True) if share < 1 else (False,))):
        if ring.find(sent_at) is not None:
            ring.move(sent_at, departed_at)
    return departed_at


def block(cells: memoryview[float], now: float, wait_s: float) -> None:
    """Pause all users for ``wait_s`` seconds. A longer pause that holds already stays."""
    until = now + min(max(wait_s, 0.0), MAX_BLOCK_S)
    cells[BLOCKED_UNTIL] = max(cells[BLOCKED_UNTIL], until)


def throttled(cells: memoryview[float], limits: Limits, now: float, wait_s: float | None) -> None:
    """Record a 429: all users pause, and the margin grows."""
    limits = advertised_limit.effective(cells, limits, now)
    cells[minute_of(cells, now).throttled] += 1
    send_margin.refused(cells)
    wait_s = limits.throttle_wait_s if wait_s is None else wait_s
    wait_s = send_margin.default_wait_s(cells, limits, now) if wait_s is None else wait_s
    send_margin.cut(cells, limits, now, wait_s)
    block(cells, now, wait_s)


def forget_other_clock(cells: memoryview[float], limits: Limits, now: float) -> None:
    """Drop the times that a clock left in the future when it was set back."""
    if cells[BLOCKED_UNTIL] > now + MAX_BLOCK_S + 1.0:
        cells[BLOCKED_UNTIL] = now
    horizon = max(now, cells[BLOCKED_UNTIL]) + 60.0 + OUTSTANDING * 2 * limits.longest_s
    if cells[NEXT_AT] > horizon or Ring(cells, low=False).back(math.inf, 1) > horizon:
        cells[COUNT] = cells[LOW_COUNT] = 0
        cells[NEXT_AT] = cells[FULL_SEEN_AT] = cells[NEXT_LENT_AT] = LONG_AGO


class _Rule(NamedTuple):
    """In ``ring``, at most ``requests`` in any ``per_s``."""

    ring: Ring
    requests: int
    per_s: float
    for_all: bool


def _rules(
    cells: memoryview[float], limits: Limits, now: float, main: Ring, low: Ring | None, share: float
) -> list[_Rule]:
    windows = send_margin.stretched(limits, cells[MARGIN])
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


def _lent_each_s(cells: memoryview[float], limits: Limits, share: float) -> float:
    """How far apart requests are lent to a small share, of the part that is kept for others."""
    rests = [
        per_s / (requests - part_of(requests, share))
        for requests, per_s in send_margin.stretched(limits, cells[MARGIN])
        if _is_long(per_s) and requests > part_of(requests, share)
    ]
    return max(rests, default=math.inf)


def _lent_at(
    cells: memoryview[float], rules: list[_Rule], at: float, ticket: float, each_s: float
) -> float:
    """When a request may be lent: not while one of the whole share waits, or has just gone."""
    at = max(at, cells[NEXT_LENT_AT], cells[FULL_SEEN_AT] + each_s, cells[BLOCKED_UNTIL])
    return _allowed_at([rule for rule in rules if rule.for_all], at, ticket)


def _allowed_at(rules: list[_Rule], at: float, ticket: float | None) -> float:
    """The earliest time, from ``at`` on, that keeps each rule as the rings are now."""
    return max(at, *(rule.ring.back(at, rule.requests, ticket) + rule.per_s for rule in rules))


def _reserve(
    cells: memoryview[float], limits: Limits, now: float, rules: list[_Rule]
) -> tuple[float, float]:
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
