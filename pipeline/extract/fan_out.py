"""Fan-out: the pages of each value of a list (``each``, or the parents of a child), every value
under the proof that it would have alone.

A value that fails either fails the partition, or is listed, and the others go on, up to a share of
failed ones (``FailurePolicy``). Rows are handed on in one of two ways:

page by page    as they come: a long value holds up no other, and is resumed inside. Of a value that
                fails some rows may have been handed on: with a watermark of its own it is read
                again from there, by the next partition.
as a whole      a value that may fail, of a partition that nothing reads again: its rows are held
                until it has ended, so that none of a failed value is handed on.

A value whose page token expires is read anew from its first page, without the others, a few times;
where some of its rows were handed on, and no key tells them from others', all are.

A value whose rows before stand in for it when it fails (a lane) is held up to ``HELD_BYTES`` or
``HELD_PAGES`` only: a long one takes no more memory than that, and is resumed inside, too. If it
fails after rows of it were handed on, these are newer than the rows before: the commit keeps them,
and of the rows before those with other keys. Such a value is read anew, too, where the position of
an earlier attempt is refused.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from pipeline.errors import ContractBroken, PageTokenDead, RequestRefused
from pipeline.extract.alike_values import AlikeValues
from pipeline.extract.completeness import ProofBasis
from pipeline.extract.pages import PageSource
from pipeline.extract.partition_values import PagesOfValue, PartitionValue
from pipeline.extract.position import (
    MOST_READINGS,
    CannotResume,
    EndpointReader,
    ExtractionProgress,
    FailedValue,
    FanOutPosition,
    PageBatch,
    ResumePosition,
    expired_again,
)
from pipeline.extract.prefetch import Ahead, as_they_come, in_order
from pipeline.extract.seen_rows import row_digests
from pipeline.extract.value_failures import FAIL_PARTITION, FailurePolicy
from pipeline.http.reading_time import ReadingTime

HELD_BYTES: Final = 4 * 2**20
"""Arrow bytes of a value's rows that are held, where its rows before stand in for it."""
HELD_PAGES: Final = 100
"""Pages of them: so many calls, at most, are made again when the process is killed."""


@dataclass(frozen=True)
class FanOut:
    """The values that an endpoint is read for, and what goes for all of them.

    :ivar failures: what happens to the partition if a value fails.
    :ivar gate: is entered before a value is read; it limits all readers that share it.
    :ivar keep: gives the rows that a value had in the previous partition, to stand in for a value
        that can't be read; None: nothing stands in.
    :ivar concurrency: how many values are read at the same time.
    :ivar ordered: rows are yielded in the order of ``values``; else as they come.
    :ivar as_a_whole: a value's rows are held until it has ended, see the module; None: they are
        if values may fail.
    :ivar key: the columns that identify a row; empty if none do.
    :ivar tells_values: the key tells that a row which comes again is of the same value; None: it
        does if there is a key.
    :ivar alike: finds out whether the API ignores the values. It is of one reading.
    """

    values: Sequence[PartitionValue]
    failures: FailurePolicy = FAIL_PARTITION
    gate: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    keep: Callable[[PartitionValue], pa.Table] | None = None
    concurrency: int = 1
    ordered: bool = False
    as_a_whole: bool | None = None
    key: Sequence[str] = ()
    tells_values: bool | None = None
    alike: AlikeValues = field(default_factory=lambda: AlikeValues((), ()))


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
    :ivar begins_anew: a later reading of the value begins with these rows.
    """

    index: int
    table: pa.Table | None = None
    arrow_bytes: int = 0
    position: ResumePosition | None = None
    ended: _Ended | None = None
    begins_anew: bool = False


@dataclass
class _HeldRows:
    """The rows of one value that are not handed on yet.

    :ivar position: behind them.
    """

    tables: list[pa.Table] = field(default_factory=list)
    arrow_bytes: int = 0
    position: ResumePosition | None = None

    def add(self, batch: PageBatch) -> None:
        self.tables.append(batch.table)
        self.arrow_bytes += batch.arrow_bytes
        self.position = batch.position

    @property
    def is_long(self) -> bool:
        return self.arrow_bytes >= HELD_BYTES or len(self.tables) >= HELD_PAGES

    def part(self, index: int) -> _ValueBatch:
        """:raises ContractBroken: the pages can't be read as one table."""
        table = self.tables[0] if len(self.tables) == 1 else _as_one(self.tables)
        return _ValueBatch(index, table, self.arrow_bytes, self.position)


