"""What is told of a step that could not do everything, and whether Dagster tries again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import HeadraceError, Permanent, Retryable
from pipeline.run.runner import PartitionFailed, RunOutcome

MAX_RETRIES = 3
_MOST_NAMED = 200
"""Endpoints that the text names for one reason: every source that we know has fewer."""


@dataclass(frozen=True)
class FailureReport:
    """What becomes of a step.

    :ivar text: for the user: what failed, each reason once, and what to do.
    :ivar retry_in_s: seconds until Dagster's next try; None: none can help, or all are used up.
    """

    text: str
    retry_in_s: float | None


def of_step(source: str, outcome: RunOutcome, tries: int, days: Sequence[str]) -> FailureReport:
    """The step did not do everything.

    :param tries: how often the step has run, this time included.
    :param days: all that it was asked for.
    """
    lines = reasons(source, outcome.failed, days) + _rest(len(outcome.receipts))
    return _verdict(lines, outcome.retry_wait_s, tries)


def of_error(error: HeadraceError, tries: int) -> FailureReport:
    """The step could not begin."""
    return _verdict([str(error)], error.wait_s if isinstance(error, Retryable) else None, tries)


def _verdict(lines: list[str], wait_s: float | None, tries: int) -> FailureReport:
    if wait_s is not None and tries <= MAX_RETRIES:
        lines.append(f"Try {tries + 1} of {MAX_RETRIES + 1} comes in {wait_s:g} s.")
        return FailureReport("\n".join(lines), wait_s)
    if wait_s is not None:
        lines.append(f"Given up after {tries} tries. A new run goes on from what is in the lake.")
    return FailureReport("\n".join(lines), None)


def reasons(source: str, failed: Sequence[PartitionFailed], days: Sequence[str]) -> list[str]:
    """Each reason once, with all that it struck; those that a retry can't mend come first."""
    struck: dict[str, list[PartitionFailed]] = {}
    for one in sorted(failed, key=lambda each: not isinstance(each.error, Permanent)):
        reason = str(one.error).removeprefix(f"{source}/{one.endpoint}, ")
        struck.setdefault(reason, []).append(one)
    lines = [f"{_whom(source, ones)}: {reason}" for reason, ones in struck.items()]
    return lines + _untried(source, failed, days)


def _untried(source: str, failed: Sequence[PartitionFailed], days: Sequence[str]) -> list[str]:
    """An endpoint stops at its first day that fails."""
    last = max(days)
    by_days: dict[str, list[str]] = {}
    for one in failed:
        later = [day for day in days if day > one.partition]
        if later:
            first = min(later)
            span = first if first == last else f"{first} to {last}"
            by_days.setdefault(span, []).append(f"{source}/{one.endpoint}")
    said = "; ".join(f"{_some(names)} {span}" for span, names in sorted(by_days.items()))
    return [f"Not tried, since a day before failed: {said}."] if said else []


def _whom(source: str, ones: Sequence[PartitionFailed]) -> str:
    by_day: dict[str, list[str]] = {}
    for one in ones:
        by_day.setdefault(one.partition, []).append(f"{source}/{one.endpoint}")
    return "; ".join(f"{_some(names)} {day}" for day, names in sorted(by_day.items()))


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _rest(committed: int) -> list[str]:
    if committed > 1:
        return [f"{committed} partitions of this run are committed, and stay."]
    return ["1 partition of this run is committed, and stays."] if committed else []
