"""Checks of a partition's files, read back from the lake before any manifest names them.

The keys and the cursor are read from S3, not from memory: this is the proof that the lake has what
the pages brought. A breach that would put wrong rows before readers stops the commit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.types import INSTANT, instants
from pipeline.errors import ContractBroken
from pipeline.extract.completeness import CAP, ProofBasis
from pipeline.partitions.window import Window

KeyRange = tuple[Any, Any]
"""The first and the last key of a row group that is in key order."""


@dataclass(frozen=True)
class Check:
    """One statement about a partition, and whether it holds."""

    name: str
    passed: bool
    detail: str
    blocking: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


def verify(
    read: Callable[[], Iterable[pa.RecordBatch]],
    *,
    key: Sequence[str],
    cursor: str | None,
    window: Window,
    expected_rows: int,
    contiguous: bool,
    rests_on: ProofBasis = ProofBasis.KEYS,
    zone: tzinfo = UTC,
) -> tuple[Check, ...]:
    """The statements about a partition that its files prove or refute.

    They are read row group by row group if these are in the order of a key of one column, so that
    memory does not grow with their number; all other keys are looked at together.

    :param read: the key and cursor columns of the files, as read back; from the start each time.
    :param rests_on: the proof basis of the pages.
    :param zone: in which the days of a cursor begin.
    """
    row_count = nulls = outside = duplicates = 0
    ranges: list[KeyRange] = []
    compound_keys: list[pa.RecordBatch] = []
    in_order = len(key) == 1
    for batch in filter(len, read()):
        row_count += batch.num_rows
        nulls += sum(batch[name].null_count for name in key)
        outside += _outside(batch, cursor, window, zone)
        if len(key) > 1:
            compound_keys.append(batch.select(list(key)))
            continue
        keys = batch[key[0]]
        in_order = in_order and _rises(keys)
        ranges.append((keys[0].as_py(), keys[-1].as_py()))
    if row_count and not (in_order and _apart(ranges)):
        duplicates = _duplicates(pa.Table.from_batches(compound_keys or read()).select(list(key)))
    return (
        Check(
            "keys_unique",
            duplicates == 0 and row_count == expected_rows,
            f"{row_count:,} rows read back of {expected_rows:,} written, {duplicates:,} with a key "
            "that another row has",
        ),
        Check("keys_not_null", nulls == 0, f"{nulls:,} keys are null"),
        Check("rows_in_window", outside == 0, f"{outside:,} rows lie outside the window"),
        Check(
            "pages_contiguous",
            contiguous,
            rests_on.claim
            if contiguous
            else "the API's count and the rows that came do not agree after repeated passes, or "
            "there is none for numbered pages (links and tokens may be such): name it as count or "
            f"paging.total; one of exactly {CAP:,} is no count, but where Elasticsearch stops",
            blocking=False,
        ),
    )


def refuse_if_broken(checks: Sequence[Check], what: str, *, hint: str) -> None:
    """Stop the commit if a blocking check does not hold.

    :param hint: what may be wrong in the source's YAML.
    :raises ContractBroken: one does not; the generation before stays.
    """
    broken = [check for check in checks if check.blocking and not check.passed]
    if broken:
        details = "; ".join(f"{check.name}: {check.detail}" for check in broken)
        raise ContractBroken(
            f"{what}: not committed, the generation before stays: {details}. {hint}"
        )


def _rises(keys: pa.Array) -> bool:
    """Whether each key is greater than the one before it."""
    if keys.null_count:
        return False
    try:
        rising = pc.less(keys[:-1], keys[1:])
    except pa.ArrowNotImplementedError:  # a type that Arrow does not order
        return False
    return bool(pc.all(rising, min_count=0).as_py())


def _apart(ranges: Sequence[KeyRange]) -> bool:
    """Whether no key of one range can be in another."""
    return all(before[1] < after[0] for before, after in pairwise(sorted(ranges)))


def _duplicates(keys: pa.Table) -> int:
    """How many rows have the key of another row: sorted, they are neighbours.

    Sorting, column by column, takes a fraction of the memory and the time that grouping does.
    """
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    same = pa.scalar(True)
    for column in keys.columns:
        if pa.types.is_string(column.type):
            column = column.cast(pa.large_string())  # all of them are more than 2 GiB, maybe
        ordered = column.take(order)
        same = pc.and_(same, pc.equal(ordered[:-1], ordered[1:]))
    return int(pc.sum(same).as_py() or 0)


def _outside(rows: pa.RecordBatch, cursor: str | None, window: Window, zone: tzinfo) -> int:
    if cursor is None or rows.num_rows == 0:
        return 0
    column = instants(rows[cursor], zone)
    bad = pc.greater_equal(column, _instant(window.end))
    if window.start is not None:
        bad = pc.or_kleene(pc.fill_null(bad, True), pc.less(column, _instant(window.start)))
    return int(pc.sum(bad).as_py() or 0)


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, INSTANT)
