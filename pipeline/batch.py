"""Pages gathered to batches: the rows of one Parquet file, in key order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.extract import Handed

MAX_BYTES = 64 * 2**20
"""Arrow bytes at which a batch is full, however few its rows: bounds the memory of a step."""


class Gathered:
    """Rows since the last batch, and the position after them."""

    def __init__(self, max_rows: int, position: Mapping[str, Any] | None) -> None:
        self._max_rows = max_rows
        self._tables: list[pa.Table] = []
        self.rows = 0
        self._bytes = 0
        self.pages = 0
        self.position = position

    def add(self, handed: Handed) -> None:
        if handed.table.num_rows:
            self._tables.append(handed.table)
            self.rows += handed.table.num_rows
            self._bytes += handed.arrow_bytes
        self.pages += 1
        self.position = handed.position

    @property
    def full(self) -> bool:
        return self.rows >= self._max_rows or self._bytes >= MAX_BYTES

    def take(self) -> list[pa.Table]:
        """The tables of the batch; the next batch begins empty."""
        tables, self._tables = self._tables, []
        self.rows = self._bytes = self.pages = 0
        return tables


def alike(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Neighbours of one schema as one table, so that what is done for each column is done once."""
    for _, same in groupby(tables, key=lambda table: table.schema):
        yield pa.concat_tables(same)


def in_key_order(table: pa.Table, key: Sequence[str], *, sorted_already: bool) -> pa.Table:
    """Rows by key; pages of a keyset or offset run come so."""
    if sorted_already or table.num_rows < 2:
        return table
    return table.sort_by([(name, "ascending") for name in key])
