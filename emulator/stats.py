"""What was asked of the API. Times are monotonic seconds, and epoch seconds where said."""

from collections import Counter, deque
from collections.abc import Sequence


class Stats:
    """Counts since the last reset; `epoch_s` is added to a monotonic time to get epoch seconds."""

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._arrivals: list[float] = []
        self._refused: list[float] = []
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._subqueries = 0
        self._rows = 0
        self._bytes = 0
        self._most_open = 0

    def accepted(self, now: float, open_: int) -> None:
        """A request came and was let in, as one of `open_`."""
        self._arrivals.append(now)
        self._most_open = max(self._most_open, open_)

    def refused(self, now: float, path: str) -> None:
        """A request came and got a 429."""
        self._refused.append(now)
        self._outcomes[path, "429"] += 1

    def answered(self, path: str, outcome: str, rows: int, subqueries: int, bytes_: int) -> None:
        """What an accepted request ended in: a status, or the kind of a fault."""
        self._outcomes[path, outcome] += 1
        self._rows += rows
        self._subqueries += subqueries
        self._bytes += bytes_

    def shown(self, open_: int, per_s: float) -> dict[str, object]:
        """As JSON."""
        by_path: dict[str, dict[str, int]] = {}
        by_status: Counter[str] = Counter()
        for (path, outcome), count in sorted(self._outcomes.items()):
            by_path.setdefault(path, {})[outcome] = count
            by_status[outcome] += count
        times = sorted((*self._arrivals, *self._refused))
        first, last = (times[0], times[-1]) if times else (None, None)
        return {
            "requests": len(times),
            "accepted": len(self._arrivals),
            "throttled": len(self._refused),
            "by_status": dict(by_status),
            "by_path": by_path,
            "subqueries": self._subqueries,
            "rows": self._rows,
            "bytes": self._bytes,
            "open": open_,
            "max_open": self._most_open,
            "max_in_1s": most_in_window(self._arrivals, 1.0),
            "max_in_window": most_in_window(self._arrivals, per_s),
            "first_monotonic_s": first,
            "last_monotonic_s": last,
            "first_epoch_s": None if first is None else first + self._epoch_s,
            "last_epoch_s": None if last is None else last + self._epoch_s,
            "arrivals_epoch_s": [time + self._epoch_s for time in self._arrivals],
            "throttled_epoch_s": [time + self._epoch_s for time in self._refused],
        }


def most_in_window(times: Sequence[float], window_s: float) -> int:
    """The most of `times`, which rise, in any half-open window of that length."""
    inside: deque[float] = deque()
    most = 0
    for time in times:
        inside.append(time)
        while inside[0] <= time - window_s:
            inside.popleft()
        most = max(most, len(inside))
    return most
