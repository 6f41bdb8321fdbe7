"""How a step is coming along, in the log every few seconds: rows, rate, budget, time left."""

import asyncio
import itertools
import time
from collections.abc import Callable

from assets.sparkline import RequestTimeline
from pipeline.http.client import Client
from pipeline.ratelimit.stats import BudgetStats
from pipeline.run.runner import RunOutcome

_SAMPLE_S = 1.0
EVERY_S = 5
"""A whole number of samples."""
_LEARNING = 3
"""429s that a run may have until the pace is learned (docs/decisions/0002-budget.md)."""
_OFTEN = 0.01
"""Of all requests: a larger part that is answered 429 is no learning any more."""


async def report(
    client: Client,
    outcome: RunOutcome,
    log: Callable[[str], None],
    course: RequestTimeline,
    *,
    limited: bool,
) -> None:
    """Log a line every few seconds until cancelled, and note how the run goes for its plot."""
    began = time.monotonic()
    for seconds in itertools.count(1):
        await asyncio.sleep(_SAMPLE_S)
        course.add(time.time(), client.budget.stats)
        if seconds % EVERY_S == 0:
            log(line(outcome, client, time.monotonic() - began, limited=limited))


def line(outcome: RunOutcome, client: Client, passed_s: float, *, limited: bool) -> str:
    """One line of progress.

    :param limited: the API has a rate limit: else there is no share of it to tell.
    """
    rows, total = _rows(outcome)
    stats = client.budget.stats
    share = f"{stats.share_used:.0%} of the budget, " if limited else ""
    rate = rows / passed_s if passed_s else 0.0
    left = (total - rows) / rate if rate and total > rows else 0.0
    return (
        f"{rows:,} of {counted(total, 'row')}, {rate:,.0f} rows/s, "
        f"{counted(stats.requests, 'request')}, "
        f"{share}{stats.throttled} throttled, "
        f"{counted(len(outcome.receipts), 'partition')} committed"
        + (f", about {left:,.0f} s left" if left >= 1 else "")
        + (f", breaker {client.breaker_state}" if client.breaker_state != "closed" else "")
    )


def too_fast(stats: BudgetStats, *, limited: bool) -> str | None:
    """What to do about 429s, if there are more than it takes to learn an API's pace."""
    if stats.throttled <= max(_LEARNING, stats.requests * _OFTEN):
        return None
    remedy = (
        "it allows less than limits.windows say, or others use the same key"
        if limited
        else "say how fast it may be asked, in limits.windows"
    )
    return f"{stats.throttled} of {counted(stats.requests, 'request')} were answered 429: {remedy}"


def _rows(outcome: RunOutcome) -> tuple[int, int]:
    """Rows so far, and how many there will be: what has ended has no more, whatever was counted."""
    ended = {(done.endpoint, done.manifest.partition) for done in outcome.receipts}
    ended |= {(failed.endpoint, failed.partition) for failed in outcome.failed}
    rows = total = 0
    for partition, tally in outcome.tallies.items():
        open_total = None if partition in ended else tally.total
        rows += tally.rows
        total += max(tally.rows, open_total or 0)
    return rows, total


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
