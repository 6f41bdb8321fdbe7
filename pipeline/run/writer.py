"""Pages to row groups of a file, and files to S3, behind the pages that come.

Rows are collected until they are written: pages become row groups in key order, row groups become
batches, and a batch is one Parquet file. One row group is written while the next is collected, and
no more: memory stays bounded. A file has one schema, and ends early where the API adds a column.

Each staged batch keeps the ``PartitionProgress`` behind it in the checkpoint.
"""

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.endpoint import FIRST_CURSOR, Endpoint
from pipeline.decode.base import Decoder
from pipeline.decode.nested_tables import without_lists
from pipeline.decode.types import INSTANT
from pipeline.extract.pages import ContextColumns
from pipeline.extract.position import PageBatch, ResumePosition
from pipeline.lake.attempt import Attempt
from pipeline.lake.parquet import ParquetBuffer, repetitive_columns
from pipeline.run.partition_progress import PartitionCounts, PartitionProgress, ReadingEnd
from pipeline.runtime import in_reader

GROUP_BYTES = 8 * 2**20
"""Arrow bytes of pages that make a row group. A file is many pages, and to hold them all would be
most of a step's memory; as Parquet they take a seventh."""
MAX_BYTES = 64 * 2**20
"""Bytes that the batches of a run may hold together, however few their rows."""
MAX_S = 300.0
"""Seconds of work that an attempt which is cut off may lose, however few rows they have brought."""

_SMALL_ROWS: Final = 200
"""Of a page: copying larger ones together costs as much as it saves."""
_MANY_SMALL: Final = 64
"""Pages of few rows, one behind the other, that are joined while they wait."""


@dataclass
class BufferedBytes:
    """The bytes that the batches of a run hold together: they bound the memory of a step."""

    bytes: int = 0
    batches: int = 0

    @property
    def over_limit(self) -> bool:
        return self.bytes >= MAX_BYTES


