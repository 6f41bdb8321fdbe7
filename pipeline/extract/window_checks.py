"""The rows of one page, held against the window that was requested. Pure."""

from datetime import datetime
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.endpoint import FIRST_CURSOR, Endpoint
from pipeline.decode.types import INSTANT, instants
from pipeline.dialects.placeholders import may_come
from pipeline.errors import ContractBroken
from pipeline.extract.early_times import coarser_type
from pipeline.partitions.bookmark import BookmarkSpan
from pipeline.timestamps import as_iso


def with_first_cursor(table: pa.Table, endpoint: Endpoint) -> pa.Table:
    """The rows with the cursor that they have in the first of several columns."""
    if endpoint.cursor != FIRST_CURSOR:
        return table
    zone = endpoint.window.zone
    columns = [instants(table[name], zone) for name in endpoint.cursors]
    return table.append_column(pa.field(FIRST_CURSOR, INSTANT), pc.coalesce(*columns))


def inside(
    table: pa.Table,
    endpoint: Endpoint,
    start: datetime | None,
    end: datetime,
    bookmarks: BookmarkSpan | None = None,
) -> pa.Table:
    """The rows inside the window.

    A few rows after it are dropped: they have changed since the API's index found them by their old
    cursor, and belong to a later window.

    :raises ContractBroken: a row lies before what was asked for, or many after it.
    """
    if endpoint.bookmark is not None:
        return endpoint.bookmark.inside(table, bookmarks)
    if endpoint.cursor is None or table.num_rows == 0:
        return table
    column = instants(table[endpoint.cursor], endpoint.window.zone)
    if _all_between(column, start, end):
        return table
    _not_beyond(table, endpoint, column, start, end)
    keep = pc.less(column, _instant(end))
    if start is not None:
        keep = pc.and_(keep, pc.greater_equal(column, _instant(start)))
    keep = pc.fill_null(keep, start is None)
    return table if pc.all(keep, min_count=0).as_py() else table.filter(keep)


def after_end(
    table: pa.Table,
    endpoint: Endpoint,
    start: datetime | None,
    end: datetime,
    changed_before: datetime,
) -> int:
    """How many rows the API gave from behind all that was requested, though they have not changed
    since: an API that reads the bound in another zone does so.

    :param changed_before: rows with a later cursor may have changed while they were read.
    """
    if endpoint.cursor is None or table.num_rows == 0:
        return 0
    latest = may_come(endpoint.window, start, end)[1]
    if latest is None or latest >= changed_before:
        return 0
    column = instants(table[endpoint.cursor], endpoint.window.zone)
    behind = pc.and_(
        pc.greater(column, _instant(latest)), pc.less(column, _instant(changed_before))
    )
    return int(pc.sum(behind).as_py() or 0)


def newer_than(table: pa.Table, endpoint: Endpoint, began: datetime) -> bool:
    """Whether all rows of a page, which has some, changed at or after an instant."""
    if endpoint.cursor is None or table.num_rows == 0:
        return False
    column = instants(table[endpoint.cursor], endpoint.window.zone)
    return bool(pc.all(pc.fill_null(pc.greater_equal(column, _instant(began)), False)).as_py())


def _not_beyond(
    table: pa.Table,
    endpoint: Endpoint,
    column: pa.ChunkedArray,
    start: datetime | None,
    end: datetime,
) -> None:
    earliest, latest = may_come(endpoint.window, start, end)
    unasked = start is None or endpoint.window.start == "none"
    beyond = pa.repeat(False, len(column)) if unasked else pc.is_null(column)
    if latest is not None:
        later = pc.fill_null(pc.greater(column, _instant(latest)), False)
        if not _is_few(pc.sum(later).as_py(), len(column)):
            beyond = pc.or_(beyond, later)
    if earliest is not None:
        beyond = pc.or_(beyond, pc.fill_null(pc.less(column, _instant(earliest)), False))
    at = pc.index(beyond, True).as_py()
    if at < 0:
        return
    key = {name: table[name][at].as_py() for name in endpoint.key}
    if not column[at].is_valid:
        of = " or ".join(f"`{name}`" for name in endpoint.cursors)
        raise ContractBroken(
            f"Row `{key}` has no {of} (it is null, or there is no such member), expected a value "
            "inside the requested window. Check: 1. that `cursor` names the right column; 2. that "
            "the name is spelt as in the rows; 3. another column, if it is null until a row "
            f"changes, e.g. `cursor: [{', '.join(endpoint.cursors)}, created_at]`; 4. `cursor: "
            "window`, if the rows do not show the time that the API filters by. The rows have "
            f"{', '.join(_filled(table)[:12])}"
        )
    since = "the beginning" if start is None else start.isoformat()
    row = f"Row `{key}` has `{endpoint.cursor}` = {column[at].as_py()}"
    window = f"{since} to {end.isoformat()}"
    declared = endpoint.columns.get(endpoint.cursor or "")
    if declared is not None and (unit := coarser_type(declared.type, column[at].value)):
        raise ContractBroken(
            f"{row}, outside the requested window ({window}). The number that came is "
            f"{as_iso(unit[1])} in another unit. Set columns: {{{endpoint.cursor}: {unit[0]}}}, in "
            f"place of {declared.type}"
        )
    raise ContractBroken(
        f"{row}, outside the requested window ({window}). The API seems to ignore the filter. "
        "Check: 1. the parameters with {start} and {end}; 2. window.format: as in the rows, if the "
        f"API compares times as texts; 3. that `{endpoint.cursor}` is in UTC, or window.timezone "
        "names its zone"
    )


def _filled(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if table[name].null_count < table.num_rows]


def _is_few(rows: int, of: int) -> bool:
    """At most a tenth of a page, or one row; never all of it."""
    return rows < of and rows <= max(1, of // 10)


def _all_between(column: pa.ChunkedArray, start: datetime | None, end: datetime) -> bool:
    """Whether every row lies inside the window: so it is with nearly every page."""
    if column.null_count and start is not None:
        return False
    least, most = (extreme.value for extreme in pc.min_max(column).values())
    if least is None:
        return True
    begins = None if start is None else _instant(start).value
    return bool(most < _instant(end).value and (begins is None or begins <= least))


@lru_cache(maxsize=64)
def _instant(moment: datetime) -> pa.Scalar:
    """Of the bounds of a window: all of its pages are held against the same."""
    return pa.scalar(moment, INSTANT)
