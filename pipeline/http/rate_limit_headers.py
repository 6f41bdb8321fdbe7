"""What an answer's headers say of the quota, told to the budget: it holds for everybody."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.config.source import Source
from pipeline.http import classify
from pipeline.ratelimit import Budget

log = logging.getLogger("headrace.client")


class RateLimitListener:
    """Listens to one source's answers."""

    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._warned = False

    def answered(self, headers: Mapping[str, str]) -> None:
        """An answer came, of any status.

        :param headers: names in lower case.
        """
        rate = self._source.limits.headers
        self._budget.observed(*classify.rate_left(headers, rate, _now))
        if told := classify.limit_told(headers, rate):
            self._budget.told(*told)
        if not self._warned and (odd := classify.odd_unit(headers, rate)):
            self._warned = True
            log.warning("%s: %s", self._source.source, odd)

    def throttled(self, headers: Mapping[str, str]) -> None:
        """The answer says that there were too many requests, and maybe when to come back."""
        wait_s = classify.retry_after_s(headers, _now)
        if wait_s is None:
            left, reset_s = classify.rate_left(headers, self._source.limits.headers, _now)
            wait_s = reset_s if left == 0 else None
        self._budget.throttled(wait_s)


def _now() -> datetime:
    return datetime.now(UTC)
