"""The progress of a step: a line in the log every few seconds, and a picture for its metadata.

The line has rows, rate, budget and time left; the picture has requests, waits and 429s over time.
"""

import asyncio
import itertools
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import dagster as dg

from assets.charts import RequestBins, request_chart
from pipeline.config.limits import LimitsConfig
from pipeline.errors import counted
from pipeline.extract.position import ExtractionProgress
from pipeline.ratelimit.usage_stats import BudgetStats
from pipeline.run.runner import RunOutcome
from resources.api import RequestReport

_SAMPLE_EVERY_S = 1.0
LINE_EVERY_S = 5
"""A whole number of samples."""
_LEARNING = 3
"""429s that a run may get while it learns the API's pace (docs/decisions/0002-budget.md)."""
_OFTEN = 0.01
"""A part of all requests. If a larger one gets 429s, the pace is wrong, and not being learned."""
_DRAWN_EVERY_S = 1.0
"""Seconds for which a run's plot is reused, however many partitions are committed meanwhile."""
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
        waited_s = stats.waited_permit_s + stats.waited_slot_s
        self.samples.append(Sample(at, waited_s, stats.throttled))

    def by(self, at: float) -> Sample:
        """The last sample that was taken by then."""
        place = bisect_right(self.samples, at, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else Sample(at, 0.0, 0)


@dataclass
class RunMetadata:
    """Metadata of the run so far: the endpoints of a source share one budget.

    :ivar other_budgets: a warning of other budgets of the API key; empty: none.
    """

    limits: LimitsConfig
    other_budgets: str = ""
    timeline: RequestTimeline = field(default_factory=RequestTimeline)
    _drawn: dict[str, Any] = field(default_factory=dict)
    _drawn_at: float = 0.0

    def of(self, report: RequestReport) -> dict[str, Any]:
        if self._drawn and time.monotonic() - self._drawn_at < _DRAWN_EVERY_S:
            return self._drawn
        stats = report.stats
        self.timeline.add(time.time(), stats)
        plot = requests_over_time(stats.sends, stats.bin_s, self.limits.rate_per_s, self.timeline)
        share = {"budget_share_used": round(stats.share_used, 4)} if self.limits.windows else {}
        self._drawn_at = time.monotonic()
        self._drawn = {
            **share,
            "run_requests": stats.requests,
            "run_waited_slot_s": round(stats.waited_slot_s, 3),
            "run_waited_permit_s": round(stats.waited_permit_s, 3),
            "run_throttled_429": stats.throttled,
            "breaker": report.breaker_state,
            **({"other_budgets": self.other_budgets} if self.other_budgets else {}),
            "requests_over_time": dg.MetadataValue.md(plot),
        }
        return self._drawn


async def log_progress(
    report: RequestReport,
    outcome: RunOutcome,
    log: Callable[[str], None],
    timeline: RequestTimeline,
    *,
    limited: bool,
) -> None:
    """Log a line every few seconds until cancelled, and sample the run for its picture."""
    began = time.monotonic()
    for seconds in itertools.count(1):
        await asyncio.sleep(_SAMPLE_EVERY_S)
        timeline.add(time.time(), report.stats)
        if seconds % LINE_EVERY_S == 0:
            log(line(outcome, report, time.monotonic() - began, limited=limited))


def line(outcome: RunOutcome, report: RequestReport, passed_s: float, *, limited: bool) -> str:
    """A line of progress.

    :param limited: the API has a rate limit: else there is no share of it to show.
    """
    rows, total = _rows(outcome)
    stats = report.stats
    share = f"{stats.share_used:.0%} of the budget, " if limited else ""
    rate = rows / passed_s if passed_s else 0.0
    left_s = (total - rows) / rate if rate and total > rows else _values_left_s(outcome, passed_s)
    return (
        f"{rows:,} of {counted(total, 'row')}, {rate:,.0f} rows/s, "
        f"{_values(outcome)}"
        f"{counted(stats.requests, 'request')}, "
        f"{share}{stats.throttled} throttled, "
        f"{counted(len(outcome.results), 'partition')} committed"
        + (f", about {left_s:,.0f} s left" if left_s >= 1 else "")
        + (f", breaker {report.breaker_state}" if report.breaker_state != "closed" else "")
    )


def too_fast(stats: BudgetStats, *, limited: bool) -> str | None:
    """A warning with its remedy, if more 429s came than it takes to learn an API's pace."""
    if stats.throttled <= max(_LEARNING, stats.requests * _OFTEN):
        return None
    remedy = (
        "The API allows less than `limits.windows` say, or others use the same key"
        if limited
        else "Set the API's rate limit in `limits.windows`"
    )
    return f"{stats.throttled} of {counted(stats.requests, 'request')} got status 429. {remedy}"


def _rows(outcome: RunOutcome) -> tuple[int, int]:
    """Rows so far, and how many are expected. Of a partition that has ended no more are expected,
    whatever the API counted."""
    ended = {(result.endpoint, result.manifest.partition) for result in outcome.results}
    ended |= {(failed.endpoint, failed.partition) for failed in outcome.failed}
    rows = total = 0
    for partition, progress in outcome.progress.items():
        open_total = None if partition in ended else progress.total
        rows += progress.rows
        total += max(progress.rows, open_total or 0)
    return rows, total


def _values(outcome: RunOutcome) -> str:
    """How many values of fan-outs were read and how many failed; of children, how many parents."""
    fan_outs = _fan_outs(outcome)
    if not fan_outs:
        return ""
    read, of_all = (sum(getattr(of, name) for of in fan_outs) for name in ("values", "of_values"))
    nouns = " or ".join(sorted({of.value_noun for of in fan_outs}))
    failed = sum(of.failed_values for of in fan_outs)
    return f"{read:,} of {of_all:,} {nouns} read, " + (f"{failed:,} failed, " if failed else "")


def _values_left_s(outcome: RunOutcome, passed_s: float) -> float:
    """Seconds for the values that are left, if they take as long as those before."""
    fan_outs = _fan_outs(outcome)
    read, of_all = (sum(getattr(of, name) for of in fan_outs) for name in ("values", "of_values"))
    return passed_s * (of_all - read) / read if read else 0.0


def _fan_outs(outcome: RunOutcome) -> list[ExtractionProgress]:
    return [progress for progress in outcome.progress.values() if progress.of_values]


def requests_over_time(
    sends: Sequence[tuple[float, int]],
    bin_s: float,
    limit_per_s: float | None,
    timeline: RequestTimeline | None = None,
) -> str:
    """Markdown: a picture with one bar a bin, and what its heights mean.

    :param sends: (unix time of the bin's start, requests in it).
    :param limit_per_s: in requests a second; None: the API has none.
    :param timeline: of the waits and the 429s, where they are known.
    """
    bins = request_bins(sends, bin_s, limit_per_s, timeline)
    if bins is None:
        return "no requests"
    of = "no limit" if limit_per_s is None else f"limit = {limit_per_s:g} requests/s"
    rows = [f"one bar = {bins.bin_s:g} s, full height = {bins.top:g} requests/s, {of}"]
    if any(bins.waits):
        rows.append(f"waits (grey): full height = {max(bins.waits):.3g} requests waiting")
    if timeline and timeline.samples:
        most = max(bins.throttled, default=0)
        rows.append(f"429s (red): full height = {most}" if most else "no 429")
    return request_chart(bins, "\n\n".join(rows))


def request_bins(
    sends: Sequence[tuple[float, int]],
    bin_s: float,
    limit_per_s: float | None,
    timeline: RequestTimeline | None = None,
) -> RequestBins | None:
    """The bars of the picture, as few as it has room for; None if nothing was sent."""
    if not any(count for _, count in sends):
        return None
    merge = -(-len(sends) // MOST_BARS)
    counts = [count for _, count in sends]
    bin_s *= merge
    rates = [sum(counts[i : i + merge]) / bin_s for i in range(0, len(counts), merge)]
    if not timeline or not timeline.samples:
        return RequestBins(bin_s, limit_per_s, rates)
    began = sends[0][0]
    inner = [timeline.by(began + number * bin_s) for number in range(1, len(rates))]
    steps = list(pairwise([Sample(began, 0.0, 0), *inner, timeline.samples[-1]]))
    waits = [max(0.0, after.waited_s - before.waited_s) / bin_s for before, after in steps]
    throttled = [max(0, after.throttled - before.throttled) for before, after in steps]
    return RequestBins(bin_s, limit_per_s, rates, waits, throttled)
