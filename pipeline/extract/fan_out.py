"""Fan-out: the pages of each value of a list (``each``, or the parents of a child), every value
under the proof that it would have alone.

Two things differ between the lists, and are parameters:

=========  =================================================  =====================================
list       a value that fails                                 order of the rows
=========  =================================================  =====================================
``each``   fails the partition (``FAIL_PARTITION``): passed   as they come, page by page: a long
           over, its rows of this window would never be       value holds up no other
           requested again
parents    is listed, and the others go on, up to a share of  in the order of the list, value by
           failed ones (``ListFailures``)                     value
=========  =================================================  =====================================

The rows of a value that may be passed over are held until it has ended, so that none of a failed
value is handed on.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from pipeline.config.endpoint import ParentsConfig
from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import ProofBasis
from pipeline.extract.page_batch import EndpointReader, ExtractionProgress, PageBatch
from pipeline.extract.parsed_page import PageSource, ParsedPage
from pipeline.extract.position import (
    CannotResume,
    FailedValue,
    FanOutPosition,
    ResumePosition,
)
from pipeline.extract.prefetch import Ahead, as_they_come, in_order
from pipeline.pagination.page import PageRequest

Value = str | int
_LONGEST_REASON: Final = 300
_MOST_LISTED: Final = 100
"""Failed values that a manifest lists; their number counts all."""


@dataclass(frozen=True)
class ListFailures:
    """A value that fails is listed, and the others go on; too many of them fail the partition.

    :ivar max_failed_share: of all values, 0 to 1.
    :ivar timeout_s: a value that takes longer has failed; None = no limit.
    :ivar parent: the endpoint whose rows the values are of.
    """

    max_failed_share: float
    timeout_s: float | None
    parent: str

    @classmethod
    def of(cls, parents: ParentsConfig) -> "ListFailures":
        return cls(parents.max_failed_share, parents.timeout_s, parents.endpoint)

    def check(self, failed: Sequence[FailedValue], values: int) -> None:
        """:raises ContractBroken: more of the values failed than may."""
        share = len(failed) / max(1, values)
        if not failed or share <= self.max_failed_share:
            return
        first = failed[0]
        dot = "" if first.reason.endswith((".", "?")) else "."
        raise ContractBroken(
            f"{len(failed)} of {values} parents failed, and at most "
            f"{self.max_failed_share:.1%} may (parents.max_failed_share); the first is "
            f"`{first.value}`: {first.reason}{dot} Parents that are deleted at the API leave the "
            f"list when `{self.parent}` is materialized again for this day"
        )


FAIL_PARTITION: Final = None
"""The failure policy under which a value that can't be read fails the partition."""


class PagesOfValue:
    """The pages of one value."""

    def __init__(self, pages: PageSource, value: Value) -> None:
        self._pages, self._value = pages, value

    async def page(self, request: PageRequest) -> ParsedPage:
        return await self._pages.page(replace(request, parent=self._value))

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(replace(request, parent=self._value))


@dataclass(frozen=True)
class _Ended:
    """A value has been read to its end, or has failed."""

    contiguous: bool = True
    proof_basis: ProofBasis = ProofBasis.ONE_PAGE
    failed: FailedValue | None = None


@dataclass(frozen=True)
class _ValueBatch:
    """Rows of one value, or its end, or both.

    :ivar position: of the value, behind these rows.
    """

    index: int
    table: pa.Table | None = None
    arrow_bytes: int = 0
    position: ResumePosition | None = None
    ended: _Ended | None = None


