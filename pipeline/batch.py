"""Pages gathered to row groups, in key order, and these to batches: one Parquet file each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.extract import Handed

GROUP_BYTES = 8 * 2**20
"""Arrow bytes of pages that make a row group. Many pages make a file, and their memory would be
what a step needs most; as Parquet they are a seventh."""
MAX_BYTES = 64 * 2**20
"""Bytes that the batches of a run may hold together, however few their rows."""


@dataclass
class Held:
    """What the batches of a run hold together: it bounds the memory of a step."""

    bytes: int = 0
    batches: int = 0


class Gathered:
    """Rows since the last batch, and the position after them. Pages first, then Parquet.

    :ivar rows: since the last batch; those before a change of the schema may be on S3 already.
    """

    def __init__(self, max_rows: int, position: Mapping[str, Any] | None, held: Held) -> None:
        self._max_rows = max_rows
        self._held = held
        self._tables: list[pa.Table] = []
        self._arrow_bytes = self._file_bytes = 0
        self.rows = 0
        self.position = position

    def add(self, handed: Handed) -> None:
        if handed.table.num_rows:
            self._held.batches += not self.rows
            self._tables.append(handed.table)
            self.rows += handed.table.num_rows
            self._holds(handed.arrow_bytes, self._file_bytes)
        self.position = handed.position

    @property
    def is_group(self) -> bool:
        """Whether the pages are enough for a row group."""
        return self._arrow_bytes >= GROUP_BYTES

    @property
    def loose(self) -> bool:
        """Whether there are pages that are in no row group yet."""
        return bool(self._tables)

    @property
    def full(self) -> bool:
        """By its rows; or because the run holds too much, and this batch no less than most."""
        held, here = self._held, self._arrow_bytes + self._file_bytes
        too_much = held.bytes >= MAX_BYTES
        return self.rows >= self._max_rows or (too_much and here * held.batches >= held.bytes)

    @contextmanager
    def taken(self) -> Iterator[list[pa.Table]]:
        """The pages, which count as held until they are written."""
        tables, self._tables = self._tables, []
        try:
            yield tables
        finally:
            self._holds(-self._arrow_bytes, self._file_bytes)

    def written(self, file_bytes: int) -> None:
        """:param file_bytes: of the Parquet file that the pages taken have become a part of."""
        self._holds(0, file_bytes)

    def close(self) -> None:
        """Hold nothing any more: the next batch begins."""
        self._held.batches -= bool(self.rows)
        self._holds(-self._arrow_bytes, 0)
        self._tables = []
        self.rows = 0

    def _holds(self, more_arrow: int, file_bytes: int) -> None:
        self._held.bytes += more_arrow + file_bytes - self._file_bytes
        self._arrow_bytes += more_arrow
        self._file_bytes = file_bytes


def alike(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Neighbours of one schema as one table, so that what is done for each column is done once."""
    for _, same in groupby(tables, key=lambda table: table.schema):
        yield pa.concat_tables(same)


def in_key_order(table: pa.Table, key: Sequence[str], *, sorted_already: bool) -> pa.Table:
    """Rows by key; pages of a keyset or offset run come so."""
    if sorted_already or table.num_rows < 2:
        return table
    return table.sort_by([(name, "ascending") for name in key])
