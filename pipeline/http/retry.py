"""Retries: how long a request waits before it is sent again, and when none is sent. Pure.

==========  =======================================  =============================================
kind        what failed                              wait before the next attempt
==========  =======================================  =============================================
TIMEOUT     connect, read or total time ran out      exponential with jitter, capped
ERROR       5xx, lost connection                     exponential with jitter, capped
BODY        a body that can't be read                the same
FORMAT      a body of another format                 the same, once
THROTTLED   429 and its kin                          the API's, else the fixed one; by the budget
==========  =======================================  =============================================

A host that takes connections and has not responded once in a run is given up after ``SILENT``
retries of a timeout: waiting longer would only hide that the address or a proxy is wrong. A host
that has responded gets ``RetriesConfig.timeouts``.

The sum of the waits of a run is bounded as well (``RetriesConfig.total_s``), so that a sick API
ends a run in minutes. Waits for throttling don't count: the API is well, and says when to come
back.

*Waits that a header says*:

================================  ==============================================================
form                              e.g.
================================  ==============================================================
seconds                           ``30``, ``0.5``
epoch, in s, ms, µs or ns         ``1795132800``: no quota takes thirty years
duration                          ``17s``, ``6m0s``, ``1.5 min``, ``0:01:30``, ISO 8601's ``PT17S``
date (RFC 9110) or ISO 8601       ``Thu, 05 Nov 2026 13:01:30 GMT``, ``2026-11-05T13:01:30Z``
================================  ==============================================================

An instant is read by the clock of the API, which the ``Date`` of the same response shows: the two
clocks may be hours apart.

*Throttling* where an API says "too many requests" and no usable time, or a wrong one. Refusals that
come one after another, each to a request that left after the pause before it, make a burst. The
first two of it wait as the API, the YAML or the budget says; from then on the wait doubles, so that
an API whose ``Retry-After: 0`` is wrong gets a few requests and not hundreds. How long a long burst
took is remembered, and the next one waits for that at once.

A wait over ``MAX_THROTTLED_S`` ends the step, as a wait of hours does that the API names: Dagster
starts the step again after the wait.

*The breaker* stops requests to an API that is down. A source has one, over all its requests:

==========  ==================  ===========  ============================================
state       on                  becomes      what a request does in this state
==========  ==================  ===========  ============================================
CLOSED      success             CLOSED       goes out
CLOSED      n failures in a row OPEN         –
OPEN        –                   –            is refused; the step ends and asks for a wait
HALF_OPEN   success             CLOSED       one goes out, the others wait for its result
HALF_OPEN   failure             OPEN         –
==========  ==================  ===========  ============================================

A step that ended with an open breaker is started again by Dagster after ``open_s`` in a new
process: its breaker begins half open.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from pipeline.config.limits import RetriesConfig

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
_UNIT_S: Final = {"ms": 0.001, "mi": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def wait_in(
    text: str, headers: Mapping[str, str], now: Callable[[], datetime], *, surely: bool = False
) -> float | None:
    """Seconds from now that a header names, also if they are over; None: it names none.

    :param headers: of the same response, names in lower case.
    :param surely: an instant has come only when the second after it has.
    """
    number = number_in(text)
    if number is not None and (abs(number) < 1e9 or math.isinf(number)):
        return number
    if number is not None:
        unit = next((unit for least, unit in _EPOCHS if number > least), 1.0)
        return _until(number / unit, headers, now, surely)
    if (seconds := duration_in(text)) is not None:
        return seconds
    at = instant_in(text)
    return None if at is None else _until(at.timestamp(), headers, now, surely)


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


def clock_of(headers: Mapping[str, str]) -> datetime | None:
    """The time that the API's clock showed when it responded."""
    try:
        instant = parsedate_to_datetime(headers.get("date", ""))
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _until(
    at_s: float, headers: Mapping[str, str], now: Callable[[], datetime], surely: bool
) -> float:
    """Seconds until an instant, by the API's clock if it is not ours."""
    ours = now()
    theirs = clock_of(headers)
    differs = theirs is not None and abs((theirs - ours).total_seconds()) > AGREE_S
    clock_s = (theirs if theirs is not None and differs else ours).timestamp()
    cut_off = (surely or differs) and at_s == int(at_s)
    return at_s - clock_s + (WHOLE_S if cut_off else 0.0)


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


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


_ALL_WELL: Final = (BreakerState.CLOSED, 0)


@dataclass(frozen=True)
class Breaker:
    """A state and the failures in a row that led to it."""

    most_failures: int
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0

    def succeeded(self) -> "Breaker":
        """A response came from an API that is up (any that isn't a failure)."""
        if self.state is BreakerState.OPEN or (self.state, self.failures) == _ALL_WELL:
            return self
        return replace(self, state=BreakerState.CLOSED, failures=0)

    def failed(self) -> "Breaker":
        """A request failed: no response, 5xx, or a body that can't be read."""
        failures = self.failures + 1
        if self.state is BreakerState.HALF_OPEN or failures >= self.most_failures:
            return replace(self, state=BreakerState.OPEN, failures=failures)
        return replace(self, failures=failures)


SILENT = 1


class FailureKind(Enum):
    TIMEOUT = "timeout"
    ERROR = "error"
    BODY = "body"
    FORMAT = "format"
    THROTTLED = "throttled"


class AttemptFailed(Exception):
    """An attempt failed in a way that a retry may mend."""

    def __init__(
        self,
        kind: FailureKind,
        reason: str,
        *,
        of_token: bool = False,
        of_proxy: bool = False,
        may_be_absent: bool = False,
        responded: bool = False,
        checks: Sequence[str] = (),
    ) -> None:
        """:param of_token: the token endpoint failed, and not the API.
        :param of_proxy: a proxy failed, on the way to the API.
        :param may_be_absent: nothing shows that the API is there: no connection, or no HTTP.
        :param responded: a whole response came, and can't be read.
        :param checks: what to check if no retry helps.
        """
        super().__init__(reason)
        self.kind = kind
        self.of_token = of_token
        self.of_proxy = of_proxy
        self.may_be_absent = may_be_absent
        self.responded = responded
        self.checks = checks


@dataclass
class RetryBudget:
    """The cost of a run's retries so far, over all its requests.

    :ivar responded: the API has responded to a request of this run, in whatever way.
    :ivar failures: attempts that failed, by kind.
    """

    responded: bool = False
    waited_s: float = 0.0
    failures: Counter[FailureKind] = field(default_factory=Counter)


def wait_s(
    kind: FailureKind,
    failures: int,
    spent: RetryBudget,
    policy: RetriesConfig,
    random: Callable[[], float],
) -> float | None:
    """Seconds to wait before attempt ``failures + 1`` at a page; None = give up.

    :param failures: how often this page has failed in this way, from 1.
    :param random: uniform in [0, 1): full jitter over the upper half of the wait.
    """
    if kind is FailureKind.THROTTLED:
        return None if failures > policy.throttled else 0.0
    most = policy.timeouts if kind is FailureKind.TIMEOUT else policy.errors
    if kind is FailureKind.TIMEOUT and not spent.responded:
        most = min(most, SILENT)
    if kind is FailureKind.FORMAT:
        most = min(most, 1)
    if failures > most:
        return None
    full_s = min(policy.max_wait_s, policy.first_wait_s * 2 ** (failures - 1))
    wait = full_s * (0.5 + 0.5 * random())
    return None if spent.waited_s + wait > policy.total_s else wait