class FanOutReader:
    """Reads the values in the order of the list, some of them at the same time.

    :ivar progress: the sum of that of the values.
    :ivar failed: the values that were passed over.
    """

    def __init__(
        self,
        pages: PageSource,
        values: Sequence[Value],
        reader: Callable[[PageSource, Ahead], EndpointReader],
        *,
        concurrency: int,
        ahead: int,
        failures: ListFailures | None = FAIL_PARTITION,
        ordered: bool = False,
    ) -> None:
        """:param reader: makes the reader of one value's pages, so many ahead as its share is.
        :param concurrency: values at the same time.
        :param ahead: pages ahead, which the values that are being read share.
        :param failures: what a value that fails does.
        :param ordered: rows come in the order of the list, else as they come.
        """
        self._pages = pages
        self._values = values
        self._reader = reader
        self._concurrency = min(concurrency, len(values))
        self._ahead = ahead
        self._failures = failures
        self._ordered = ordered
        self._open: dict[int, ResumePosition | None] = {}  # how far each value has come
        self._next = 0
        self._reading: dict[int, ExtractionProgress] = {}
        self._pages_of_ended = 0
        self._proved = True
        self.failed: list[FailedValue] = []
        self.progress = ExtractionProgress()

    async def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """The rows of all values.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: as the reader of a value that is resumed; or that value is refused
            there, and at its first page it may not be.
        :raises ContractBroken: more values failed than may.
        """
        start = FanOutPosition.of(position) or FanOutPosition()
        self._open, self._next = dict(start.open), start.next
        self._proved, self.progress.proof_basis = start.proved, start.proof_basis
        self.failed += start.failed
        self._pages_of_ended = self.progress.pages
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                if batch.ended is None:
                    self._open[batch.index] = batch.position
                else:
                    self._end(batch.index, batch.ended)
                if batch.table is not None:
                    yield self._handed_on(batch.table, batch.arrow_bytes)
        if self._failures is not None:
            self._failures.check(self.failed, len(self._values))
        self.progress.contiguous = self._proved and not self.failed

    def summary(self) -> dict[str, Any]:
        """For the manifest: how many values were requested, and which failed."""
        return {
            "asked": len(self._values),
            "failed": len(self.failed),
            "failures": [failed.to_json() for failed in self.failed[:_MOST_LISTED]],
        }

    def _batches(self) -> AsyncGenerator[_ValueBatch, None]:
        chain = self._page_by_page if self._failures is FAIL_PARTITION else self._as_a_whole
        if self._ordered:
            return in_order(self._indices(), chain, lambda: self._concurrency)
        return as_they_come(self._indices(), chain, self._concurrency)

    def _indices(self) -> Iterator[int]:
        yield from [*self._open]
        while self._next < len(self._values):
            self._next += 1
            self._open[self._next - 1] = None
            yield self._next - 1

    async def _page_by_page(self, index: int) -> AsyncGenerator[_ValueBatch, None]:
        position = self._open[index]
        reader = self._reader_of(index)
        try:
            async with aclosing(reader.run(position)) as batches:
                async for batch in batches:
                    yield _ValueBatch(index, batch.table, batch.arrow_bytes, batch.position)
        except (RequestRefused, ContractBroken) as error:
            if position is not None and reader.progress.pages == 0:
                raise CannotResume(f"value {self._values[index]}") from error
            raise
        yield _ValueBatch(index, ended=_proof_of(reader))

    async def _as_a_whole(self, index: int) -> AsyncGenerator[_ValueBatch, None]:
        assert self._failures is not None
        reader, value = self._reader_of(index), str(self._values[index])
        tables: list[pa.Table] = []
        arrow_bytes = 0
        timeout_s = self._failures.timeout_s
        try:
            async with asyncio.timeout(timeout_s), aclosing(reader.run(None)) as batches:
                async for batch in batches:
                    tables.append(batch.table)
                    arrow_bytes += batch.arrow_bytes
            table = _as_one(tables)
        except TimeoutError:
            failed = FailedValue(value, "timeout", f"not read within {timeout_s:g} s")
        except (RequestRefused, ContractBroken) as error:
            failed = FailedValue(value, type(error).__name__, str(error)[:_LONGEST_REASON])
        else:
            yield _ValueBatch(index, table, arrow_bytes, ended=_proof_of(reader))
            return
        yield _ValueBatch(index, pa.table({}), ended=_Ended(failed=failed))

    def _reader_of(self, index: int) -> EndpointReader:
        reader = self._reader(PagesOfValue(self._pages, self._values[index]), self._share)
        self._reading[index] = reader.progress
        return reader

    def _share(self) -> int:
        return max(1, self._ahead // max(1, len(self._open)))

    def _handed_on(self, table: pa.Table, arrow_bytes: int) -> PageBatch:
        self.progress.rows += table.num_rows
        reading = sum(progress.pages for progress in self._reading.values())
        self.progress.pages = self._pages_of_ended + reading
        position = FanOutPosition(
            next=self._next,
            open=tuple(self._open.items()),
            failed=tuple(self.failed),
            proved=self._proved,
            proof_basis=self.progress.proof_basis,
        )
        return PageBatch(table, position, arrow_bytes)

    def _end(self, index: int, ended: _Ended) -> None:
        del self._open[index]
        if ended.failed is not None:
            self.failed.append(ended.failed)
        total, of_value = self.progress, self._reading.pop(index)
        self._proved &= ended.contiguous
        total.proof_basis = total.proof_basis.weaker(ended.proof_basis)
        self._pages_of_ended += of_value.pages
        total.pages = max(total.pages, self._pages_of_ended)
        total.gaps_refetched += of_value.gaps_refetched
        total.duplicate_rows += of_value.duplicate_rows
        total.passes = max(total.passes, of_value.passes)


def _proof_of(reader: EndpointReader) -> _Ended:
    return _Ended(reader.progress.contiguous, reader.progress.proof_basis)


def _as_one(pages: Sequence[pa.Table]) -> pa.Table:
    """The pages of one value as one table.

    :raises ContractBroken: one has a whole number that no double of another one holds.
    """
    try:
        return pa.concat_tables([pa.table({}), *pages], promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise ContractBroken(
            f"The pages can't be read as one table: {error}. Declare the column's type"
        ) from error
