"""Requests, waits and 429s over time as a picture for the materialization's metadata. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from pipeline.ratelimit.stats import BudgetStats

_BARS = "▁▂▃▄▅▆▇█"
_NONE = "·"
MOST_BARS = 80
MOST_SAMPLES = 1024


class Sample(NamedTuple):
    """A run's totals at a time (unix, seconds)."""

    at: float
    waited_s: float
    throttled: int


@dataclass
class RequestTimeline:
    """Samples of a run, in bounded memory: when there are too many, every other one is dropped, and
    from then on they lie twice as far apart. The last one is always kept.
    """

    samples: list[Sample] = field(default_factory=list)
    apart_s: float = 0.0

    def add(self, at: float, stats: BudgetStats) -> None:
        if len(self.samples) > 1 and at - self.samples[-2].at < self.apart_s:
            self.samples.pop()
        if len(self.samples) >= MOST_SAMPLES:
            self.apart_s = 2 * (self.samples[-1].at - self.samples[0].at) / MOST_SAMPLES
            del self.samples[1::2]
        waited_s = stats.waited_place_s + stats.waited_slot_s
        self.samples.append(Sample(at, waited_s, stats.throttled))

    def by(self, at: float) -> Sample:
        """The last sample that was taken by then."""
        place = bisect_right(self.samples, at, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else Sample(at, 0.0, 0)


def requests_over_time(
    sends: Sequence[tuple[float, int]],
    bin_s: float,
    limit_per_s: float | None,
    course: RequestTimeline | None = None,
) -> str:
    """Markdown: one bar a bin, the scales, and the limit.

    :param sends: (unix time of the bin's start, requests in it).
    :param limit_per_s: in requests a second; None: the API has none.
    :param course: of the waits and the 429s, where they are known.
    """
    if not any(count for _, count in sends):
        return "no requests"
    merge = -(-len(sends) // MOST_BARS)
    counts = [count for _, count in sends]
    bin_s *= merge
    rates = [sum(counts[i : i + merge]) / bin_s for i in range(0, len(counts), merge)]
    top = max([*rates, limit_per_s or 0.0])
    of = "no limit" if limit_per_s is None else f"limit = {limit_per_s:g} requests/s"
    rows = [
        f"`{_bars(rates, top, _BARS[0])}`",
        f"one bar = {bin_s:g} s, full height = {top:g} requests/s, {of}",
    ]
    if course and course.samples:
        rows += _waits_and_429s(course, sends[0][0], bin_s, len(rates))
    return "\n\n".join(rows)


def _waits_and_429s(course: RequestTimeline, began: float, bin_s: float, bars: int) -> list[str]:
    inner = [course.by(began + number * bin_s) for number in range(1, bars)]
    steps = list(pairwise([Sample(began, 0.0, 0), *inner, course.samples[-1]]))
    waits = [max(0.0, after.waited_s - before.waited_s) / bin_s for before, after in steps]
    told = [max(0, after.throttled - before.throttled) for before, after in steps]
    rows = []
    if most := max(waits):
        rows += [f"`{_bars(waits, most)}`", f"waits: full height = {most:.3g} requests waiting"]
    if any(told):
        return [*rows, f"`{_bars(told, max(told))}`", f"429s: full height = {max(told)}"]
    return [*rows, "no 429"]


def _bars(values: Sequence[float], top: float, none: str = _NONE) -> str:
    return "".join(_BARS[min(7, int(value / top * 7.999))] if value else none for value in values)
