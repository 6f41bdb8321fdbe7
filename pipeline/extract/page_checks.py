"""In which order the rows of one page come, held against what was asked. Pure."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.endpoint import Endpoint
from pipeline.decode.types import INSTANT
from pipeline.errors import ContractBroken
from pipeline.pagination import SharedRows
from pipeline.pagination.page import Key, Keys, PageRequest


def ends(table: pa.Table, endpoint: Endpoint) -> tuple[Any, Any]:
    """The first and the last key of a page; (None, None) if empty, or a key of many columns."""
    if table.num_rows == 0 or len(endpoint.key_of_rows) != 1:
        return None, None
    column = table[endpoint.key_of_rows[0]]
    return column[0].as_py(), column[-1].as_py()


def first_new(keys: pa.ChunkedArray, covered: Key, *, descending: bool) -> int:
    """How many rows at the start are covered: in key order, all that is new comes last."""
    if covered is None:
        return 0

    def is_new(at: int) -> bool:
        key = keys[at].as_py()
        return bool(key < covered if descending else key > covered)

    for at in range(min(2, len(keys))):  # one row of overlap is what mostly comes
        if is_new(at):
            return at
    return bisect_left(range(len(keys)), True, key=is_new)


@dataclass(frozen=True)
class PageEdges:
    """Where the page after this one begins: by the cursor, or with the row that both have.

    :ivar cursor: the last one, ISO 8601. :ivar since: the first one.
    :ivar begins: the key of the first row. :ivar again: of those that the next page begins with.
    """

    cursor: str | None = None
    begins: Keys | None = None
    again: tuple[Keys, ...] = ()
    since: str | None = None


def edges_of(table: pa.Table, endpoint: Endpoint) -> PageEdges:
    """The edges of a page, where its paging goes by them.

    :raises ContractBroken: the rows do not come in the order of the cursor.
    """
    if table.num_rows == 0:
        return PageEdges()
    if endpoint.paging.shared_rows is SharedRows.SAME_CURSOR:
        return _by_cursor(table, str(endpoint.cursor), endpoint)
    if endpoint.overlaps and not endpoint.proven and endpoint.key_of_rows:
        (begins,) = _keys(table.slice(0, 1), endpoint)
        return PageEdges(begins=begins, again=_keys(table.slice(table.num_rows - 1), endpoint))
    return PageEdges()


def _by_cursor(table: pa.Table, name: str, endpoint: Endpoint) -> PageEdges:
    """Rows without a cursor come last, if any do; they come again with the last that has one."""
    column = pc.cast(table[name], INSTANT).combine_chunks()
    having = len(column) - column.null_count
    column = column[:having]
    if column.null_count:
        raise ContractBroken(
            f"asked for ascending {name}, got rows without one before rows that have one: ask the "
            "API for rows that have one, or use another kind of paging"
        )
    at = pc.index(pc.less(column[1:], column[:-1]), True).as_py()
    if at >= 0:
        raise ContractBroken(
            f"asked for ascending {name}, got {column[at + 1].as_py()} after "
            f"{column[at].as_py()}: is the sort of the request right?"
        )
    if not having and endpoint.transform:
        raise ContractBroken(
            f"pages go by {name}, and no row of the API has one: what {endpoint.transform} makes "
            "can't be asked for. Use another kind of paging"
        )
    if not having:
        return PageEdges()
    last = column[-1]
    tied = table.slice(pc.index(column, last).as_py())
    first, end = (str(cursor.as_py().isoformat()) for cursor in (column[0], last))
    return PageEdges(end, again=_keys(tied, endpoint), since=first)


def _keys(table: pa.Table, endpoint: Endpoint) -> tuple[Keys, ...]:
    """The keys of the rows: of the columns that the API gives."""
    columns = (table[name].to_pylist() for name in endpoint.key_of_rows)
    return tuple(zip(*columns, strict=True))


def check_keys(table: pa.Table, endpoint: Endpoint) -> None:
    """Whether all rows have keys.

    :raises ContractBroken: one has none.
    """
    for name in endpoint.key:
        if name == endpoint.column_of_parent:
            continue
        if name not in table.column_names:
            if table.num_rows == 0:
                return
            raise ContractBroken(f"the key column {name!r} is not in the rows: is 'key' right?")
        if pa.types.is_nested(table[name].type):
            raise ContractBroken(
                f"the key {name!r} is {table[name].type} in the rows, expected single values: is "
                f"'key' right? A member is named by a path, e.g. columns: "
                f"{{{name}: {{type: int64, path: {name}.id}}}}"
            )
        if table[name].null_count:
            at = pc.index(pc.is_null(table[name]), True).as_py()
            raise ContractBroken(f"the key {name!r} is null in row {at + 1} of the page")


def in_order_of(rows: pa.Table, made: pa.Table, endpoint: Endpoint) -> pa.Table:
    """What the user's function has made of a page's rows, in the order in which pages go.

    :raises ContractBroken: pages go by the key, and it has made other keys of theirs: by these
        nobody could tell which rows have come already.
    """
    if not endpoint.proven or endpoint.transform is None:
        return made
    name = endpoint.key_of_rows[0]
    known = pc.is_in(made[name], value_set=rows[name].combine_chunks())
    at = pc.index(known, False).as_py()
    if at >= 0:
        raise ContractBroken(
            f"pages go by {name}, and {endpoint.transform} made {made[name][at].as_py()!r} of it, "
            f"which no row of the page has: leave {name} as it is, and give what is made a column "
            "of its own (in the key beside it, if a row becomes several)"
        )
    return made.sort_by([(name, endpoint.order)])


def check_order(table: pa.Table, endpoint: Endpoint, ask: PageRequest) -> None:
    """Hold the keys of a page against what was asked for, if pages go by the key.

    :raises ContractBroken: a key is null, or the rows are not in the order asked for.
    """
    if not endpoint.by_key or table.num_rows == 0:
        return
    check_keys(table, endpoint)
    keys = table[endpoint.key_of_rows[0]].combine_chunks()
    earlier, later = keys[:-1], keys[1:]
    descending = endpoint.order == "descending"
    wrong = pc.less_equal(earlier, later) if descending else pc.greater_equal(earlier, later)
    at = pc.index(wrong, True).as_py()
    if at >= 0:
        raise ContractBroken(
            f"asked for {endpoint.order} {endpoint.key_of_rows[0]}, got {later[at].as_py()} after "
            f"{earlier[at].as_py()}: is the sort of the request right, and the key unique?"
        )
    _bounds_kept(keys, ask, endpoint)


def _bounds_kept(keys: pa.Array, ask: PageRequest, endpoint: Endpoint) -> None:
    """The rows after (before) a key were asked for: one at or beyond it means a filter ignored."""
    first, last = keys[0].as_py(), keys[-1].as_py()
    low, high = (last, first) if endpoint.order == "descending" else (first, last)
    too_low = ask.after is not None and (
        high >= ask.after if endpoint.order == "descending" else low <= ask.after
    )
    too_high = ask.before is not None and (
        low <= ask.before if endpoint.order == "descending" else high >= ask.before
    )
    if too_low or too_high:
        raise ContractBroken(
            f"asked for {endpoint.key_of_rows[0]} after {ask.after} and before {ask.before}, got "
            f"rows from {first} to {last}: the API ignores the filter on the key"
        )
