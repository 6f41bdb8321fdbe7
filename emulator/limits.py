"""IGDB's two limits: requests in any window, and open requests.

Refused requests count towards neither. Times are seconds of one monotonic clock, given by
the caller.
"""

from collections import deque

from emulator.settings import EmulatorSettings


class EmulatedLimits:
    """A strict sliding window: the window `(now - per_s, now]` never holds more than `rate`."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self._settings = settings
        self._accepted: deque[float] = deque()
        self.open = 0

    def enter(self, now: float) -> bool:
        """Whether the request is accepted; if so, `leave` must follow."""
        settings = self._settings
        while self._accepted and self._accepted[0] <= now - settings.per_s:
            self._accepted.popleft()
        if settings.in_flight and self.open >= settings.in_flight:
            return False
        if settings.rate and len(self._accepted) >= settings.rate:
            return False
        self._accepted.append(now)
        self.open += 1
        return True

    def leave(self) -> None:
        """An accepted request has been answered."""
        self.open -= 1
