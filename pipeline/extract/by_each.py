"""The pages of each value of a list: every value under the proof that it would have alone.

Several values are read side by side, and handed on in the order of the list. A value that can't be
read fails the partition: passed over, its rows of this window would never be asked for again.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from pipeline.extract.agreement import ONE_PAGE, weaker
from pipeline.extract.by_key import ByKey
from pipeline.extract.chains import ByChain
from pipeline.extract.fetch import Fetched, Pages
from pipeline.extract.handed import Handed, Tally
from pipeline.extract.lanes import in_order
from pipeline.paging.pagers import Ask

Value = str | int


class PagesOf:
    """The pages of one parent, or of one value of ``each``."""

    def __init__(self, pages: Pages, value: Value) -> None:
        self._pages, self._value = pages, value

    async def page(self, ask: Ask) -> Fetched:
        return await self._pages.page(replace(ask, parent=self._value))

    async def count(self, ask: Ask) -> int | None:
        return await self._pages.count(replace(ask, parent=self._value))


class ByEach:
    """Reads the values one after the other, some ahead of the one whose pages are handed on.

    :ivar tally: the sum of those of the values; a page counts once its value's turn has come.
    """

    def __init__(
        self,
        values: Sequence[Value],
        reader: Callable[[Value], ByKey | ByChain],
        concurrency: int,
    ) -> None:
        """:param reader: what reads the pages of one value."""
        self._values = values
        self._reader = reader
        self._concurrency = concurrency
        self._reading: dict[int, Tally] = {}
        self._pages = 0  # of values that have ended
        self._proved = True
        self.tally = Tally()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        """:param position: where an earlier try stopped: in which value, and where there.
        :raises StartOver: as the reader of the value that the earlier try was in.
        """
        begin = position or _BEGIN
        first, self._proved = begin["value"], begin["proved"]
        self.tally.rests_on, self._pages = begin["rests_on"], self.tally.pages

        async def pages_of(index: int) -> AsyncGenerator[tuple[int, Handed | None], None]:
            reader = self._reader(self._values[index])
            self._reading[index] = reader.tally
            async with aclosing(reader.run(begin["inside"] if index == first else None)) as pages:
                async for handed in pages:
                    yield index, handed
            yield index, None

        numbers = range(first, len(self._values))
        async with aclosing(in_order(numbers, pages_of, lambda: self._concurrency)) as read:
            async for index, handed in read:
                if handed is None:
                    self._ended(self._reading.pop(index))
                else:
                    yield self._handed(index, handed)
        self.tally.contiguous = self._proved

    def _handed(self, index: int, handed: Handed) -> Handed:
        self.tally.rows += handed.table.num_rows
        self.tally.pages = self._pages + sum(tally.pages for tally in self._reading.values())
        position = {
            "value": index,
            "inside": handed.position,
            "proved": self._proved,
            "rests_on": self.tally.rests_on,
        }
        return Handed(handed.table, position, handed.arrow_bytes)

    def _ended(self, of_value: Tally) -> None:
        tally = self.tally
        self._proved &= of_value.contiguous
        tally.rests_on = weaker(tally.rests_on, of_value.rests_on)
        self._pages += of_value.pages
        tally.pages = max(tally.pages, self._pages)
        tally.gaps_refetched += of_value.gaps_refetched
        tally.repeated_rows += of_value.repeated_rows
        tally.passes = max(tally.passes, of_value.passes)


_BEGIN: Final[Mapping[str, Any]] = {
    "value": 0,
    "inside": None,
    "proved": True,
    "rests_on": ONE_PAGE,
}
