"""Pages to row groups of a file, and files to S3, behind the pages that come.

One is written while the next is gathered, and no more: what is held stays bounded. A file has one
schema, and ends early where the API adds a column.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pyarrow as pa

from pipeline.config.endpoint import FIRST_CURSOR, Endpoint
from pipeline.decode.base import Decoder
from pipeline.decode.types import INSTANT
from pipeline.extract.context_columns import ContextColumns
from pipeline.lake.attempt import Attempt
from pipeline.lake.parquet import ParquetBuffer, repetitive_columns
from pipeline.run.progress import PartitionProgress, ReadingEnd
from pipeline.run.row_buffer import BufferedBytes, RowBuffer, in_key_order, merged
from pipeline.runtime import in_reader

PREVIEW_ROWS = 5
Counters = Mapping[str, int]
_Staged = tuple[PartitionProgress, Counters]
"""Where a later attempt resumes behind a file, and what the partition has cost up to there."""


class PartitionWriter:
    """The way of one partition's rows to S3, unseen until they are committed.

    :ivar preview: the first rows.
    """

    def __init__(self, attempt: Attempt, reader: Decoder, spec: Endpoint) -> None:
        self._attempt, self._reader, self._spec = attempt, reader, spec
        self._behind: asyncio.Task[None] | None = None
        self._file: ParquetBuffer | None = None
        self._file_schema = pa.schema([])
        self._repetitive: dict[pa.Schema, list[str]] = {}
        self._after_file: _Staged = PartitionProgress(None), {}
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

    async def group(self, buffer: RowBuffer, counters: Counters) -> None:
        """Make a row group of the pages, so that they need not be held."""
        await self._caught_up()
        after = PartitionProgress(buffer.position), counters
        tables, columns = buffer.take(), self._reader.schema

        async def write() -> None:
            buffer.release((await self._written(tables, columns, after)).held_bytes)

        self._begin(write)

    async def end(
        self, buffer: RowBuffer, counters: Counters, end: ReadingEnd | None = None
    ) -> None:
        """Bring the file to S3, with the pages that are in no row group yet.

        :param end: all pages of the partition came.
        """
        await self._caught_up()
        after = PartitionProgress(buffer.position, end), counters
        tables, columns = buffer.end_batch(), self._reader.schema

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
            self.preview = tuple(table.slice(0, PREVIEW_ROWS).to_pylist())
        file = file or self._new_file(table)
        file.add(table)
        return file

    def _new_file(self, first: pa.Table) -> ParquetBuffer:
        """Files of one schema are alike: the first rows tell which columns get a dictionary."""
        if first.schema not in self._repetitive:
            self._repetitive[first.schema] = repetitive_columns(first)
        return ParquetBuffer(first.schema, self._repetitive[first.schema])

    def _stage(self, progress: PartitionProgress, counters: Counters) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._attempt.stage(
                file.close(),
                rows=file.rows,
                progress=progress.to_json(),
                counters=counters,
                schema=self._file_schema,
                last=progress.end is not None,
            )

    def _conformed(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        stamps = table["_extracted_at"]
        rows = self._reader.conform(table.drop_columns(["_extracted_at"]), schema)
        return rows.append_column("_extracted_at", stamps)

    def schema_of(self, columns: pa.Schema) -> pa.Schema:
        """The schema as it lands: what the reader does not know of comes last."""
        for field in ContextColumns(self._spec).fields:
            columns = columns.append(field)
        if self._spec.cursor == FIRST_CURSOR:
            columns = columns.append(pa.field(FIRST_CURSOR, INSTANT))
        return columns.append(pa.field("_extracted_at", INSTANT))
