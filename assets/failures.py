"""How a step ends if some of its work failed: what the user reads, and whether Dagster retries.

``FailureReport`` and the functions that make one are pure. The user's sentence is raised twice: as
Dagster's exception, and as its cause. Dagster prints the cause last, below some twenty lines of its
own stack, and the cause has no stack, so that the sentence is the last thing on the screen.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import dagster as dg

from pipeline.errors import HeadraceError, Permanent, Retryable
from pipeline.run.runner import PartitionFailed, RunOutcome

MAX_RETRIES = 3
CRASH_RETRIES = dg.RetryPolicy(max_retries=MAX_RETRIES)
"""For a step whose process died. A step that ends by itself decides for itself."""
_MOST_NAMED = 200
"""Endpoints that the text names for one reason: every source that we know has fewer."""


@dataclass(frozen=True)
class FailureReport:
    """The end of a step that has failures.

    :ivar text: for the user: what failed, each reason once, and what to do.
    :ivar retry_in_s: seconds until Dagster's retry; None: no retry can help, or all are used up.
    """

    text: str
    retry_in_s: float | None


def report_of_step(
    source: str, outcome: RunOutcome, attempts: int, partitions: Sequence[str]
) -> FailureReport:
    """The step did not do everything.

    :param attempts: how often the step has run, this time included.
    :param partitions: all that the step was to do.
    """
    lines = reasons(source, outcome.failed, partitions) + _committed(len(outcome.results))
    return _report(lines, outcome.retry_wait_s, attempts)


def report_of_error(error: HeadraceError, attempts: int) -> FailureReport:
    """The step could not begin."""
    wait_s = error.wait_s if isinstance(error, Retryable) else None
    return _report([str(error)], wait_s, attempts)


def end(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, report: FailureReport
) -> NoReturn:
    """End the step as the report says: with a retry by Dagster after a wait, or for good.

    The step itself waits, and not Dagster: Dagster's multiprocess executor polls without a pause
    while it waits, and takes a whole core (docs/decisions/0005-our-own-retry-and-breaker.md).

    :raises dagster.Failure, dagster.RetryRequested: always one of them.
    """
    if report.retry_in_s is None:
        fail(report.text)
    context.log.warning(report.text)
    time.sleep(report.retry_in_s)
    raise dg.RetryRequested(max_retries=MAX_RETRIES) from HeadraceError(report.text)


def fail(text: str) -> NoReturn:
    """No retry can help. :raises dagster.Failure: always."""
    raise dg.Failure(text, allow_retries=False) from HeadraceError(text)


def reasons(source: str, failed: Sequence[PartitionFailed], partitions: Sequence[str]) -> list[str]:
    """A line a reason, with all partitions that failed for it. Permanent reasons come first."""
    struck: dict[str, list[PartitionFailed]] = {}
    for failure in sorted(failed, key=lambda each: not isinstance(each.error, Permanent)):
        reason = str(failure.error).removeprefix(f"{source}/{failure.endpoint}, ")
        struck.setdefault(reason, []).append(failure)
    lines = [f"{_endpoints(source, those)}: {reason}" for reason, those in struck.items()]
    return lines + _not_attempted(source, failed, partitions)


def _report(lines: list[str], wait_s: float | None, attempts: int) -> FailureReport:
    if wait_s is not None and attempts <= MAX_RETRIES:
        lines.append(f"Attempt {attempts + 1} of {MAX_RETRIES + 1} follows in {wait_s:g} s.")
        return FailureReport("\n".join(lines), wait_s)
    if wait_s is not None:
        lines.append(
            f"Gave up after {attempts} attempts. The next run resumes from the last checkpoint."
        )
    return FailureReport("\n".join(lines), None)


def _not_attempted(
    source: str, failed: Sequence[PartitionFailed], partitions: Sequence[str]
) -> list[str]:
    """An endpoint stops at its first partition that fails."""
    last = max(partitions)
    by_span: dict[str, list[str]] = {}
    for failure in failed:
        later = [key for key in partitions if key > failure.partition]
        if later:
            first = min(later)
            span = first if first == last else f"{first} to {last}"
            by_span.setdefault(span, []).append(f"{source}/{failure.endpoint}")
    spans = "; ".join(f"{_some(names)} {span}" for span, names in sorted(by_span.items()))
    return [f"Not attempted, since an earlier partition failed: {spans}."] if spans else []


def _endpoints(source: str, failed: Sequence[PartitionFailed]) -> str:
    by_partition: dict[str, list[str]] = {}
    for failure in failed:
        by_partition.setdefault(failure.partition, []).append(f"{source}/{failure.endpoint}")
    return "; ".join(f"{_some(names)} {key}" for key, names in sorted(by_partition.items()))


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    listing = ", ".join(names[:_MOST_NAMED])
    return f"{listing} and {more} more" if more > 0 else listing


def _committed(count: int) -> list[str]:
    if count > 1:
        return [f"{count} partitions of this run are committed, and stay."]
    return ["1 partition of this run is committed, and stays."] if count else []
