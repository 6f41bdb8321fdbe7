"""The state of a budget: one flat row of doubles, the same in memory, in a file and in a database.

Layout only: where each value lives, how a fresh state is made, and how one goes on under other
limits.
Times are seconds on the store's own clock. A ring holds the last ``CAP`` reserved send times in
order; entry ``seq`` is in cell ``start + seq % CAP``, and ``seq`` runs from 0 to the ring's count.

Every single write leaves a state that is safe to go on from, so a process that is killed half way
through an update costs at most one slot.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from pipeline.errors import ConfigError
from pipeline.ratelimit.limits import MAX_WINDOWS, Limits, RateWindow

VERSION = 4811005.0  # another one is not read: raise it with every change of the layout
UNUSED = 4811000.0  # the only cell of a state that was never opened
OUTSTANDING = 256  # reservations that may lie in the future: one a process
MINUTES = 61  # a minute's bin is reused after an hour

_VERSION, BOOT, CAP, COUNT, LOW_COUNT, NEXT_AT, BLOCKED_UNTIL = range(7)
MARGIN, CUT_AT, DECAYED_AT, FULL_SEEN_AT, STEP, SHAPE, _N_WINDOWS = range(7, 14)
ADVERTISED_REQUESTS, ADVERTISED_PER_S, ADVERTISED_UNTIL = range(14, 17)
_WINDOWS = 17
BINS = _WINDOWS + 2 * MAX_WINDOWS
_MORE = BINS + 2 * MINUTES
SUCCESSES, WALL = range(_MORE, _MORE + 2)
MORE_BINS = _MORE + 2
NEXT_LENT_AT = MORE_BINS + 2 * MINUTES
RINGS = NEXT_LENT_AT + 1
_TIMES = (NEXT_AT, CUT_AT, DECAYED_AT, FULL_SEEN_AT, NEXT_LENT_AT)
NEVER_EARLIER = (NEXT_AT, BLOCKED_UNTIL, MARGIN, FULL_SEEN_AT, NEXT_LENT_AT)  # of two states

Sends = tuple[list[float], list[float]]


class Cells(Protocol):
    """The row as the law uses it, wherever it lies: one cell at a time, by its index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> float: ...
    def __setitem__(self, index: int, value: float, /) -> None: ...


EMPTY: memoryview[float] = memoryview(bytes(8 * RINGS)).cast("d")
"""A row without any minutes: for a look at a budget that is not there."""

LONG_AGO = -1e15
MARGIN_MIN, MARGIN_MAX = 0.015, 0.5


def capacity(limits: Limits) -> int:
    """How many send times a ring must remember to judge the largest window."""
    return max(window.requests for window in limits.windows) + OUTSTANDING


def size(limits: Limits) -> int:
    """Cells that a budget with these limits needs."""
    return RINGS + 2 * capacity(limits)


def fresh(cells: Cells, limits: Limits, boot: float) -> None:
    """Write a state in which nothing has been sent yet."""
    for index in range(RINGS):
        cells[index] = 0.0
    cells[BOOT] = boot
    cells[CAP] = capacity(limits)
    for index in (*_TIMES, BLOCKED_UNTIL, ADVERTISED_UNTIL):
        cells[index] = LONG_AGO
    cells[MARGIN] = MARGIN_MIN
    write_windows(cells, limits)
    new_shape(cells)
    cells[_VERSION] = VERSION


def new_shape(cells: Cells) -> None:
    """Say that the row was laid out anew: users that know another shape look at all of it again."""
    cells[SHAPE] = float(secrets.randbits(50))


def used_up(cells: Cells, limits: Limits, boot: float, now: float) -> None:
    """Write a state for when past sends are not known: each window was just used up."""
    fresh(cells, limits, boot)
    cells[_VERSION] = 0.0  # not a state until all of it is there
    most = max(window.requests for window in limits.windows)
    for count, start in zip((COUNT, LOW_COUNT), ring_starts(cells), strict=True):
        cells[count] = refill(cells, start, [now] * most)
    cells[_VERSION] = VERSION


def on_new_clock(
    cells: memoryview[float], by_s: float, now: float, boot: float
) -> memoryview[float]:
    """A copy of a state from before a reboot, its times on the clock that counts from then.

    What would lie in the future counts as sent now.
    """
    new = memoryview(bytearray(cells)).cast("d")
    new[BOOT] = boot
    for index in (*_TIMES, BLOCKED_UNTIL, ADVERTISED_UNTIL):
        new[index] += by_s
    for index in _TIMES:
        new[index] = min(new[index], now)
    for count, start, times in zip(
        (COUNT, LOW_COUNT), ring_starts(new), send_times(cells), strict=True
    ):
        new[count] = refill(new, start, [min(at + by_s, now) for at in times])
    for index in (*range(BINS, _MORE), *range(MORE_BINS, NEXT_LENT_AT)):
        new[index] = 0.0  # minutes of the other clock
    return new


