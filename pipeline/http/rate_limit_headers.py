"""Rate-limit headers: what they say of the quota, and the listener that reports it to the budget.

The budget is shared, so that all processes heed what the headers of one response say. What a header
says that nobody can use (a date that is over, words, nothing left and no time) is warned of once.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from pipeline.config.limits import RateHeadersConfig
from pipeline.config.source import Source
from pipeline.http.retry import ThrottlePace, duration_in, number_in, wait_in
from pipeline.ratelimit import Budget
from pipeline.ratelimit.reservation import MAX_BLOCK_S

log = logging.getLogger("headrace.client")
_MAX_PER_S = 86_400.0 * 31


class RateLimitListener:
    """Reports what the responses of one source say of the quota to its budget."""

    def __init__(
        self, source: Source, budget: Budget, clock: Callable[[], float] = monotonic
    ) -> None:
        self._source = source
        self._budget = budget
        self._clock = clock
        self._pace = ThrottlePace()
        self._warned: set[str] = set()

    def observed(self, headers: Mapping[str, str]) -> None:
        """A response came, of any status.

        :param headers: names in lower case.
        """
        rate = self._source.limits.headers
        self._budget.observed(*quota_left(headers, rate, _now))
        if limit := advertised_limit(headers, rate):
            self._budget.advertised(*limit)
        if odd := odd_unit(headers, rate):
            self._warn("unit", odd)
        for name, sentence in unread(headers, rate, _now):
            self._warn(name, sentence)

    def passed(self, left_at: float) -> None:
        """A response was read well.

        :param left_at: when its request left, on the clock.
        """
        self._pace = self._pace.passed(self._clock(), left_at)

    def throttled(self, headers: Mapping[str, str], left_at: float) -> None:
        """A response says that there were too many requests, and maybe when to come back."""
        said_s = retry_after_s(headers, _now)
        if said_s is None:
            self._warn_of_wait(headers)
            remaining, reset_s = quota_left(headers, self._source.limits.headers, _now)
            said_s = reset_s if remaining is not None and remaining <= 0 and reset_s else None
        now, usual_s = self._clock(), self._budget.throttle_wait_s
        self._pace, wait_s = self._pace.refused(now, left_at, said_s, usual_s)
        self._budget.throttled(wait_s)

    def _warn_of_wait(self, headers: Mapping[str, str]) -> None:
        text = headers.get("retry-after", "").strip()
        if text:
            self._warn(
                "retry-after",
                f"`Retry-After` is {text[:60]!r}, which is no time to come. Expected seconds or a "
                "date in the future; Headrace waits by `limits.throttle_wait_s`, and longer each "
                "time that the API refuses again",
            )

    def _warn(self, name: str, sentence: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s: %s", self._source.source, sentence)


def _now() -> datetime:
    return datetime.now(UTC)


def retry_after_s(headers: Mapping[str, str], now: Callable[[], datetime] = _now) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3), at most a day; None: no time that is to come.

    Other forms than a number and a date are read as well (``retry``).
    """
    wait_s = wait_in(headers.get("retry-after", ""), headers, now, surely=True)
    return None if wait_s is None or wait_s <= 0 else min(wait_s, MAX_BLOCK_S)


def quota_left(
    headers: Mapping[str, str], rate: RateHeadersConfig | None, now: Callable[[], datetime]
) -> tuple[int | None, float | None]:
    """The quota by the API's headers: requests left, and seconds until it is full again."""
    if rate is None:
        return None, None
    if quota := structured(headers.get(rate.remaining.lower(), "")):
        return math.floor(quota[0]), quota[1]
    remaining = _number(headers, rate.remaining)
    reset_s = wait_in(headers.get(rate.reset.lower(), ""), headers, now)
    if reset_s is not None and not math.isfinite(reset_s):
        reset_s = None
    return (
        None if remaining is None else math.floor(remaining),
        None if reset_s is None else max(reset_s, 0.0),
    )


_REMAINING: Final = re.compile(r"\b(?:r|remaining)\s*=\s*(\d{1,15}(?:\.\d+)?)")
_RESET: Final = re.compile(r"\b(?:t|reset)\s*=\s*(\d{1,15}(?:\.\d+)?)")


def structured(text: str) -> tuple[float, float | None] | None:
    """The quota of IETF's ``RateLimit``, of the policy with the least left: requests, and seconds
    until it is full again.

    >>> structured('"burst";r=0;t=4, "day";r=900;t=3600')
    (0.0, 4.0)
    >>> structured("limit=100, remaining=7, reset=30")
    (7.0, 30.0)
    """
    quoted = text.lstrip()[:1] == '"'
    policies = []
    for policy in text[:1000].split(",") if quoted else [text[:1000]]:
        remaining, reset = _REMAINING.search(policy), _RESET.search(policy)
        if remaining:
            policies.append((float(remaining[1]), float(reset[1]) if reset else None))
    return min(policies, key=lambda policy: policy[0], default=None)


def unread(
    headers: Mapping[str, str], rate: RateHeadersConfig | None, now: Callable[[], datetime]
) -> list[tuple[str, str]]:
    """Headers of the quota that say nothing usable: the name, and the sentence on it."""
    if rate is None:
        return []
    if structured(headers.get(rate.remaining.lower(), "")):
        return []
    misfits = []
    for name in (rate.remaining, rate.limit):
        text = headers.get((name or "").lower(), "").strip()
        if name and text and _number(headers, name) is None:
            misfits.append((name, f"`{name}` is {text[:60]!r}, expected a number; not heeded"))
    text = headers.get(rate.reset.lower(), "").strip()
    remaining, reset_s = quota_left(headers, rate, now)
    if text and reset_s is None:
        misfits.append(
            (
                rate.reset,
                f"`{rate.reset}` is {text[:60]!r}, expected seconds, a duration such as 17s, or an "
                "instant; not heeded",
            )
        )
    elif remaining is not None and remaining <= 0 and not reset_s:
        misfits.append(
            (
                rate.remaining,
                f"`{rate.remaining}` is {remaining}, and `{rate.reset}` names no time to come. The "
                "pace goes by `limits.windows`, and by the 429s that come",
            )
        )
    return misfits


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


def advertised_limit(
    headers: Mapping[str, str], rate: RateHeadersConfig | None
) -> tuple[int, float] | None:
    """The limit that the headers say: requests, and in how many seconds."""
    if rate is None or rate.limit is None:
        return None
    requests, per_s = _number(headers, rate.limit), rate.interval_s
    if rate.interval is not None:
        text = headers.get(rate.interval.lower(), "").strip()
        per_s = number_in(text) if duration_in(text) is None else duration_in(text)
    if requests is None or requests <= 0 or per_s is None or not per_s > 0:
        return None
    if requests < 1:  # half a request a second is one in two
        requests, per_s = 1.0, per_s / requests
    return (int(requests), per_s) if per_s <= _MAX_PER_S else None


def _number(headers: Mapping[str, str], name: str) -> float | None:
    number = number_in(headers.get(name.lower(), ""))
    return number if number is not None and math.isfinite(number) else None
