"""The Parquet files: how they are laid out, and that they hold what they were given."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.lake.parquet import ParquetBuffer, encode, repetitive_columns


def _table(rows: int) -> pa.Table:
    chance = random.Random(1)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "status": pa.array([chance.choice(["ok", "late", None]) for _ in range(rows)]),
            "name": [f"{chance.random():.15f}" for _ in range(rows)],
            "cover": [{"kind": i % 3, "hash": f"{chance.random()}"} for i in range(rows)],
            "tags": [["a", "b"][: i % 3] for i in range(rows)],
            "score": [chance.random() for _ in range(rows)],
            "nothing": pa.nulls(rows),
            "_extracted_at": pa.repeat(pa.scalar(0, pa.timestamp("us", tz="UTC")), rows),
        }
    )


def _read(body: pa.Buffer) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(body))


def test_what_was_written_is_read_and_written_again_alike() -> None:
    table = _table(1000)
    body = encode(table)
    assert _read(body).read().equals(table)
    assert encode(table).equals(body)


@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (49_999, 1), (99_999, 1), (130_000, 2)])
def test_row_groups_are_large(rows: int, groups: int) -> None:
    meta = _read(encode(pa.table({"id": pa.array(range(rows), pa.int64())}))).metadata
    assert meta.num_row_groups == groups
    if groups > 1:
        assert all(meta.row_group(i).num_rows >= 25_000 for i in range(groups))


def test_a_file_that_grows_by_row_groups() -> None:
    table = _table(900)
    file = ParquetBuffer(table.schema, repetitive_columns(table))
    held: list[int] = []
    for start in (0, 300, 600):
        file.add(table.slice(start, 300))
        held.append(file.held_bytes)
    assert held == sorted(set(held)), "what is added is written, and not kept as a table"
    body = file.close()
    assert _read(body).read().equals(table)
    assert (file.rows, _read(body).metadata.num_row_groups) == (900, 3)


def test_columns_of_few_values_have_a_dictionary() -> None:
    table = _table(2000)
    assert repetitive_columns(table) == [
        "status",
        "cover.kind",
        "tags.list.element",
        "_extracted_at",
    ]
    columns = _read(encode(table)).metadata.row_group(0)
    used = {
        columns.column(i).path_in_schema: columns.column(i).has_dictionary_page
        for i in range(columns.num_columns)
    }
    assert {path for path, has in used.items() if has} == set(repetitive_columns(table))


def test_statistics_and_compression() -> None:
    column = _read(encode(_table(100))).metadata.row_group(0).column(0)
    assert (column.compression, column.statistics.max) == ("ZSTD", 99)
