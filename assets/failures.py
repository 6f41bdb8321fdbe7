"""How a step ends that could not do everything: for good, or until the next try.

Our sentence is also the cause of the exception that Dagster gets: Dagster prints the cause last,
below some twenty lines of its own stack, and the cause has no stack of its own.
"""

import time
from typing import NoReturn

import dagster as dg

from assets.failure_report import MAX_RETRIES, FailureReport
from pipeline.errors import HeadraceError

CRASH_RETRIES = dg.RetryPolicy(max_retries=MAX_RETRIES)
"""For a step whose process died. What the engine raises decides for itself."""


def end(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, found: FailureReport
) -> NoReturn:
    """As the verdict says: Dagster starts the step again after the wait, or not at all.

    The wait is in the step itself: if Dagster's multiprocess executor has to wait, it polls without
    a pause, and takes a whole core (docs/decisions/0005-our-own-retry-and-breaker.md).
    """
    if found.retry_in_s is None:
        fail(found.text)
    context.log.warning(found.text)
    time.sleep(found.retry_in_s)
    raise dg.RetryRequested(max_retries=MAX_RETRIES) from HeadraceError(found.text)


def fail(said: str) -> NoReturn:
    """No retry can help."""
    raise dg.Failure(said, allow_retries=False) from HeadraceError(said)
