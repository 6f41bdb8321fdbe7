"""Rate-limit headers: what they say of the quota, and the listener that reports it to the budget.

The budget is shared, so that all processes heed what the headers of one response say.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pipeline.config.limits import RateHeadersConfig
from pipeline.config.source import Source
from pipeline.ratelimit import Budget
from pipeline.ratelimit.reservation import MAX_BLOCK_S

log = logging.getLogger("headrace.client")
_MAX_PER_S = 86_400.0 * 31


class RateLimitListener:
    """Reports what the responses of one source say of the quota to its budget."""

    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._warned = False

    def observed(self, headers: Mapping[str, str]) -> None:
        """A response came, of any status.

        :param headers: names in lower case.
        """
        rate = self._source.limits.headers
        self._budget.observed(*quota_left(headers, rate, _now))
        if limit := advertised_limit(headers, rate):
            self._budget.advertised(*limit)
        if not self._warned and (odd := odd_unit(headers, rate)):
            self._warned = True
            log.warning("%s: %s", self._source.source, odd)

    def throttled(self, headers: Mapping[str, str]) -> None:
        """A response says that there were too many requests, and maybe when to come back."""
        wait_s = retry_after_s(headers, _now)
        if wait_s is None:
            left, reset_s = quota_left(headers, self._source.limits.headers, _now)
            wait_s = reset_s if left == 0 else None
        self._budget.throttled(wait_s)


def _now() -> datetime:
    return datetime.now(UTC)


def retry_after_s(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3: a number or a date), at most a day; or None."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        wait_s = (date.replace(tzinfo=date.tzinfo or UTC) - now()).total_seconds()
    if wait_s != wait_s:
        return None
    return min(max(wait_s, 0.0), MAX_BLOCK_S)


def quota_left(
    headers: Mapping[str, str], rate: RateHeadersConfig | None, now: Callable[[], datetime]
) -> tuple[int | None, float | None]:
    """The quota by the API's headers: requests left, and seconds until it is full again."""
    if rate is None:
        return None, None
    remaining, reset = _number(headers, rate.remaining), _number(headers, rate.reset)
    if reset is not None and (unit := reset_unit(reset)) != "seconds":
        reset = (reset / 1000 if unit == "epoch_ms" else reset) - now().timestamp()
    return None if remaining is None else int(remaining), None if reset is None else max(reset, 0.0)


def reset_unit(reset: float) -> str:
    """The unit of a reset, by its size: no quota takes thirty years, and no calendar is that young.

    So a wrong ``reset_is`` in the YAML neither blocks all processes for a day nor loses the reset.
    """
    return "epoch_ms" if reset > 1e12 else "epoch_s" if reset > 1e9 else "seconds"


def odd_unit(headers: Mapping[str, str], rate: RateHeadersConfig | None) -> str | None:
    """The warning on a reset that is not in the unit of ``reset_is``; None if it is."""
    reset = None if rate is None else _number(headers, rate.reset)
    if rate is None or reset is None or not reset or reset_unit(reset) == rate.reset_is:
        return None
    return (
        f"`{rate.reset}` is {reset:.0f}, which can't be {rate.reset_is} as "
        f"`limits.headers.reset_is` says; read as {reset_unit(reset)}"
    )


_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def advertised_limit(
    headers: Mapping[str, str], rate: RateHeadersConfig | None
) -> tuple[int, float] | None:
    """The limit that the headers say: requests, and in how many seconds."""
    if rate is None or rate.limit is None:
        return None
    requests, per_s = _number(headers, rate.limit), rate.interval_s
    if rate.interval is not None:
        interval = _INTERVAL.fullmatch(headers.get(rate.interval.lower(), "").strip())
        per_s = float(interval[1]) * _UNIT_S[interval[2] or "s"] if interval else None
    if requests is None or requests < 1 or per_s is None or not 0 < per_s <= _MAX_PER_S:
        return None
    return int(requests), per_s


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        number = float(headers[name.lower()])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None
