"""The limits of an API key, as plain frozen values. Seconds and requests; no clock, no I/O."""

import math
from dataclasses import dataclass
from functools import cached_property

from pipeline.errors import ConfigError

MAX_WINDOWS = 8
MAX_REQUESTS = 1_000_000


@dataclass(frozen=True)
class RateWindow:
    """At most ``requests`` in any stretch of ``per_s`` seconds."""

    requests: int
    per_s: float

    def __post_init__(self) -> None:
        if not 1 <= self.requests <= MAX_REQUESTS:
            raise ConfigError(
                f"A rate limit needs 1 to {MAX_REQUESTS} requests a window, not {self.requests}."
            )
        if not (math.isfinite(self.per_s) and self.per_s > 0):
            raise ConfigError(f"A rate limit's window must be over 0 seconds, not {self.per_s}.")


@dataclass(frozen=True)
class Limits:
    """The limits of one API key; every window holds at the same time.

    :param in_flight: requests that may be under way at once, over all processes.
    :param throttle_wait_s: the pause of all processes after a 429 that names no wait; None:
        ``reservation.default_wait_s``.
    """

    windows: tuple[RateWindow, ...]
    in_flight: int
    throttle_wait_s: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.windows) <= MAX_WINDOWS:
            raise ConfigError(
                f"A budget needs 1 to {MAX_WINDOWS} rate windows, not {len(self.windows)}."
            )
        if self.in_flight < 1:
            raise ConfigError(f"in_flight must be at least 1, not {self.in_flight}.")
        wait_s = self.throttle_wait_s or 0.0
        if not (math.isfinite(wait_s) and wait_s >= 0):
            raise ConfigError(f"throttle_wait_s must be 0 or more, not {wait_s}.")

    @cached_property
    def shortest(self) -> RateWindow:
        """The window that comes round first: jitter is felt there."""
        return min(self.windows, key=lambda window: window.per_s)

    @cached_property
    def longest_s(self) -> float:
        return max(window.per_s for window in self.windows)


def part_of(whole: int, share: float) -> int:
    """How many of ``whole`` a user with ``share`` may take: rounded down, at least one."""
    return max(1, int(whole * share + 1e-9))
