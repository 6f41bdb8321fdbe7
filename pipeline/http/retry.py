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

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from pipeline.config.limits import RetriesConfig

SILENT: Final = 1


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
