"""Which rows are the current ones: vectorised functions of tables. No I/O.

All compare by key, and where an endpoint has a cursor, by the cursor.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import DELETED, EXTRACTED_AT

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
        both = numbered.join(typed_as(swept, numbered), keys=list(key), join_type="inner")
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
    both = numbered.join(typed_as(parents, numbered), keys=names, join_type="left semi")
    ranks = both[_RANK].combine_chunks()
    return children.take(ranks.take(pc.sort_indices(ranks)))


def typed_as(other: pa.Table, like: pa.Table) -> pa.Table:
    # Joins want equal types, and one partition's int may be the next one's double.
    for i, field in enumerate(other.schema):
        like_type = like.schema.field(field.name).type if field.name in like.column_names else None
        if like_type is not None and like_type != field.type:
            other = other.set_column(i, field.name, other.column(i).cast(like_type, safe=False))
    return other