def merged(first: Sends, two: Sends) -> Sends:
    """The sends of both states, each once, however often they are merged."""
    main, low = (
        sorted((Counter(a) | Counter(b)).elements()) for a, b in zip(first, two, strict=True)
    )
    return main, low


def write_windows(cells: Cells, limits: Limits) -> None:
    for i, window in enumerate(limits.windows):
        cells[_WINDOWS + 2 * i] = window.requests
        cells[_WINDOWS + 2 * i + 1] = window.per_s
    cells[_N_WINDOWS] = len(limits.windows)


def windows(cells: Cells) -> tuple[RateWindow, ...]:
    """The windows that the user who opened the budget last has set: they hold for all users."""
    return tuple(
        RateWindow(int(cells[_WINDOWS + 2 * i]), cells[_WINDOWS + 2 * i + 1])
        for i in range(int(cells[_N_WINDOWS]))
    )


def flaw(cells: Cells, now: float, boot: float = 0.0) -> str | None:
    """The flaw of a state that was cut short, overwritten or made elsewhere; None if it is sound.

    A state from before a reboot is sound, though its times are of another clock.
    """
    if of_head := head_flaw(cells, now, boot):
        return of_head
    cap = int(cells[CAP])
    if len(cells) < RINGS + 2 * cap:
        return "it is cut short"
    for start, count in zip(ring_starts(cells), (cells[COUNT], cells[LOW_COUNT]), strict=True):
        times = [cells[start + seq % cap] for seq in entries(int(count), cap)]
        if not all(map(math.isfinite, times)) or times != sorted(times):
            return "the send times are out of order"
    return None


def head_flaw(cells: Cells, now: float, boot: float = 0.0) -> str | None:
    """The flaw of the first ``RINGS`` cells, whatever the rings have."""
    if len(cells) < RINGS or cells[_VERSION] != VERSION:
        return "its version is another"
    cap, counts = cells[CAP], (cells[COUNT], cells[LOW_COUNT])
    if not (1 <= cap <= 1e8 and cap == int(cap)):
        return "its size is not that of its windows"
    if any(not (0 <= count < 2**53 and count == int(count)) for count in counts):
        return "a counter is not a count"
    if not all(math.isfinite(cells[i]) for i in range(RINGS)):
        return "a value is not a number"
    try:
        if capacity(Limits(windows(cells), 1)) != cap:
            return "its size is not that of its windows"
    except (ConfigError, ValueError, OverflowError):
        return "its windows are not windows"
    if not MARGIN_MIN <= cells[MARGIN] <= MARGIN_MAX:
        return "the margin is out of bounds"
    if cells[BOOT] == boot and any(cells[i] > now + 1.0 for i in (CUT_AT, DECAYED_AT)):
        return "its clock is ahead of the clock"
    return None


def entries(count: int, cap: int) -> range:
    """The entries that a ring still holds."""
    return range(max(0, count - cap), count)


def ring_starts(cells: Cells) -> tuple[int, int]:
    """The first cells of the two rings: of all sends, and of those that count for small shares."""
    return RINGS, RINGS + int(cells[CAP])


def send_times(cells: Cells) -> Sends:
    """The send times of both rings, oldest first."""
    cap = int(cells[CAP])
    main, low = ring_starts(cells)
    return (
        [cells[main + seq % cap] for seq in entries(int(cells[COUNT]), cap)],
        [cells[low + seq % cap] for seq in entries(int(cells[LOW_COUNT]), cap)],
    )


def carry_over(
    head: list[float],
    sends: Sends,
    new: Cells,
    limits: Limits,
) -> None:
    """Other limits, same key: what was sent, learned and blocked still holds.

    :param head: the first ``RINGS`` cells of the old state; it may lie where ``new`` is written.
    """
    main, low = sends
    fresh(new, limits, head[BOOT])
    new[_VERSION] = 0.0  # not a state until all of it is there
    for index in (NEXT_AT, BLOCKED_UNTIL, MARGIN, CUT_AT, DECAYED_AT, FULL_SEEN_AT, STEP):
        new[index] = head[index]
    for index in (ADVERTISED_REQUESTS, ADVERTISED_PER_S, ADVERTISED_UNTIL):
        new[index] = head[index]
    for index in range(BINS, RINGS):
        new[index] = head[index]
    new[COUNT] = refill(new, ring_starts(new)[0], main)
    new[LOW_COUNT] = refill(new, ring_starts(new)[1], low)
    new[_VERSION] = VERSION


def refill(cells: Cells, start: int, times: Iterable[float]) -> int:
    """Write a ring anew; returns its count."""
    newest = list(times)[-int(cells[CAP]) :]
    for seq, at in enumerate(newest):
        cells[start + seq] = at
    return len(newest)