class _TokenExpired(Exception):
    """A page token of a value has expired: its chain begins anew."""


class FanOutReader:
    """Reads the values in the order of the list, some of them at the same time.

    :ivar progress: the sum of that of the values.
    :ivar failed: the values that were passed over.
    """

    def __init__(
        self,
        pages: PageSource,
        fan_out: FanOut,
        reader: Callable[[PageSource, PartitionValue, Ahead], EndpointReader],
        *,
        ahead: int,
        progress: ExtractionProgress | None = None,
    ) -> None:
        """:param reader: makes the reader of one value's pages, so many ahead as its share is.
        :param ahead: pages ahead, which the values that are being read share.
        """
        key, whole, tells = fan_out.key, fan_out.as_a_whole, fan_out.tells_values
        self._pages = pages
        self._values, self._failures = fan_out.values, fan_out.failures
        self._gate, self._keep, self._key = fan_out.gate, fan_out.keep, key
        self._alike, self._ignored = fan_out.alike, list[str]()
        self._reader = reader
        self._concurrency = min(fan_out.concurrency, len(self._values))
        self._ahead = ahead
        self._ordered = fan_out.ordered
        self._whole = self._failures.passes_over if whole is None else whole
        self._in_parts = self._whole and self._keep is not None and bool(key)
        self._anew = self._failures.rereads and bool(key)
        self._rereads = bool(key) if tells is None else tells
        self._with_rows = 0
        self._open: dict[int, ResumePosition | None] = {}  # how far each value has come
        self._cut_off: dict[int, ResumePosition] = {}  # how far those that failed had come
        self._rows_of: dict[int, int] = {}  # of both: rows handed on by the latest reading
        self._next = 0
        self._reading: dict[int, ExtractionProgress] = {}
        self._pages_of_ended = 0
        self._proved = True
        self.failed: list[FailedValue] = []
        self.progress = progress or ExtractionProgress()

    async def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """The rows of all values.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: as the reader of a value that is resumed; or that value is refused
            there, and at its first page it may not be.
        :raises ContractBroken: more values failed than may.
        """
        start = FanOutPosition.of(position) or FanOutPosition()
        self._open, self._next = dict(start.open), start.next
        self._cut_off, self._rows_of = dict(start.cut_off), dict(start.rows_of)
        self.progress.rows_again = start.rows_again
        self.progress.reread_values = {*start.reread}
        self._proved, self.progress.proof_basis = start.proved, start.proof_basis
        self.progress.resume_from(start.unproved)
        if start.has_stale_rows:
            raise CannotResume("rows of values that could not be read are staged")
        self._with_rows = start.with_rows
        self._take_up(start.failed)
        self._pages_of_ended = self.progress.pages
        self.progress.of_values = len(self._values)
        self.progress.value_noun = self._failures.noun
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                self._count(batch)
                if batch.ended is None:
                    self._open[batch.index] = batch.position
                else:
                    self._end(batch.index, batch.ended)
                if batch.table is not None:
                    yield self._handed_on(batch.table, batch.arrow_bytes)
        self.progress.values = len(self._values)
        self._failures.check(self.failed, len(self._values))
        self._ignored = await self._alike.ignored(self._pages)
        async for earlier in self._stale_rows():
            yield earlier
        self.progress.contiguous = self._proved and not self.failed_members

    async def _stale_rows(self) -> AsyncGenerator[PageBatch, None]:
        """The rows that values which could not be read had before, once no other comes."""
        if self._keep is None:
            return
        failed = self.failed_members
        for index, value in enumerate(self._values):
            if not failed.issuperset(value.members):
                continue
            table = await asyncio.to_thread(self._keep, value)
            if table.num_rows:
                if index in self._cut_off:
                    self._note_reread(table)
                    self._begin_anew(index)
                batch = self._handed_on(table, table.nbytes)
                yield replace(batch, position=replace(self._position, has_stale_rows=True))

    def _take_up(self, failed: Sequence[FailedValue]) -> None:
        """Values that an earlier attempt has passed over: some are read again."""
        again = {each.value for each in failed if each.has_failed}
        if not self._failures.rereads:
            again = set()
        self.failed += [each for each in failed if each.value not in again]
        self.progress.failed_values = sum(each.has_failed for each in self.failed)
        for index in (n for n, value in enumerate(self._values) if value.name in again):
            self._open[index] = self._cut_off.pop(index, None)

    def _note_reread(self, table: pa.Table) -> None:
        """Rows that are handed on besides newer or older ones with their keys."""
        self.progress.reread_keys.append(row_digests(table, self._key))

    @property
    def failed_members(self) -> frozenset[str]:
        """The names of all values that were passed over, those of groups one by one."""
        names = {failed.value for failed in self.failed if failed.outcome != "none"}
        return frozenset(m for v in self._values if v.name in names for m in v.members)

    def summary(self) -> dict[str, Any]:
        """For the manifest: how many values were requested, which failed, and what is ignored."""
        summary = self._failures.summary(self.failed, len(self._values), self._with_rows)
        return {**summary, "ignored": self._ignored} if self._ignored else summary

    def _batches(self) -> AsyncGenerator[_ValueBatch, None]:
        if self._ordered:
            return in_order(self._indices(), self._chain, lambda: self._concurrency)
        return as_they_come(self._indices(), self._chain, self._concurrency)

    def _indices(self) -> Iterator[int]:
        yield from [*self._open]
        while self._next < len(self._values):
            self._next += 1
            self._open[self._next - 1] = None
            yield self._next - 1

    async def _chain(self, index: int) -> AsyncGenerator[_ValueBatch, None]:
        """The rows of one value, and its end."""
        position, reading, begins_anew = self._open[index], 1, False
        async with self._gate:
            while True:
                try:
                    async for batch in self._pages_of(index, position, reading):
                        yield replace(batch, begins_anew=begins_anew)
                        begins_anew = False
                    return
                except CannotResume:
                    if not self._anew or reading == MOST_READINGS:
                        raise
                except _TokenExpired:
                    pass
                position, reading, begins_anew = None, reading + 1, True

    async def _pages_of(
        self, index: int, position: ResumePosition | None, reading: int
    ) -> AsyncGenerator[_ValueBatch, None]:
        """:param reading: over 1: rows of an earlier reading may have been handed on.

        :raises CannotResume: the position is refused.
        :raises _TokenExpired: the next reading may come to the end.
        """
        reader, name = self._reader_of(index), self._values[index].name
        held, ended, is_begun = _HeldRows(), None, position is not None
        time = ReadingTime(self._failures.timeout_s if self._failures.passes_over else None)
        try:
            async with aclosing(reader.run(position)) as batches:
                while True:
                    # Of the reading alone: while rows are written, the chain stands still.
                    async with time.counted():
                        batch = await anext(batches, None)
                    if batch is None:
                        break
                    if reading > 1 and self._rereads:
                        self._note_reread(batch.table)
                    held.add(batch)
                    if not self._whole or (self._in_parts and held.is_long):
                        yield held.part(index)
                        held, is_begun = _HeldRows(), True
            last = held.part(index) if held.tables else _ValueBatch(index)
        except self._failures.errors as error:
            came_so_far = bool(reader.progress.pages) or position is not None
            if isinstance(error, PageTokenDead) and came_so_far:
                if reading < MOST_READINGS:
                    # Else all are read anew: nothing would tell this value's rows from others.
                    raise (_TokenExpired if self._rereads or not is_begun else error) from None
                if not self._failures.rereads:
                    error = expired_again(error, f"`{name}`")
            if self._refuses_position(error, position, reader):
                raise CannotResume(f"value {name}") from error
            ended = _Ended(failed=self._failures.failed(name, error))
            # A position that has the failure in it goes out with the end, also if no row does.
            last = _ValueBatch(index, pa.table({}))
        yield replace(last, ended=ended or _proof_of(reader))

    def _refuses_position(
        self, error: Exception, position: ResumePosition | None, reader: EndpointReader
    ) -> bool:
        """Whether the position of an earlier attempt may be all that is refused."""
        if position is None or reader.progress.pages:
            return False
        return not self._anew or isinstance(error, RequestRefused | ContractBroken)

    def _reader_of(self, index: int) -> EndpointReader:
        value = self._values[index]
        pages: PageSource = PagesOfValue(self._pages, value)
        if self._open[index] is None:
            pages = self._alike.watched(pages, value)
        reader = self._reader(pages, value, self._share)
        self._reading[index] = reader.progress
        return reader

    def _share(self) -> int:
        return max(1, self._ahead // max(1, len(self._open)))

    def _count(self, batch: _ValueBatch) -> None:
        """Count rows as those of their value, of its latest reading alone."""
        has_failed = batch.ended is not None and batch.ended.failed is not None
        if batch.begins_anew and not has_failed:
            self._begin_anew(batch.index)
        if batch.table is not None and batch.table.num_rows:
            rows = self._rows_of.get(batch.index, 0)
            self._rows_of[batch.index] = rows + batch.table.num_rows

    def _begin_anew(self, index: int) -> None:
        """The rows of a value that are handed on come again."""
        if rows := self._rows_of.pop(index, 0):
            self.progress.rows_again += rows
            self.progress.reread_values.add(index)

    def _handed_on(self, table: pa.Table, arrow_bytes: int) -> PageBatch:
        self.progress.rows += table.num_rows
        reading = sum(progress.pages for progress in self._reading.values())
        self.progress.pages = self._pages_of_ended + reading
        return PageBatch(table, self._position, arrow_bytes)

    @property
    def _position(self) -> FanOutPosition:
        return FanOutPosition(
            next=self._next,
            open=tuple(self._open.items()),
            failed=tuple(self.failed),
            proved=self._proved,
            proof_basis=self.progress.proof_basis,
            with_rows=self._with_rows,
            cut_off=tuple(self._cut_off.items()),
            unproved=self.progress.unproved_so_far,
            rows_of=tuple(self._rows_of.items()),
            rows_again=self.progress.rows_again,
            reread=tuple(sorted(self.progress.reread_values)),
        )

    def _end(self, index: int, ended: _Ended) -> None:
        position = self._open.pop(index)
        self.progress.values = self._next - len(self._open)
        if ended.failed is not None:
            self.failed.append(ended.failed)
            self.progress.failed_values += ended.failed.has_failed
            if position is not None:
                self._cut_off[index] = position
        elif self._reading[index].rows or position is not None:
            self._with_rows += 1
        if index not in self._cut_off:
            self._rows_of.pop(index, None)
        total, of_value = self.progress, self._reading.pop(index)
        self._proved &= ended.contiguous
        total.proof_basis = total.proof_basis.weaker(ended.proof_basis)
        self._pages_of_ended += of_value.pages
        total.pages = max(total.pages, self._pages_of_ended)
        total.gaps_refetched += of_value.gaps_refetched
        total.duplicate_rows += of_value.duplicate_rows
        total.unproved = total.unproved or of_value.unproved
        total.tail_rows += of_value.tail_rows
        total.reread_keys += of_value.reread_keys
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
