"""Rate-limit headers: what they say of the quota, and the listener that reports it to the budget.

The budget is shared, so that all processes heed what the headers of one response say. What a header
says that nobody can use (a date that is over, words, nothing left and no time) is warned of once.

*Waits that a header says*:

================================  ==============================================================
form                              e.g.
================================  ==============================================================
seconds                           ``30``, ``0.5``
epoch, in s, ms, µs or ns         ``1795132800``: no quota takes thirty years
duration                          ``17s``, ``6m0s``, ``1.5 min``, ``0:01:30``, ISO 8601's ``PT17S``
date (RFC 9110) or ISO 8601       ``Thu, 05 Nov 2026 13:01:30 GMT``, ``2026-11-05T13:01:30Z``
================================  ==============================================================

A number without a unit is in milliseconds if the header's name ends so (``retry-after-ms``,
``x-interval-milliseconds``): ``seconds_of``.

An instant is read by the clock of the API, which the ``Date`` of the same response shows: the two
clocks may be hours apart.

*Throttling* where an API says "too many requests" and no usable time, or a wrong one. Refusals that
come one after another, each to a request that left after the pause before it, make a burst. The
first two of it wait as the API, the YAML or the budget says; from then on the wait doubles, so that
an API whose ``Retry-After: 0`` is wrong gets a few requests and not hundreds. How long a long burst
took is remembered, and the next one waits for that at once.

A wait over ``MAX_THROTTLED_S`` ends the step, as a wait of hours does that the API names: Dagster
starts the step again after the wait.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final

from pipeline.config.limits import RateHeadersConfig
from pipeline.config.source import Source
from pipeline.messages import RETRY_AFTER, server_time
from pipeline.ratelimit import Budget
from pipeline.ratelimit.reservation import MAX_BLOCK_S

log = logging.getLogger("headrace.client")
_MAX_PER_S = 86_400.0 * 31
THROTTLED_FIRST_S: Final = 1.0
AS_ADVERTISED: Final = 2
"""Consecutive refusals that wait as the API said."""
LONG_BURST_S: Final = 4.0
"""A burst that lasts longer has taught something."""
LEARNED_FOR_S: Final = 600.0
"""Seconds for which that is remembered."""
MAX_THROTTLED_S: Final = 600.0


@dataclass(frozen=True)
class ThrottlePace:
    """The pace that the refusals so far have taught. Times are seconds on one clock.

    :ivar refusals: of the burst that goes on, those after the pause before them.
    :ivar began_at: when the burst began.
    :ivar until: the end of the pause.
    :ivar learned_s: how long the last long burst took.
    """

    refusals: int = 0
    began_at: float = 0.0
    until: float = 0.0
    learned_s: float = 0.0
    learned_at: float = 0.0

    def refused(
        self, now: float, left_at: float, said_s: float | None, usual_s: float | None
    ) -> tuple["ThrottlePace", float | None]:
        """A request was refused. Returns the pace from now on, and the wait; None: the usual one.

        :param left_at: when the request left: before the pause, it tells nothing new.
        :param said_s: the API's own wait, if it is one.
        :param usual_s: the YAML's wait, if it has one.
        """
        if self.refusals and left_at < self.until:
            return replace(self, until=max(self.until, now + (said_s or 0.0))), said_s
        number = self.refusals + 1
        began_at = self.began_at if self.refusals else now
        wait_s = said_s
        if number > AS_ADVERTISED:
            base_s = THROTTLED_FIRST_S if usual_s is None else usual_s
            wait_s = max(
                said_s or 0.0, min(MAX_THROTTLED_S, base_s * 2 ** (number - AS_ADVERTISED))
            )
        if self.learned_s and now - self.learned_at < LEARNED_FOR_S:
            wait_s = max(wait_s or 0.0, began_at + self.learned_s - now)
        paused_s = wait_s if wait_s is not None else usual_s or THROTTLED_FIRST_S / 4
        return replace(self, refusals=number, began_at=began_at, until=now + paused_s), wait_s

    def passed(self, now: float, left_at: float) -> "ThrottlePace":
        """A request was not refused: one that left after the last pause ends the burst."""
        if not self.refusals or left_at < self.until:
            return self
        took_s = self.until - self.began_at
        if self.refusals > AS_ADVERTISED and took_s >= LONG_BURST_S:
            return ThrottlePace(learned_s=took_s, learned_at=now)
        return ThrottlePace(learned_s=self.learned_s, learned_at=self.learned_at)


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
        for name in RETRY_AFTER:
            text = headers.get(name, "").strip()
            if not text:
                continue
            unit = "milliseconds" if is_in_ms(name) else "seconds"
            self._warn(
                name,
                f"`{name.title()}` is {text[:60]!r}, which is no time to come. Expected {unit} or "
                "a date in the future; Headrace waits by `limits.throttle_wait_s`, and longer each "
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

    Other forms than a number and a date are read as well (``wait_in``), and its kin in
    milliseconds: where ``Retry-After`` is that wait in whole seconds, the precise one holds; where
    they say different waits, the longest.
    """
    waits = {name: wait_in(name, headers, now, surely=True) for name in RETRY_AFTER}
    to_come = {name: wait_s for name, wait_s in waits.items() if wait_s is not None and wait_s > 0}
    precise = max((wait_s for name, wait_s in to_come.items() if is_in_ms(name)), default=None)
    longest = max(to_come.values(), default=None)
    if precise is None or longest is None:
        return None if longest is None else min(longest, MAX_BLOCK_S)
    return min(precise if longest - precise < WHOLE_S else longest, MAX_BLOCK_S)


