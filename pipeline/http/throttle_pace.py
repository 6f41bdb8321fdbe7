"""How long to wait where an API says "too many requests" and no usable time, or a wrong one. Pure.

Refusals that come one after another, each to a request that left after the pause before it, make a
burst. The first two of it wait as the API, the YAML or the budget says; from then on the wait
doubles, so that an API whose ``Retry-After: 0`` is wrong gets a few requests and not hundreds. How
long a long burst took is remembered, and the next one waits for that at once.

A wait over ``MAX_WAIT_S`` ends the step, as one of hours does that the API names: Dagster starts it
again after it.
"""

from dataclasses import dataclass, replace
from typing import Final

FIRST_S: Final = 1.0
AS_SAID: Final = 2
"""Refusals in a row that wait as said."""
LONG_S: Final = 4.0
"""A burst that lasts longer has taught something."""
KEPT_S: Final = 600.0
"""Seconds for which that is remembered."""
MAX_WAIT_S: Final = 600.0


@dataclass(frozen=True)
class ThrottlePace:
    """What the refusals so far have taught. Times are seconds on one clock.

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
        if number > AS_SAID:
            base_s = FIRST_S if usual_s is None else usual_s
            wait_s = max(said_s or 0.0, min(MAX_WAIT_S, base_s * 2 ** (number - AS_SAID)))
        if self.learned_s and now - self.learned_at < KEPT_S:
            wait_s = max(wait_s or 0.0, began_at + self.learned_s - now)
        paused_s = wait_s if wait_s is not None else usual_s or FIRST_S / 4
        return replace(self, refusals=number, began_at=began_at, until=now + paused_s), wait_s

    def passed(self, now: float, left_at: float) -> "ThrottlePace":
        """A request was not refused: one that left after the last pause ends the burst."""
        if not self.refusals or left_at < self.until:
            return self
        took_s = self.until - self.began_at
        if self.refusals > AS_SAID and took_s >= LONG_S:
            return ThrottlePace(learned_s=took_s, learned_at=now)
        return ThrottlePace(learned_s=self.learned_s, learned_at=self.learned_at)
