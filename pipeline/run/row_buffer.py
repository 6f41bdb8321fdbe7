"""Rows collected until they are written: pages to row groups in key order, row groups to batches.

A batch is one Parquet file.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from pipeline.extract.page_batch import PageBatch
from pipeline.extract.position import ResumePosition

GROUP_BYTES = 8 * 2**20
"""Arrow bytes of pages that make a row group. A file is many pages, and to hold them all would be
most of a step's memory; as Parquet they take a seventh."""
MAX_BYTES = 64 * 2**20
"""Bytes that the batches of a run may hold together, however few their rows."""
MAX_S = 300.0
"""Seconds of work that an attempt which is cut off may lose, however few rows they have brought."""

_SMALL_ROWS = 200
"""Of a page: copying larger ones together costs as much as it saves."""


@dataclass
class BufferedBytes:
    """What the batches of a run hold together: it bounds the memory of a step."""

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
        self._arrow_bytes = self._leaving_bytes = self._file_bytes = 0
        self.rows = 0
        self.position = position

    def add(self, batch: PageBatch) -> None:
        if batch.table.num_rows:
            self._buffered.batches += not self.rows
            self._tables.append(batch.table)
            self.rows += batch.table.num_rows
            self._arrow_bytes += batch.arrow_bytes
            self._buffered.bytes += batch.arrow_bytes
        self.position = batch.position

    @property
    def is_group(self) -> bool:
        """Whether the pages are enough for a row group."""
        return self._arrow_bytes >= GROUP_BYTES

    @property
    def is_full(self) -> bool:
        """By its rows or its age; or the run holds too much, and this batch no less than most."""
        buffered, here = self._buffered, self._arrow_bytes + self._file_bytes
        largest = buffered.over_limit and here * buffered.batches >= buffered.bytes
        old = bool(self.rows) and self._clock() - self._began >= MAX_S
        return self.rows >= self._max_rows or old or largest

    def take(self) -> list[pa.Table]:
        """The pages that are in no row group yet."""
        tables, self._tables = self._tables, []
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
        """What was taken, or has ended, is held no more.

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
