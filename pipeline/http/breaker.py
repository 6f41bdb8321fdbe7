"""The breaker stops requests to an API that is down. One a source, over all its requests.

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

from dataclasses import dataclass, replace
from enum import Enum


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass(frozen=True)
class Breaker:
    """A state and the failures in a row that led to it."""

    most_failures: int
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0

    def succeeded(self) -> "Breaker":
        """A response came from an API that is up (any that isn't a failure)."""
        if self.state is BreakerState.OPEN:
            return self
        return replace(self, state=BreakerState.CLOSED, failures=0)

    def failed(self) -> "Breaker":
        """A request failed: no response, 5xx, or a body that can't be read."""
        failures = self.failures + 1
        if self.state is BreakerState.HALF_OPEN or failures >= self.most_failures:
            return replace(self, state=BreakerState.OPEN, failures=failures)
        return replace(self, failures=failures)
