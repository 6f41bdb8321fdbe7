"""Which rows are the current ones: vectorised functions of tables. No I/O.

All compare by key, and where an endpoint has a cursor, by the cursor.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import DELETED, EXTRACTED_AT
from pipeline.errors import ContractBroken
from pipeline.lake.parquet import common_schema

SWEPT_AT: Final = "_swept_at"
BACK: Final = "_back"
"""In a sweep's record: the key was gone, and was seen again."""
_RANK: Final = "__rank"


def newest_of_each(rows: pa.Table, key: Sequence[str], cursor: str | None) -> pa.Array:
    """The numbers of the rows that win their key, ascending.

    The latest cursor wins, then the latest extraction, then the later row; null is earliest.
    """
    by = [name for name in (cursor, EXTRACTED_AT) if name and name in rows.column_names]
    order: pa.Array = pa.arange(0, rows.num_rows)
    if by:
        order = pc.sort_indices(rows, sort_keys=[(name, "ascending", "at_start") for name in by])
    ranked = rows.select(list(key)).take(order).append_column(_RANK, pa.arange(0, rows.num_rows))
    best = ranked.group_by(list(key)).aggregate([(_RANK, "max")])[f"{_RANK}_max"]
    winners = order.take(best.combine_chunks()).cast(pa.int64())
    return winners.take(pc.sort_indices(winners))


def alive(
    rows: pa.Table, key: Sequence[str], deletions: pa.Table | None, *, tombstones: bool
) -> pa.Array:
    """For each row, whether it is neither a tombstone nor a key that a sweep found gone.

    :param tombstones: keep rows with ``_deleted`` all the same.
    :param deletions: keys and ``_swept_at``; a row that was extracted after that has come back.
    """
    keep: pa.Array = pa.repeat(pa.scalar(True), rows.num_rows)
    if DELETED in rows.column_names and not tombstones:
        keep = pc.and_(keep, pc.invert(pc.fill_null(rows[DELETED], False)))
    if deletions is not None and deletions.num_rows:
        numbered = rows.select([*key, EXTRACTED_AT]).append_column(
            _RANK, pa.arange(0, rows.num_rows)
        )
        swept = deletions.group_by(list(key)).aggregate([(SWEPT_AT, "max")])
        numbered, swept = comparable([numbered, swept])
        both = numbered.join(swept, keys=list(key), join_type="inner")
        dead = both.filter(pc.less_equal(both[EXTRACTED_AT], both[f"{SWEPT_AT}_max"]))[_RANK]
        numbers = pa.arange(0, rows.num_rows)
        keep = pc.and_(keep, pc.invert(pc.is_in(numbers, value_set=dead.combine_chunks())))
    return keep


def children_of(children: pa.Table, parents: pa.Table) -> pa.Table:
    """The rows that belong to one of the parents, in their order.

    :param parents: the columns by which they belong together, by the children's names.
    """
    names = parents.column_names
    numbered = children.select(names).append_column(_RANK, pa.arange(0, children.num_rows))
    numbered, parents = comparable([numbered, parents])
    both = numbered.join(parents, keys=names, join_type="left semi")
    ranks = both[_RANK].combine_chunks()
    return children.take(ranks.take(pc.sort_indices(ranks)))


def comparable(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables, with one type for each column: the widest, or text where they have none.

    A key's type may change: what was recorded of it before is compared with what comes since.

    >>> tables = [pa.table({"id": [1]}), pa.table({"id": ["A4"]})]
    >>> [each["id"].to_pylist() for each in comparable(tables)]
    [['1'], ['A4']]
    """
    types: dict[str, pa.DataType] = {}
    for each in tables:
        for field in each.schema:
            types[field.name] = _common_type(types.get(field.name, field.type), field.type)
    return [
        each.cast(pa.schema([(name, types[name]) for name in each.column_names])) for each in tables
    ]


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    try:
        return common_schema([pa.schema([("x", first)]), pa.schema([("x", second)])]).field(0).type
    except ContractBroken:
        return pa.string()
