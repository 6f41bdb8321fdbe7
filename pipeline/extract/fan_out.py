"""The pages of each value of a list: every value under the proof that it would have alone.

Several values are read side by side, and their pages handed on as they come: a long value holds up
no other. A value that can't be read fails the partition: passed over, its rows of this window would
never be asked for again.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import ONE_PAGE, weaker
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.extract.page_batch import ExtractionProgress, PageBatch
from pipeline.extract.prefetch import Ahead, as_they_come
from pipeline.extract.sequential import CannotResume, SequentialReader
from pipeline.pagination.page import PageRequest

Value = str | int


class PagesOfValue:
    """The pages of one parent, or of one value of ``each``."""

    def __init__(self, pages: PageSource, value: Value) -> None:
        self._pages, self._value = pages, value

    async def page(self, ask: PageRequest) -> ParsedPage:
        return await self._pages.page(replace(ask, parent=self._value))

    async def count(self, ask: PageRequest) -> int | None:
        return await self._pages.count(replace(ask, parent=self._value))


class EachReader:
    """Reads the values in the order of the list, some of them at the same time.

    :ivar tally: the sum of those of the values.
    """

    def __init__(
        self,
        values: Sequence[Value],
        reader: Callable[[Value, Ahead], ContiguousReader | SequentialReader],
        concurrency: int,
        ahead: int,
    ) -> None:
        """:param reader: what reads the pages of one value, so many ahead as its share is.
        :param ahead: pages ahead, which the values that are being read share.
        """
        self._values = values
        self._reader = reader
        self._concurrency = min(concurrency, len(values))
        self._ahead = ahead
        self._open: dict[int, Mapping[str, Any] | None] = {}  # how far each has come that is read
        self._next = 0
        self._reading: dict[int, ExtractionProgress] = {}
        self._pages = 0  # of values that have ended
        self._proved = True
        self.tally = ExtractionProgress()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[PageBatch, None]:
        """:param position: where an earlier try stopped: which values are open, and where in each.
        :raises StartOver: as the reader of a value that is gone on with; or that one is refused
            there, and at its first page it may not be.
        """
        begin = position or _BEGIN
        self._open, self._next = dict(begin["open"]), begin["next"]
        self._proved, self.tally.rests_on = begin["proved"], begin["rests_on"]
        self._pages = self.tally.pages
        chains = as_they_come(self._indices(), self._pages_of, self._concurrency)
        async with aclosing(chains) as read:
            async for index, handed in read:
                if handed is None:
                    self._ended(index)
                else:
                    yield self._handed(index, handed)
        self.tally.contiguous = self._proved

    def _indices(self) -> Iterator[int]:
        yield from [*self._open]
        while self._next < len(self._values):
            self._next += 1
            self._open[self._next - 1] = None
            yield self._next - 1

    async def _pages_of(self, index: int) -> AsyncGenerator[tuple[int, PageBatch | None], None]:
        position = self._open[index]
        reader = self._reader(self._values[index], self._share)
        self._reading[index] = reader.tally
        try:
            async with aclosing(reader.run(position)) as pages:
                async for handed in pages:
                    yield index, handed
        except (RequestRefused, ContractBroken) as error:
            if position is not None and reader.tally.pages == 0:
                raise CannotResume from error
            raise
        yield index, None

    def _share(self) -> int:
        return max(1, self._ahead // max(1, len(self._open)))

    def _handed(self, index: int, handed: PageBatch) -> PageBatch:
        self._open[index] = handed.position
        self.tally.rows += handed.table.num_rows
        self.tally.pages = self._pages + sum(tally.pages for tally in self._reading.values())
        position = {
            "open": [*self._open.items()],
            "next": self._next,
            "proved": self._proved,
            "rests_on": self.tally.rests_on,
        }
        return PageBatch(handed.table, position, handed.arrow_bytes)

    def _ended(self, index: int) -> None:
        del self._open[index]
        tally, of_value = self.tally, self._reading.pop(index)
        self._proved &= of_value.contiguous
        tally.rests_on = weaker(tally.rests_on, of_value.rests_on)
        self._pages += of_value.pages
        tally.pages = max(tally.pages, self._pages)
        tally.gaps_refetched += of_value.gaps_refetched
        tally.repeated_rows += of_value.repeated_rows
        tally.passes = max(tally.passes, of_value.passes)


_BEGIN: Final[Mapping[str, Any]] = {"open": (), "next": 0, "proved": True, "rests_on": ONE_PAGE}