def quota_left(
    headers: Mapping[str, str], rate: RateHeadersConfig | None, now: Callable[[], datetime]
) -> tuple[int | None, float | None]:
    """The quota by the API's headers: requests left, and seconds until it is full again."""
    if rate is None:
        return None, None
    if quota := structured(headers.get(rate.remaining.lower(), "")):
        return math.floor(quota[0]), quota[1]
    remaining = _number(headers, rate.remaining)
    reset_s = wait_in(rate.reset, headers, now)
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
        unit = "milliseconds" if is_in_ms(rate.reset) else "seconds"
        misfits.append(
            (
                rate.reset,
                f"`{rate.reset}` is {text[:60]!r}, expected {unit}, a duration such as 17s, or an "
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
    """The warning on a reset that is not in the unit of ``reset_is``; None if it is.

    A header whose name says milliseconds is in none that ``reset_is`` could say.
    """
    if rate is None or is_in_ms(rate.reset):
        return None
    reset = _number(headers, rate.reset)
    if reset is None or not reset or reset_unit(reset) == rate.reset_is:
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
        per_s = duration_in(text)
        per_s = seconds_of(rate.interval, text) if per_s is None else per_s
    if requests is None or requests <= 0 or per_s is None or not per_s > 0:
        return None
    if requests < 1:  # half a request a second is one in two
        requests, per_s = 1.0, per_s / requests
    return (int(requests), per_s) if per_s <= _MAX_PER_S else None


def _number(headers: Mapping[str, str], name: str) -> float | None:
    number = number_in(headers.get(name.lower(), ""))
    return number if number is not None and math.isfinite(number) else None


AGREE_S: Final = 2.0
"""Clocks that differ by less agree: ``Date`` has whole seconds, and took its time to come."""
WHOLE_S: Final = 1.0
"""What an instant without a fraction may lack: the API has cut it off."""
_PIECE: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
    r"(?![a-zA-Z])[\s,]*",
    re.IGNORECASE,
)
_ISO: Final = re.compile(r"P(?=[\dT])(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_CLOCK: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d\d(?:\.\d+)?)")
_EPOCHS: Final = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From which number on an epoch has so many units a second."""
_IN_MS: Final = re.compile(r"[-_](?:ms|millis|milliseconds?)$", re.IGNORECASE)
_UNIT_S: Final = {"ms": 0.001, "mi": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def is_in_ms(name: str) -> bool:
    """Whether a header's name says that its number is in milliseconds.

    >>> is_in_ms("X-Interval-Milliseconds"), is_in_ms("reset_ms"), is_in_ms("x-items")
    (True, True, False)
    """
    return _IN_MS.search(name) is not None


def seconds_of(name: str, text: str) -> float | None:
    """The number of a header in seconds, whichever unit its name says."""
    number = number_in(text)
    return number / 1000 if number is not None and is_in_ms(name) else number


def wait_in(
    name: str, headers: Mapping[str, str], now: Callable[[], datetime], *, surely: bool = False
) -> float | None:
    """Seconds from now that a header names, also if they are over; None: it names none.

    :param name: of the header.
    :param headers: of the response, names in lower case.
    :param surely: an instant has come only when the second after it has.
    """
    text = headers.get(name.lower(), "")
    number = seconds_of(name, text)
    if number is not None and (abs(number) < 1e9 or math.isinf(number)):
        return number
    if number is not None:
        unit = next((unit for least, unit in _EPOCHS if number > least), 1.0)
        return _until(number / unit, headers, now, surely=surely)
    if (seconds := duration_in(text)) is not None:
        return seconds
    at = instant_in(text)
    return None if at is None else _until(at.timestamp(), headers, now, surely=surely)


def number_in(text: str) -> float | None:
    """A number by itself, or before the parameters of a structured header: ``100;w=60``."""
    try:
        number = float(re.split(r"[;,]", text, maxsplit=1)[0])
    except ValueError:
        return None
    return None if math.isnan(number) else number


def duration_in(text: str) -> float | None:
    """Seconds of a duration with units."""
    text = text.strip()[:100]
    if iso := _ISO.fullmatch(text.upper()):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return days * 86_400 + hours * 3600 + minutes * 60 + seconds
    if by_clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in by_clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    pieces = list(_PIECE.finditer(text))
    if not pieces or "".join(piece[0] for piece in pieces) != text:
        return None
    return sum(float(piece[1]) * _unit_s(piece[2].lower()) for piece in pieces)


def _unit_s(unit: str) -> float:
    if unit.startswith("mil"):
        return _UNIT_S["ms"]
    return _UNIT_S.get(unit[:2]) or _UNIT_S[unit[:1]]


def instant_in(text: str) -> datetime | None:
    """An instant as a date of HTTP or of ISO 8601; without a zone it is UTC."""
    text = text.strip()
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            instant = read(text)
            return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _until(
    at_s: float, headers: Mapping[str, str], now: Callable[[], datetime], *, surely: bool
) -> float:
    """Seconds until an instant, by the API's clock if it is not ours."""
    ours = now()
    theirs = server_time(headers)
    differs = theirs is not None and abs((theirs - ours).total_seconds()) > AGREE_S
    clock_s = (theirs if theirs is not None and differs else ours).timestamp()
    cut_off = (surely or differs) and at_s == int(at_s)
    return at_s - clock_s + (WHOLE_S if cut_off else 0.0)