class RowBuffer:
    """Rows since the last batch, and the position after them. Pages first, then Parquet.

    Pages count as held until they are a row group, a batch until it is on S3.

    :ivar rows: since the last batch; those before a change of the schema may be on S3 already.
    """

    def __init__(
        self,
        max_rows: int,
        position: ResumePosition | None,
        buffered: BufferedBytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_rows = max_rows
        self._buffered = buffered
        self._clock = clock
        self._began = clock()
        self._tables: list[pa.Table] = []
        self._small = 0
        self._arrow_bytes = self._leaving_bytes = self._file_bytes = 0
        self.rows = 0
        self.position = position

    def add(self, batch: PageBatch) -> None:
        if batch.table.num_rows:
            self._buffered.batches += not self.rows
            self._tables.append(batch.table)
            self._join_small(batch.table.num_rows)
            self.rows += batch.table.num_rows
            self._arrow_bytes += batch.arrow_bytes
            self._buffered.bytes += batch.arrow_bytes
        self.position = batch.position

    def _join_small(self, rows: int) -> None:
        """Many small pages become one: of a few rows, a page costs ten times what its rows take.

        So lanes, parents and values of few rows each, however many there are, take little memory.
        """
        self._small = self._small + 1 if rows < _SMALL_ROWS else 0
        if self._small >= _MANY_SMALL:
            self._small = 0
            tail = self._tables[-_MANY_SMALL:]
            self._tables[-_MANY_SMALL:] = merged(tail)

    @property
    def is_group(self) -> bool:
        """Whether the pages are enough for a row group."""
        return self._arrow_bytes >= GROUP_BYTES

    @property
    def is_full(self) -> bool:
        """By its rows or its age; or the run holds too much, and this batch no less than most."""
        buffered, own_bytes = self._buffered, self._arrow_bytes + self._file_bytes
        largest = buffered.over_limit and own_bytes * buffered.batches >= buffered.bytes
        old = bool(self.rows) and self._clock() - self._began >= MAX_S
        return self.rows >= self._max_rows or old or largest

    def take(self) -> list[pa.Table]:
        """The pages that are in no row group yet."""
        tables, self._tables, self._small = self._tables, [], 0
        self._leaving_bytes += self._arrow_bytes
        self._arrow_bytes = 0
        return tables

    def end_batch(self) -> list[pa.Table]:
        """The pages that are in no row group yet, with which the batch ends; the next begins."""
        self._buffered.batches -= bool(self.rows)
        self.rows, self._began = 0, self._clock()
        self._leaving_bytes += self._file_bytes
        self._file_bytes = 0
        return self.take()

    def release(self, file_bytes: int = 0) -> None:
        """Count rows that were taken, or whose batch has ended, no more.

        :param file_bytes: of the Parquet file that the pages taken have become a part of.
        """
        self._buffered.bytes += file_bytes - self._file_bytes - self._leaving_bytes
        self._file_bytes, self._leaving_bytes = file_bytes, 0

    def close(self) -> None:
        """Hold nothing any more."""
        self.end_batch()
        self.release()


def merged(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Neighbours of one schema as one table, so that what is done for each column is done once.

    Small pages become one piece besides: each piece of each column costs on its way to Parquet.
    """
    for _, same in groupby(tables, key=lambda table: table.schema):
        table = pa.concat_tables(same_schema := list(same))
        small = table.num_rows < _SMALL_ROWS * len(same_schema)
        yield table.combine_chunks() if small else table


def in_key_order(table: pa.Table, key: Sequence[str], *, sorted_already: bool) -> pa.Table:
    """Rows by key; pages of a keyset or offset run come so. Without a key, as they came."""
    if sorted_already or table.num_rows < 2 or not key:
        return table
    return table.sort_by([(name, "ascending") for name in key])


PREVIEW_ROWS = 5
_Staged = tuple[PartitionProgress, PartitionCounts]
"""Where a later attempt resumes behind a file, and what the partition has cost up to there."""


class PartitionWriter:
    """The way of one partition's rows to S3, unseen until they are committed.

    :ivar preview: the first rows.
    """

    def __init__(self, attempt: Attempt, decoder: Decoder, spec: Endpoint) -> None:
        self._attempt, self._decoder, self._spec = attempt, decoder, spec
        self._behind: asyncio.Task[None] | None = None
        self._file: ParquetBuffer | None = None
        self._file_schema = pa.schema([])
        self._repetitive: dict[pa.Schema, list[str]] = {}
        self._after_file: _Staged = PartitionProgress(None), PartitionCounts()
        self.preview: tuple[dict[str, Any], ...] = ()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Finish what is under way when the block ends, unless it is cancelled.

        If both fail, the error that is raised is why rows did not land, which tells more than that
        a page did not come.
        """
        try:
            try:
                yield
            except Exception:
                await self._caught_up()
                raise
            await self._caught_up()
        finally:
            if self._behind is not None:
                self._behind.cancel()
                await asyncio.gather(self._behind, return_exceptions=True)
            # Not staged: it is dropped, as an error may be kept for long, and with it all of this.
            self._file = self._behind = None

    async def keep_up(self, buffered: BufferedBytes) -> None:
        """Wait for what is under way if the run holds too much; raise what it has failed with."""
        if buffered.over_limit or (self._behind is not None and self._behind.done()):
            await self._caught_up()

    async def group(self, buffer: RowBuffer, counts: PartitionCounts) -> None:
        """Make a row group of the pages, so that they need not be held."""
        await self._caught_up()
        after = PartitionProgress(buffer.position), counts
        tables, columns = buffer.take(), self._decoder.schema

        async def write() -> None:
            buffer.release((await self._written(tables, columns, after)).held_bytes)

        self._begin(write)

    async def end(
        self, buffer: RowBuffer, counts: PartitionCounts, end: ReadingEnd | None = None
    ) -> None:
        """Bring the file to S3, with the pages that are in no row group yet.

        :param end: all pages of the partition came.
        """
        await self._caught_up()
        after = PartitionProgress(buffer.position, end), counts
        tables, columns = buffer.end_batch(), self._decoder.schema

        async def write() -> None:
            if tables:
                await self._written(tables, columns, after)
            await asyncio.to_thread(self._stage, *after)
            buffer.release()

        self._begin(write)

    def _begin(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._behind = asyncio.create_task(write())

    async def _caught_up(self) -> None:
        """Wait for what is under way. :raises: what it has failed with."""
        if self._behind is not None:
            behind, self._behind = self._behind, None
            await behind

    async def _written(
        self, tables: list[pa.Table], columns: pa.Schema, after: _Staged
    ) -> ParquetBuffer:
        """The file that the pages have become a part of: a new one where the schema is another.

        :param columns: of all pages so far: those that are read meanwhile may widen the schema.
        """
        schema = self.schema_of(columns)
        if self._file is not None and schema != self._file_schema:
            await asyncio.to_thread(self._stage, *self._after_file)
        self._file_schema = schema
        self._file = await in_reader(self._write, tables, columns, self._file)
        self._after_file = after
        return self._file

    def _write(
        self, tables: list[pa.Table], columns: pa.Schema, file: ParquetBuffer | None
    ) -> ParquetBuffer:
        table = pa.concat_tables([self._conformed(t, columns) for t in merged(tables)])
        tables.clear()  # here, and not by the loop, which many small buffers would hold up
        spec = self._spec
        in_order = spec.by_key and spec.order == "ascending" and not spec.fans_out
        table = in_key_order(table, self._spec.key, sorted_already=in_order)
        if not self.preview:
            shown = without_lists(table.schema, spec.tables).names
            self.preview = tuple(table.select(shown).slice(0, PREVIEW_ROWS).to_pylist())
        file = file or self._new_file(table)
        file.add(table)
        return file

    def _new_file(self, first: pa.Table) -> ParquetBuffer:
        """Files of one schema are alike: the first rows tell which columns get a dictionary."""
        if first.schema not in self._repetitive:
            self._repetitive[first.schema] = repetitive_columns(first)
        return ParquetBuffer(first.schema, self._repetitive[first.schema])

    def _stage(self, progress: PartitionProgress, counts: PartitionCounts) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._attempt.stage(
                file.close(),
                rows=file.rows,
                progress=progress.to_json(),
                counters=counts.to_json(),
                schema=self._file_schema,
                last=progress.end is not None,
            )

    def _conformed(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        stamps = table[EXTRACTED_AT]
        rows = self._decoder.conform(table.drop_columns([EXTRACTED_AT]), schema)
        return rows.append_column(EXTRACTED_AT, stamps)

    def schema_of(self, columns: pa.Schema) -> pa.Schema:
        """The schema as it lands: what the decoder does not know of comes last."""
        for field in ContextColumns(self._spec).fields:
            columns = columns.append(field)
        if self._spec.cursor == FIRST_CURSOR:
            columns = columns.append(pa.field(FIRST_CURSOR, INSTANT))
        return columns.append(pa.field(EXTRACTED_AT, INSTANT))
