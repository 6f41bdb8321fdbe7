"""How a step ends that could not do everything: for good, or until the next try.

The exception's cause is our sentence once more: Dagster prints it last, below some twenty lines of
its own stack, and the cause itself has none.
"""

import time
from typing import NoReturn

import dagster as dg

from assets.verdict import MAX_RETRIES, Verdict
from pipeline.errors import HeadraceError


def end(context: dg.AssetExecutionContext | dg.OpExecutionContext, found: Verdict) -> NoReturn:
    """As the verdict says: Dagster starts the step again after the wait, or not at all.

    The step itself waits: asked to do that, Dagster's multiprocess executor polls without a pause,
    and takes a whole core (docs/decisions/0005-our-own-retry-and-breaker.md).
    """
    if found.retry_in_s is None:
        fail(found.text)
    context.log.warning(found.text)
    time.sleep(found.retry_in_s)
    raise dg.RetryRequested(max_retries=MAX_RETRIES) from HeadraceError(found.text)


def fail(said: str) -> NoReturn:
    """No retry can help."""
    raise dg.Failure(said, allow_retries=False) from HeadraceError(said)
