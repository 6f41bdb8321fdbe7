"""Pages gathered to batches: the rows of one Parquet file, in key order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.extract import Handed

MAX_BYTES = 64 * 2**20
"""Arrow bytes that the batches of a run may hold together, however few their rows."""


@dataclass
class Held:
    """What the batches of a run hold together: it bounds the memory of a step."""

    arrow_bytes: int = 0
    batches: int = 0


class Gathered:
    """Rows since the last batch, and the position after them."""

    def __init__(self, max_rows: int, position: Mapping[str, Any] | None, held: Held) -> None:
        self._max_rows = max_rows
        self._tables: list[pa.Table] = []
        self._held = held
        self._bytes = 0
        self.rows = 0
        self.position = position

    def add(self, handed: Handed) -> None:
        if handed.table.num_rows:
            self._held.batches += not self._tables
            self._tables.append(handed.table)
            self.rows += handed.table.num_rows
            self._bytes += handed.arrow_bytes
            self._held.arrow_bytes += handed.arrow_bytes
        self.position = handed.position

    @property
    def full(self) -> bool:
        """By its rows; or because the run holds too much, and this batch no less than most."""
        held = self._held
        too_much = held.arrow_bytes >= MAX_BYTES
        return self.rows >= self._max_rows or (
            too_much and self._bytes * held.batches >= held.arrow_bytes
        )

    @contextmanager
    def taken(self) -> Iterator[list[pa.Table]]:
        """The tables of the batch, held until they are written; the next batch begins empty."""
        tables, self._tables = self._tables, []
        try:
            yield tables
        finally:
            self.close()

    def close(self) -> None:
        """Hold nothing any more."""
        self._held.batches -= bool(self.rows)
        self._held.arrow_bytes -= self._bytes
        self.rows = self._bytes = 0
        self._tables = []


def alike(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Neighbours of one schema as one table, so that what is done for each column is done once."""
    for _, same in groupby(tables, key=lambda table: table.schema):
        yield pa.concat_tables(same)


def in_key_order(table: pa.Table, key: Sequence[str], *, sorted_already: bool) -> pa.Table:
    """Rows by key; pages of a keyset or offset run come so."""
    if sorted_already or table.num_rows < 2:
        return table
    return table.sort_by([(name, "ascending") for name in key])
