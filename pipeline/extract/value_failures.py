"""The failure policies: the effect of a value of a fan-out that can't be read. Pure.

=================  =========================================================================
``FailPartition``  it fails the partition
``ListFailures``   it is listed, and the others go on, up to a share of failed ones
``LaneFailures``   the same for lanes, which end in an outcome: rows, none, denied, throttled,
                   failed
=================  =========================================================================
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, NoReturn, Self

from pipeline.config.each import lists_of
from pipeline.config.endpoint import Endpoint
from pipeline.errors import (
    ApiUnavailable,
    AuthError,
    ContractBroken,
    HeadraceError,
    RateLimited,
    RequestRefused,
    Retryable,
    Unreachable,
)
from pipeline.extract.position import FailedValue

OUTCOMES: Final = ("rows", "none", "denied", "throttled", "failed")
_LONGEST_REASON: Final = 300
_MOST_LISTED: Final = 100
"""Failed values that a manifest lists; their number counts all."""
_MOST_LANES: Final = 2_000
"""Lanes without rows that a manifest lists, the failed ones first; their number counts all."""


@dataclass(frozen=True)
class FailurePolicy(ABC):
    """The effect that a value which can't be read has on the others, and on the partition.

    :ivar max_failed_share: of all values, 0 to 1.
    :ivar timeout_s: a value that takes longer has failed, where one may; None = no limit.
    :ivar parent: the endpoint whose rows the values are of.
    :ivar key: of the YAML, whose ``max_failed_share`` it is.
    :ivar followed: no value may fail, since the next partition is committed already.
    :cvar errors: those that are the value's own; any other ends the reading.
    :cvar lists: a value that fails is listed, and the others go on.
    :cvar rereads: a later attempt reads the values again that failed in an earlier one.
    """

    max_failed_share: float = 0.0
    timeout_s: float | None = None
    parent: str = ""
    key: str = "parents"
    followed: bool = False
    errors: ClassVar[tuple[type[Exception], ...]] = (RequestRefused, ContractBroken, TimeoutError)
    lists: ClassVar[bool] = True
    rereads: ClassVar[bool] = False

    @property
    def passes_over(self) -> bool:
        """Whether a partition may be committed without a value that can't be read."""
        return self.max_failed_share > 0

    @property
    def noun(self) -> str:
        """What the values are, for messages."""
        return "parents" if self.key == "parents" else "values"

    def when_followed(self) -> Self:
        """The policy of a partition after which another one is committed already."""
        return replace(self, max_failed_share=0.0, followed=True)

    def failed(self, name: str, error: Exception) -> FailedValue:
        """A value that an error has ended."""
        kind, reason = type(error).__name__, str(error)
        if isinstance(error, TimeoutError):
            kind, reason = "timeout", f"not read within {self.timeout_s or 0:g} s"
        return FailedValue(name, kind, reason[:_LONGEST_REASON])

    @abstractmethod
    def summary(self, failed: Sequence[FailedValue], values: int, with_rows: int) -> dict[str, Any]:
        """For the manifest: how many values were requested, and which failed."""

    @abstractmethod
    def check(self, failed: Sequence[FailedValue], values: int) -> None:
        """:raises ContractBroken, ApiUnavailable: more of the values failed than may."""

    @property
    def _allowed(self) -> str:
        if self.followed:
            return "none may, since the next partition is committed"
        return f"at most {self.max_failed_share:.1%} may (`{self.key}.max_failed_share`)"


@dataclass(frozen=True)
class FailPartition(FailurePolicy):
    """A value that fails ends the reading with its error."""

    key: str = "each"
    lists: ClassVar[bool] = False

    def failed(self, name: str, error: Exception) -> NoReturn:
        """:raises Exception: the error."""
        raise error

    def summary(self, failed: Sequence[FailedValue], values: int, with_rows: int) -> dict[str, Any]:
        return {"asked": values, "failed": 0, "failures": []}

    def check(self, failed: Sequence[FailedValue], values: int) -> None:
        """None has failed."""


FAIL_PARTITION: Final = FailPartition()


