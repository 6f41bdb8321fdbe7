"""A collection of rows in memory that changes under the reader: the adversary of the proof.

It implements ``PageSource``. Before each response rows may come, leave the window or be deleted;
responses are delayed in a random order that a seed decides; the faults are those of real servers.
"""

import asyncio
import random
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.extract.pages import ParsedPage
from pipeline.pagination.page import Key, PageInfo, PageRequest

Fault = Callable[[PageRequest, list[int]], list[int]]


@dataclass
class Moving:
    """Rows are their keys. ``throughout`` are those that nothing has happened to so far."""

    rows: list[int]
    rng: random.Random
    changes: int = 0
    counts: bool = True
    wrong_count: Callable[[int], int] = lambda count: count
    cap: int | None = None
    fault: Fault | None = None
    fault_at: frozenset[int] = frozenset()
    descending: bool = False
    text_keys: bool = False
    first_offset: int = 0
    most_delay: int = 4
    ignored: frozenset[str] = frozenset()
    total_in_page: bool = False
    always_there: int | None = None
    counted: int | None = None

    def __post_init__(self) -> None:
        self.rows.sort()
        self.throughout = set(self.rows)
        assert self.always_there is None or self.always_there in self.throughout
        self.requests = 0
        self.open = self.most_open = 0

    async def page(self, request: PageRequest) -> ParsedPage:
        await self._delay()
        number = self.requests
        keys = self.keys_of_page(request)
        if self.fault is not None and number in self.fault_at:
            keys = self.fault(request, keys)
        page = self.parsed(request, keys)
        await self._delay(back=True)
        return page

    async def count(self, request: PageRequest) -> int | None:
        if not self.counts:
            return None
        await self._delay()
        count = self.wrong_count(len(self._matching(request)))
        if request.after is None and request.before is None:
            self.counted = count
        await self._delay(back=True)
        return count

    def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
        shown = [self.shown(key) for key in keys]
        kind = pa.string() if self.text_keys else pa.uint64()
        first: Key = shown[0] if shown else None
        last: Key = shown[-1] if shown else None
        total = len(self.rows) if self.total_in_page else None
        info = PageInfo(len(keys), first, last, total=total)
        return ParsedPage(request, info, pa.table({"id": pa.array(shown, kind)}))

    def shown(self, key: int) -> int | str:
        return f"k{key:06}" if self.text_keys else key

    def _hidden(self, key: Key) -> int:
        return int(str(key).removeprefix("k"))

    def _matching(self, request: PageRequest) -> list[int]:
        low, high = (
            (request.before, request.after) if self.descending else (request.after, request.before)
        )
        if "after" in self.ignored:
            low = high = None
        rows = self.rows
        if low is not None:
            rows = rows[bisect_right(rows, self._hidden(low)) :]
        if high is not None:
            rows = [row for row in rows if row < self._hidden(high)]
        return rows[::-1] if self.descending else rows

    def keys_of_page(self, request: PageRequest) -> list[int]:
        start = 0 if "offset" in self.ignored else (request.offset or self.first_offset)
        start = max(0, start - self.first_offset)
        limit = request.limit if self.cap is None else min(request.limit, self.cap)
        return self._matching(request)[start : start + limit]

    async def _delay(self, back: bool = False) -> None:
        if not back:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        for _ in range(self.rng.randint(0, self.most_delay)):
            await asyncio.sleep(0)
        if back:
            self.open -= 1
        else:
            self.requests += 1
            self.change()

    def change(self) -> None:
        """Up to three changes, while there are any left."""
        for _ in range(min(self.changes, self.rng.choice((0, 0, 1, 1, 2, 3)))):
            self.changes -= 1
            if self.rows and self.rng.random() < 0.6:
                row = self.rng.choice(self.rows)
                if row != self.always_there:
                    self.rows.remove(row)
                    self.throughout.discard(row)
            else:
                new = self.rng.randrange(0, 3 * len(self.rows) + 10)
                if new not in self.rows:
                    insort(self.rows, new)
                    self.throughout.discard(new)
