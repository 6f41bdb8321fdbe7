"""What each minute of the last hour had, counted in the cells for all users. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.ratelimit.state_layout import BINS, MINUTES, MORE_BINS
from pipeline.ratelimit.stats import Minute


class MinuteBin(NamedTuple):
    """Where the cells of a minute are."""

    minute: int
    requests: int
    throttled: int
    waited_s: int

    @classmethod
    def of(cls, minute: int) -> MinuteBin:
        at = 2 * (minute % MINUTES)
        return cls(BINS + at, BINS + at + 1, MORE_BINS + at, MORE_BINS + at + 1)


def minute_of(cells: memoryview[float], now: float) -> MinuteBin:
    """The cells of this minute, which begin at nothing."""
    minute = int(now // 60)
    at = MinuteBin.of(minute)
    if cells[at.minute] != minute:
        for index in at[1:]:
            cells[index] = 0.0
        cells[at.minute] = minute
    return at


def last_hour(cells: memoryview[float], now: float) -> list[Minute]:
    """The last hour on this clock, oldest first."""
    current = int(now // 60)
    found = []
    for minute in range(current - 59, current + 1):
        at = MinuteBin.of(minute)
        values = [cells[index] for index in at[1:]] if cells[at.minute] == minute else [0.0] * 3
        found.append(Minute(minute * 60.0, int(values[0]), int(values[1]), values[2]))
    return found
