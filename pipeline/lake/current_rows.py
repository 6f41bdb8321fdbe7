"""Which rows are the current ones, which are late: vectorised functions of tables. No I/O.

All compare by key, and where an endpoint has a cursor, by the cursor.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import DELETED, EXTRACTED_AT
from pipeline.decode.types import INSTANT
from pipeline.timestamps import as_iso

SWEPT_AT: Final = "_swept_at"
BACK: Final = "_back"
"""In a sweep's record: the key was gone, and was seen again."""
_RANK: Final = "__rank"


class LateRows(NamedTuple):
    """Rows of a partition that lie before it.

    :ivar margin_rows: rows whose cursor lies before the boundary.
    :ivar late_rows: those of them that the partition before does not have.
    :ivar latest_late_s: how many seconds, or numbers, before the boundary the earliest of those
        lies.
    """

    margin_rows: int
    late_rows: int
    latest_late_s: float | None


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
        both = numbered.join(_typed_as(swept, numbered), keys=list(key), join_type="inner")
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
    both = numbered.join(_typed_as(parents, numbered), keys=names, join_type="left semi")
    ranks = both[_RANK].combine_chunks()
    return children.take(ranks.take(pc.sort_indices(ranks)))


def lateness(
    margin: pa.Table, before: pa.Table | None, cursor: str, boundary: datetime | int
) -> LateRows:
    """Count late rows.

    :param margin: key and cursor of the rows whose cursor lies before the boundary.
    :param before: the same of the partition before; None if it was never committed, or has other
        columns, in which case nothing can be late.
    """
    if before is None or not margin.num_rows:
        return LateRows(margin.num_rows, 0, None)
    columns = margin.column_names
    try:
        before = _typed_as(before, margin)
    except pa.ArrowException:  # keys of another type, which none of these can be
        return LateRows(margin.num_rows, 0, None)
    late = margin.join(before, keys=columns, join_type="left anti")
    if not late.num_rows:
        return LateRows(margin.num_rows, 0, None)
    least = pc.min(late[cursor])
    if isinstance(boundary, int):
        return LateRows(margin.num_rows, late.num_rows, float(boundary - least.as_py()))
    late_s = (boundary - _instant(least)).total_seconds()
    return LateRows(margin.num_rows, late.num_rows, late_s)


def cursor_value(instant: datetime | int, kind: pa.DataType) -> pa.Scalar:
    """A bound in a cursor column: a number, or an instant as one, as a date, or as seconds."""
    if isinstance(instant, int):
        return pa.scalar(instant).cast(kind)
    if pa.types.is_timestamp(kind):
        utc = pa.scalar(instant.astimezone(UTC), INSTANT)
        return utc.cast(pa.timestamp("us", tz=kind.tz)).cast(kind, safe=False)
    if pa.types.is_date(kind):
        return pa.scalar(instant.astimezone(UTC).date(), kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.scalar(as_iso(instant), kind)
    return pa.scalar(instant.timestamp()).cast(kind, safe=False)


def _instant(value: pa.Scalar) -> datetime:
    plain = value.as_py()
    if isinstance(plain, str):
        plain = datetime.fromisoformat(plain)
    if isinstance(plain, int | float):
        return datetime.fromtimestamp(plain, UTC)
    if not isinstance(plain, datetime):
        plain = datetime(plain.year, plain.month, plain.day, tzinfo=UTC)
    return plain if plain.tzinfo else plain.replace(tzinfo=UTC)


def _typed_as(other: pa.Table, like: pa.Table) -> pa.Table:
    # Joins want equal types, and one partition's int may be the next one's double.
    for i, field in enumerate(other.schema):
        like_type = like.schema.field(field.name).type if field.name in like.column_names else None
        if like_type is not None and like_type != field.type:
            other = other.set_column(i, field.name, other.column(i).cast(like_type, safe=False))
    return other
