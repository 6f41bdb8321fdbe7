"""Retries of a page: how many, and after how long, by kind of failure. Pure.

==========  =======================================  =============================================
kind        what failed                              wait before the next attempt
==========  =======================================  =============================================
TIMEOUT     connect, read or total time ran out      exponential with jitter, capped
ERROR       5xx, lost connection, bad body           exponential with jitter, capped
FORMAT      a body of another format                 the same, once
THROTTLED   429 and its kin                          the API's, else the fixed one; by the budget
==========  =======================================  =============================================

A host that takes connections and has not responded once in a run is given up after ``SILENT``
retries of a timeout: waiting longer would only hide that the address or a proxy is wrong. A host
that has responded gets ``RetriesConfig.timeouts``.

The sum of the waits of a run is bounded as well (``RetriesConfig.total_s``), so that a sick API
ends a run in minutes. Waits for throttling don't count: the API is well, and says when to come
back.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pipeline.config.limits import RetriesConfig

SILENT = 1


class FailureKind(Enum):
    TIMEOUT = "timeout"
    ERROR = "error"
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
        unconnected: bool = False,
    ) -> None:
        """:param of_token: it was the token endpoint that failed, and not the API.
        :param unconnected: there was no connection.
        """
        super().__init__(reason)
        self.kind = kind
        self.of_token = of_token
        self.unconnected = unconnected


@dataclass
class RetryBudget:
    """What the retries of a run have cost so far, over all its requests.

    :ivar answered: the API has responded to a request of this run, in whatever way.
    :ivar failures: attempts that failed, by kind.
    """

    answered: bool = False
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
    if kind is FailureKind.TIMEOUT and not spent.answered:
        most = min(most, SILENT)
    if kind is FailureKind.FORMAT:
        most = min(most, 1)
    if failures > most:
        return None
    full_s = min(policy.max_wait_s, policy.first_wait_s * 2 ** (failures - 1))
    wait = full_s * (0.5 + 0.5 * random())
    return None if spent.waited_s + wait > policy.total_s else wait
