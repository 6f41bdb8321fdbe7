"""A ring of the last send times, in order, inside the cells. Pure; each step is O(users), not O(N).

Other users' reservations lie in the future, so an entry is put in its place from the newest end.
Where the ring has forgotten, its oldest entry stands in: the answer errs on the late side.
"""

from __future__ import annotations

from pipeline.ratelimit.state_layout import CAP, COUNT, LONG_AGO, LOW_COUNT, ring_starts


class Ring:
    """The sorted send times of one class of users, inside the cells."""

    __slots__ = ("cap", "cells", "count", "start")

    def __init__(self, cells: memoryview[float], low: bool) -> None:
        self.cells = cells
        self.start = ring_starts(cells)[low]
        self.count = LOW_COUNT if low else COUNT
        self.cap = int(cells[CAP])

    def back(self, at: float, n: int, skip: float | None = None) -> float:
        """The n-th last entry at or before ``at``, not counting one entry ``skip``."""
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        oldest = max(0, count - cap)
        seq = count - 1
        while seq >= oldest and cells[start + seq % cap] > at:
            seq -= 1
        seq -= n - 1
        if skip is not None and seq >= 0 and at >= skip >= cells[start + max(seq, oldest) % cap]:
            seq -= 1
        if seq < 0:
            return LONG_AGO
        return cells[start + max(seq, oldest) % cap]

    def insert(self, at: float) -> None:
        """Add a time, in order. The count is raised last: a kill before that loses nothing."""
        cells, cap, start = self.cells, self.cap, self.start
        seq = count = int(cells[self.count])
        while seq > max(0, count - cap + 1) and cells[start + (seq - 1) % cap] > at:
            cells[start + seq % cap] = cells[start + (seq - 1) % cap]
            seq -= 1
        cells[start + seq % cap] = at
        cells[self.count] = count + 1

    def find(self, at: float) -> int | None:
        """The entry with exactly this time, if the ring still holds it."""
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        for seq in range(count - 1, max(-1, count - cap - 1), -1):
            if cells[start + seq % cap] <= at:
                return seq if cells[start + seq % cap] == at else None
        return None

    def move(self, old: float, new: float) -> None:
        """Move an entry to a later time, in order; without the old one, add it."""
        seq = self.find(old)
        if seq is None:
            self.insert(new)
            return
        cells, cap, start = self.cells, self.cap, self.start
        count = int(cells[self.count])
        while seq + 1 < count and cells[start + (seq + 1) % cap] < new:
            cells[start + seq % cap] = cells[start + (seq + 1) % cap]
            seq += 1
        cells[start + seq % cap] = new

    def forget(self, at: float) -> bool:
        """Take an entry out, wherever it is; killed in between, a later one counts twice."""
        seq = self.find(at)
        if seq is None:
            return False
        cells, cap, start = self.cells, self.cap, self.start
        newest = int(cells[self.count]) - 1
        for later in range(seq, newest):
            cells[start + later % cap] = cells[start + (later + 1) % cap]
        return self.drop_newest(cells[start + newest % cap])

    def drop_newest(self, at: float) -> bool:
        """Forget the newest entry, if that is its time."""
        count = int(self.cells[self.count])
        if count == 0 or self.cells[self.start + (count - 1) % self.cap] != at:
            return False
        self.cells[self.count] = count - 1
        self.cells[self.start + (count - 1) % self.cap] = LONG_AGO
        return True