@dataclass(frozen=True)
class ListFailures(FailurePolicy):
    """A value that fails is listed, and the others go on; too many of them fail the partition."""

    def summary(self, failed: Sequence[FailedValue], values: int, with_rows: int) -> dict[str, Any]:
        return {
            "asked": values,
            "failed": len(failed),
            "failures": [each.to_json() for each in failed[:_MOST_LISTED]],
        }

    def check(self, failed: Sequence[FailedValue], values: int) -> None:
        share = len(failed) / max(1, values)
        if not failed or share <= self.max_failed_share:
            return
        first = failed[0]
        dot = "" if first.reason.endswith((".", "?")) else "."
        noun = self.noun
        leaves = (
            f" {noun.capitalize()} that are deleted at the API leave the list when `{self.parent}` "
            "is materialized again" + (" for this partition" if self.key == "parents" else "")
            if self.parent
            else ""
        )
        if self.followed:
            leaves = (
                " The next partition does not read back for them. "
                f"Materialize both partitions together.{leaves}"
            )
        raise ContractBroken(
            f"{len(failed)} of {values} {noun} failed, and {self._allowed}; the first is "
            f"`{first.value}`: {first.reason}{dot}{leaves}"
        )


@dataclass(frozen=True)
class LaneFailures(FailurePolicy):
    """The policy of lanes (accounts and regions): each ends in an outcome, and all are counted.

    ``none`` (an error that says that there is nothing) and ``denied`` are no failures. Whatever
    else goes wrong in a lane is the lane's own, as each has a host, a session and limits of its
    own; if too many fail, and a later attempt may read them, that attempt reads these alone.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (
        RequestRefused,
        ContractBroken,
        TimeoutError,
        AuthError,
        Unreachable,
        ApiUnavailable,
        RateLimited,
    )
    rereads: ClassVar[bool] = True

    @property
    def passes_over(self) -> bool:
        """Whatever the share: one that is denied, or has nothing, is no failure."""
        return True

    @property
    def noun(self) -> str:
        return "lanes"

    def failed(self, name: str, error: Exception) -> FailedValue:
        plain = super().failed(name, error)
        if not isinstance(error, HeadraceError):
            return replace(plain, retryable=True)
        kind = error.code or plain.kind
        message = str(error).partition(f"each {name}: ")[2] or str(error)
        reason = message[:_LONGEST_REASON] if error.outcome in ("failed", "throttled") else ""
        retryable = isinstance(error, Retryable | Unreachable)
        return FailedValue(name, kind, reason, error.outcome, retryable)

    def summary(self, failed: Sequence[FailedValue], values: int, with_rows: int) -> dict[str, Any]:
        """Every lane by its outcome, and those without rows by reason."""
        counts = Counter(each.outcome for each in failed)
        counts["rows"] = with_rows
        counts["none"] += values - with_rows - len(failed)
        reasons = Counter((each.outcome, each.kind) for each in failed)
        listed = sorted(failed, key=lambda each: not each.has_failed)
        return {
            "asked": values,
            "failed": sum(each.has_failed for each in failed),
            "failures": [each.to_json() for each in listed[:_MOST_LANES]],
            "lanes": {name: counts[name] for name in OUTCOMES},
            "reasons": [[*reason, count] for reason, count in sorted(reasons.items())],
        }

    def check(self, failed: Sequence[FailedValue], values: int) -> None:
        broken = [each for each in failed if each.has_failed]
        if not broken or len(broken) / max(1, values) <= self.max_failed_share:
            return
        first = broken[0]
        text = (
            f"{len(broken)} of {values} lanes failed, and {self._allowed}; the first is "
            f"`{first.value}`: {first.reason}"
        )
        if self.followed:
            text += ". The next partition does not read back for them: materialize both together"
        if any(each.retryable for each in broken):
            raise ApiUnavailable(text)
        raise ContractBroken(text)


def policy_of(endpoint: Endpoint) -> FailurePolicy:
    """The policy of the YAML."""
    parents, each = endpoint.parents, endpoint.each
    if parents is not None:
        return ListFailures(parents.max_failed_share, parents.timeout_s, parents.endpoint)
    if each is None or not each.lists_failures:
        return FAIL_PARTITION
    if each.in_lanes:
        return LaneFailures(each.max_failed_share, each.timeout_s, key="each")
    above = next((of.endpoint for of in lists_of(endpoint) if of.endpoint), "")
    return ListFailures(each.max_failed_share, each.timeout_s, above, "each")


def lanes_in_words(outcomes: Mapping[str, Any], lanes: Mapping[str, int]) -> str:
    """The outcomes of the lanes, for a check: how many of each, and why some have no rows."""
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in lanes.items() if number)
    reasons = ", ".join(
        f"{count:,} {outcome} by {code}" for outcome, code, count in outcomes.get("reasons", ())
    )
    text = f"{outcomes['asked']:,} lanes: {counts or 'none'}" + (f" ({reasons})" if reasons else "")
    if not outcomes.get("failed"):
        return text
    first = outcomes["failures"][0]
    return (
        f"{text}; those that failed or were denied keep their rows of the partition before, marked "
        f"`_stale`; the first is `{first['parent']}`: {first['reason']}"
    )
