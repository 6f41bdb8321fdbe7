"""The rows of a page: inside the window that was asked for, and by names that are free. Pure."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.endpoint import Endpoint
from pipeline.decode.types import INSTANT
from pipeline.dialects.window_format import may_come
from pipeline.errors import ContractBroken


def inside(table: pa.Table, endpoint: Endpoint, start: datetime | None, end: datetime) -> pa.Table:
    """The rows inside the window.

    A few rows after it are dropped: they have changed since the API's index found them by their old
    cursor, and belong to a later window.

    :raises ContractBroken: a row lies before what was asked for, or many after it.
    """
    if endpoint.cursor is None or table.num_rows == 0:
        return table
    column = pc.cast(table[endpoint.cursor], INSTANT)
    if _all_between(column, start, end):
        return table
    _not_beyond(table, endpoint, column, start, end)
    keep = pc.less(column, _instant(end))
    if start is not None:
        keep = pc.and_(keep, pc.greater_equal(column, _instant(start)))
    keep = pc.fill_null(keep, start is None)
    return table if pc.all(keep, min_count=0).as_py() else table.filter(keep)


_REMEDY = {
    "_extracted_at": "",
    "_deleted": "say deleted: _deleted if it marks rows that are gone, or ",
}
"""Columns that mean something to readers of the lake."""


def check_names(table: pa.Table, endpoint: Endpoint) -> None:
    """Refuse rows whose members would be taken for columns of ours.

    :raises ContractBroken: a member has the name of such a column.
    """
    declared = {*endpoint.columns, "_deleted" if endpoint.deleted else ""}
    for name in _REMEDY.keys() - declared:
        if name in table.column_names:
            raise ContractBroken(
                f"the rows have a member {name}, and a column of that name has a meaning of its "
                f"own in the lake: {_REMEDY[name]}give theirs another one, e.g. columns: "
                f"{{their{name}: {{type: json, path: {name}}}}}"
            )


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
        raise ContractBroken(
            f"asked for a window of {endpoint.cursor}, got the row {key} without one: is it the "
            f"right cursor, and spelt as in the rows? They have {', '.join(_filled(table)[:12])}"
        )
    since = "the beginning" if start is None else start.isoformat()
    raise ContractBroken(
        f"asked for {endpoint.cursor} from {since} to {end.isoformat()}, got "
        f"{column[at].as_py()} in the row {key}: the API ignores the filter; are "
        f"the parameters that carry {{start}} and {{end}} right, written as in the rows if the API "
        f"compares times as texts (window.format), and is {endpoint.cursor} in UTC?"
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
    found = pc.min_max(column.cast(pa.int64()))
    least, most = found["min"].as_py(), found["max"].as_py()
    if least is None:
        return True
    begins = None if start is None else _instant(start).value
    return most < _instant(end).value and (begins is None or begins <= least)


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, INSTANT)
