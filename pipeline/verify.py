"""What is true of a partition's files, read back from the lake before any manifest names them.

The keys and the cursor are read from S3, not from memory: this is the proof that the lake has what
the pages brought. A breach that would put wrong rows before readers stops the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ContractBroken
from pipeline.types import INSTANT
from pipeline.window import Window


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
    rows: pa.Table,
    *,
    key: Sequence[str],
    cursor: str | None,
    window: Window,
    expected_rows: int,
    contiguous: bool,
) -> tuple[Check, ...]:
    """:param rows: the key and cursor columns of the files, as read back."""
    nulls = sum(rows[name].null_count for name in key)
    twice = rows.num_rows - rows.group_by(list(key)).aggregate([]).num_rows if rows.num_rows else 0
    outside = _outside(rows, cursor, window)
    return (
        Check(
            "keys_unique",
            twice == 0 and rows.num_rows == expected_rows,
            f"{rows.num_rows:,} rows read back of {expected_rows:,} written, {twice:,} with a key "
            "that another row has",
        ),
        Check("keys_not_null", nulls == 0, f"{nulls:,} keys are null"),
        Check("rows_in_window", outside == 0, f"{outside:,} rows lie outside the window"),
        Check(
            "pages_contiguous",
            contiguous,
            "no row can lie between two pages"
            if contiguous
            else "the API's count and the rows that came do not agree after repeated passes",
            blocking=False,
        ),
    )


def refuse_if_broken(checks: Sequence[Check], what: str) -> None:
    """:raises ContractBroken: a blocking check does not hold; the generation before stays."""
    broken = [check for check in checks if check.blocking and not check.passed]
    if broken:
        said = "; ".join(f"{check.name}: {check.detail}" for check in broken)
        raise ContractBroken(
            f"{what}: not committed, the generation before stays: {said}. Is 'key' right, and does "
            "the API honour the filter?"
        )


def _outside(rows: pa.Table, cursor: str | None, window: Window) -> int:
    if cursor is None or rows.num_rows == 0:
        return 0
    column = pc.cast(rows[cursor], INSTANT)
    bad = pc.greater_equal(column, _instant(window.end))
    if window.start is not None:
        bad = pc.or_(pc.fill_null(bad, True), pc.less(column, _instant(window.start)))
    return int(pc.sum(bad).as_py() or 0)


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, INSTANT)
