"""The checks of what was read back: of row groups in key order, and in any other."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.paths import ROOT
from pipeline.partitions.window import Window
from pipeline.run.verify import CONTIGUOUS, verify

END = datetime(2026, 11, 2, tzinfo=UTC)
WINDOW = Window("snapshot", None, END, 0.0)


def groups(*of: list[Any]) -> list[pa.RecordBatch]:
    return [pa.record_batch({"id": pa.array(keys)}) for keys in of]


def checks(batches: list[pa.RecordBatch], key: tuple[str, ...] = ("id",)) -> tuple[bool, int]:
    """Whether the keys are unique, and how often the batches were read for that."""
    times = 0

    def read() -> list[pa.RecordBatch]:
        nonlocal times
        times += 1
        return batches

    rows = sum(batch.num_rows for batch in batches)
    found = verify(read, key=key, cursor=None, window=WINDOW, expected_rows=rows, proof=CONTIGUOUS)
    return found[0].passed, times


@pytest.mark.parametrize(
    ("batches", "unique", "times"),
    [
        ([], True, 1),
        (groups([]), True, 1),
        (groups([1, 2], [3, 9]), True, 1),
        (groups([3, 9], [1, 2]), True, 1),  # newest first: the groups come the other way round
        (groups([1, 2], [2, 3]), False, 2),
        (groups([1, 1]), False, 2),
        (groups([1, 5], [2, 3]), True, 2),
        (groups([1, 5], [2, 5]), False, 2),
        (groups([2, 1], [3, 4]), True, 2),
        (groups(["a", "é"], ["z", "ö"]), True, 2),
        (groups(["a", "b"], ["é", "\U0001f600"]), True, 1),
        (groups([float("nan"), 1.0]), True, 2),
    ],
)
def test_keys_are_unique(batches: list[pa.RecordBatch], unique: bool, times: int) -> None:
    assert checks(batches) == (unique, times)


def test_keys_of_two_columns_are_looked_at_together() -> None:
    batch = pa.record_batch({"a": [1, 1, 2], "b": [1, 2, 1]})
    assert checks([batch], ("a", "b")) == (True, 1)
    assert checks([batch, batch.slice(0, 1)], ("a", "b")) == (False, 1)


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.integers(0, 4), st.dates(date(2026, 1, 1))),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_any_rows_with_the_key_of_another_are_seen(rows: list[tuple[Any, ...]], cut: int) -> None:
    rows = [*rows, *rows[cut:]]
    kinds = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.date32())])
    parts = [[dict(zip("abc", row, strict=True)) for row in part] for part in (rows[3:], rows[:3])]
    batches = [pa.RecordBatch.from_pylist(part, kinds) for part in parts]
    for key in (("a", "b", "c"), ("b", "a"), ("c",)):
        different = {tuple(row["abc".index(name)] for name in key) for row in rows}
        assert checks(batches, key)[0] == (len(different) == len(rows))


_PEAK = """
import pyarrow as pa
from tests.run.test_verify import checks
names, groups = [f"value {n}" for n in range(8)] * 3_125, range(0, 1_000_000, 25_000)
batches = [pa.record_batch({"a": names, "b": range(n, n + 25_000)}) for n in groups]
before = pa.default_memory_pool().bytes_allocated()
assert checks(batches, ("a", "b")) == (True, 1)
print((pa.default_memory_pool().max_memory() - before) / 1_000_000)
"""


@pytest.mark.slow
def test_keys_that_are_looked_at_together_take_few_bytes_a_row() -> None:
    """Arrow's own, which does not depend on what else the machine does; 113 if they are grouped."""
    command = [sys.executable, "-c", _PEAK]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert float(said.stdout) < 80


def test_nulls_and_lost_rows_are_seen() -> None:
    found = verify(
        lambda: groups([1, None, 3]),
        key=("id",),
        cursor=None,
        window=WINDOW,
        expected_rows=4,
        proof=CONTIGUOUS,
    )
    assert [check.name for check in found if not check.passed] == ["keys_unique", "keys_not_null"]
    assert "3 rows read back of 4 written" in found[0].detail


def test_rows_outside_the_window_and_rows_without_a_cursor_are_seen() -> None:
    day = Window("incremental", END - timedelta(days=1), END, 0.0)
    at = [END - timedelta(days=2), END - timedelta(days=1), None, END]
    batch = pa.record_batch({"id": range(4), "at": pa.array(at, pa.timestamp("us", tz="UTC"))})
    found = verify(
        lambda: [batch], key=("id",), cursor="at", window=day, expected_rows=4, proof=CONTIGUOUS
    )
    (failed,) = [check for check in found if not check.passed]
    assert (failed.name, failed.detail) == ("rows_in_window", "3 rows lie outside the window")
