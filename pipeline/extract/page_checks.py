"""Checks the rows of one page against its request: order, keys, names of columns. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import DELETED, EXTRACTED_AT
from pipeline.config.endpoint import Endpoint
from pipeline.decode import Format
from pipeline.decode.types import instants
from pipeline.errors import ContractBroken, cut_bytes
from pipeline.extract.seen_rows import row_digests
from pipeline.extract.shared_keys import shared_key_of_page
from pipeline.messages import Body
from pipeline.model import split_path
from pipeline.pagination import SharedRows
from pipeline.pagination.base import whole_total
from pipeline.pagination.page import Key, Keys, PageContent, PageRequest
from pipeline.partitions.base import is_folder_column

_PLACE: Final = "__place"


def has_column(table: pa.Table, name: str) -> bool:
    """Whether a page has a column. All names of sixty columns cost more than one check of it."""
    return bool(table.schema.get_field_index(name) >= 0)


def ends(page: PageContent, endpoint: Endpoint) -> tuple[Any, Any]:
    """The first and the last key of a page; (None, None) if it is empty, or if the key has several
    columns."""
    names = endpoint.key_of_rows
    if page.table.num_rows == 0 or len(names) != 1 or not has_column(page.table, names[0]):
        return None, None  # that rows have the key is looked at when they are made (``check_keys``)
    return page.key_at(names[0], 0), page.key_at(names[0], -1)


def key_before_last(page: PageContent, endpoint: Endpoint) -> Any:
    """The key of the last row but one, where pages go by the key; None if there is none."""
    if page.table.num_rows < 2 or not endpoint.proven:
        return None
    return page.key_at(endpoint.key_of_rows[0], -2)


def first_new(keys: pa.ChunkedArray, covered: Key, *, descending: bool) -> int:
    """How many rows at the start of a page have come before. The keys are in order, so that all new
    rows are behind them.

    :param covered: the last key that came; None: no row did.
    """
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
    """The edges of a page, at which the next one begins: by the cursor, or the row that both have.

    :ivar cursor: the last one, ISO 8601; ``first_cursor`` the first one.
    :ivar first_keys: the key of the first row.
    :ivar boundary_keys: the keys of the rows that the next page begins with.
    """

    cursor: str | None = None
    first_keys: Keys | None = None
    boundary_keys: tuple[Keys, ...] = ()
    first_cursor: str | None = None


def edges_of(table: pa.Table, endpoint: Endpoint) -> PageEdges:
    """The edges of a page, where its paging goes by them.

    :raises ContractBroken: the rows do not come in the order of the cursor.
    """
    if table.num_rows == 0:
        return PageEdges()
    if endpoint.paging.shared_rows is SharedRows.SAME_CURSOR:
        return _by_cursor(table, str(endpoint.cursor), endpoint)
    if endpoint.overlaps and not endpoint.proven and endpoint.key_of_rows:
        check_keys(table, endpoint, endpoint.key_of_rows)
        (begins,) = _keys(table.slice(0, 1), endpoint)
        return PageEdges(
            first_keys=begins, boundary_keys=_keys(table.slice(table.num_rows - 1), endpoint)
        )
    return PageEdges()


def _by_cursor(table: pa.Table, name: str, endpoint: Endpoint) -> PageEdges:
    """Rows without a cursor come last, if any do; they come again with the last that has one."""
    column = instants(table[name], endpoint.window.zone).combine_chunks()
    having = len(column) - column.null_count
    column = column[:having]
    if column.null_count:
        raise ContractBroken(
            f"The page has rows without `{name}` before rows that have one, expected ascending "
            f"`{name}`. Set one: 1. a filter for rows that have `{name}`; 2. another kind of paging"
        )
    at = pc.index(pc.less(column[1:], column[:-1]), True).as_py()
    if at >= 0:
        raise ContractBroken(
            f"The page has `{name}` = {column[at + 1].as_py()} after {column[at].as_py()}, "
            "expected ascending. Check: the sort of the request"
        )
    if not having and endpoint.transform:
        raise ContractBroken(
            f"Pages go by `{name}`, and no row of the API has one: a value that "
            f"`{endpoint.transform}` makes can't be requested. Use another kind of paging"
        )
    if not having:
        return PageEdges()
    last = column[-1]
    tied = table.slice(pc.index(column, last).as_py())
    first, end = (str(cursor.as_py().isoformat()) for cursor in (column[0], last))
    return PageEdges(end, boundary_keys=_keys(tied, endpoint), first_cursor=first)


def _keys(table: pa.Table, endpoint: Endpoint) -> tuple[Keys, ...]:
    """The keys of the rows: of the columns that the API gives."""
    columns = (table[name].to_pylist() for name in endpoint.key_of_rows)
    return tuple(zip(*columns, strict=True))


def check_keys(table: pa.Table, endpoint: Endpoint, names: Sequence[str] = ()) -> None:
    """Check that every row has its key.

    :param names: the columns of the key to look at. Default: all.
    :raises ContractBroken: a row has none.
    """
    for name in names or endpoint.key:
        if name in endpoint.value_columns:
            continue
        if not has_column(table, name):
            if table.num_rows == 0:
                return
            raise ContractBroken(
                f"The rows have no column `{name}`, expected a value in each, since `key` names "
                "it. Check: `key`"
            )
        column = table[name]
        if pa.types.is_nested(column.type):
            raise ContractBroken(
                f"The key `{name}` is {column.type} in the rows, expected single values. "
                f"Check: 1. `key`; 2. the path to a member, e.g. columns: "
                f"{{{name}: {{type: int64, path: {name}.id}}}}"
            )
        if column.null_count:
            at = pc.index(pc.is_null(column), True).as_py()
            raise ContractBroken(
                f"The key `{name}` is null in row {at + 1} of the page, expected a value in each "
                "row. Set one: 1. a column that every row has as `key`; 2. `key: none`, if no "
                "column tells rows apart"
            )


def in_order_of(rows: pa.Table, transformed: pa.Table, endpoint: Endpoint) -> pa.Table:
    """The rows after the user's function, in the order in which pages go.

    :raises ContractBroken: pages go by the key, and it has made other keys of theirs: by these
        nobody could tell which rows have come already.
    """
    if not endpoint.proven or endpoint.transform is None:
        return transformed
    name = endpoint.key_of_rows[0]
    is_known = pc.is_in(transformed[name], value_set=rows[name].combine_chunks())
    at = pc.index(is_known, False).as_py()
    if at >= 0:
        raise ContractBroken(
            f"Pages go by `{name}`, and `{endpoint.transform}` made "
            f"{transformed[name][at].as_py()!r} of it, which no row of the page has. Leave "
            f"`{name}` as it is, and give the new value a column of its own (in the key beside it, "
            "if a row becomes several)"
        )
    return transformed.sort_by([(name, endpoint.order)])


def duplicates_at_edges(read: pa.Table, distinct: pa.Table, endpoint: Endpoint) -> tuple[int, int]:
    """How many rows with the first and with the last key ``without_duplicates`` has dropped."""
    if read.num_rows == distinct.num_rows:
        return 0, 0
    name = endpoint.key_of_rows[0]

    def dropped(key: pa.Scalar) -> int:
        counts = [pc.sum(pc.equal(table[name], key)).as_py() or 0 for table in (read, distinct)]
        return int(counts[0] - counts[1])

    return dropped(read[name][0]), dropped(read[name][-1])


def without_duplicates(table: pa.Table, endpoint: Endpoint) -> pa.Table:
    """A page in the order of the key, without rows that are equal to the one before them.

    Nearly every page is ``in_strict_order``, and need not be looked at.
    """
    if not endpoint.by_key or table.num_rows < 2 or not has_column(table, endpoint.key_of_rows[0]):
        return table
    keys = table[endpoint.key_of_rows[0]].combine_chunks()
    same = pc.fill_null(pc.equal(keys[1:], keys[:-1]), False)
    if not pc.any(same).as_py():
        return table
    rows = row_digests(table, table.column_names)
    keep = rows[1:] != rows[:-1]
    return table.filter(pa.array([True, *keep.tolist()]))


def in_strict_order(table: pa.Table, endpoint: Endpoint) -> bool:
    """Whether keys come as those of nearly every page do: none is null or comes twice."""
    by_key = endpoint.by_key and table.num_rows > 0  # an empty column may have no type
    if not by_key or not has_column(table, endpoint.key_of_rows[0]):
        return False
    keys = table[endpoint.key_of_rows[0]].combine_chunks()
    if pa.types.is_nested(keys.type) or keys.null_count:
        return False
    earlier, later = keys[:-1], keys[1:]
    descending = endpoint.order == "descending"
    right = pc.greater(earlier, later) if descending else pc.less(earlier, later)
    return bool(right.false_count == 0)


def check_order(
    table: pa.Table, endpoint: Endpoint, request: PageRequest, *, ordered: bool = False
) -> None:
    """Check that the keys of a page are as requested, if pages go by the key.

    :param ordered: the page is known to be in strict order, or a part of one that is.
    :raises ContractBroken: a key is null, comes twice, or is not in the order asked for.
    """
    if not endpoint.by_key or table.num_rows == 0:
        return
    name = endpoint.key_of_rows[0]
    keys = table[name] if has_column(table, name) else pa.chunked_array([pa.nulls(1)])
    if ordered or in_strict_order(table, endpoint):
        _bounds_kept(keys, request, endpoint)
        return
    check_keys(table, endpoint, endpoint.key_of_rows)
    keys = keys.combine_chunks()
    earlier, later = keys[:-1], keys[1:]
    descending = endpoint.order == "descending"
    wrong = pc.less_equal(earlier, later) if descending else pc.greater_equal(earlier, later)
    at = pc.index(wrong, True).as_py()
    if at >= 0 and later[at].equals(earlier[at]):
        raise shared_key_of_page(table.slice(at, 2), endpoint)
    if at >= 0:
        raise ContractBroken(
            f"The page has `{endpoint.key_of_rows[0]}` = {later[at].as_py()} after "
            f"{earlier[at].as_py()}, expected {endpoint.order}. Check: 1. the sort of the request; "
            "2. that the key is unique; 3. `order: none`, if the API sorts otherwise (texts by the "
            "rules of a language), or not at all"
        )
    _bounds_kept(keys, request, endpoint)


def _bounds_kept(keys: pa.ChunkedArray, request: PageRequest, endpoint: Endpoint) -> None:
    """:raises ContractBroken: rows after (or before) a key were requested, and one at or beyond it
    came: the API ignores the filter."""
    if request.after is None and request.before is None:
        return
    first, last = keys[0].as_py(), keys[-1].as_py()
    low, high = (last, first) if endpoint.order == "descending" else (first, last)
    too_low = request.after is not None and (
        high >= request.after if endpoint.order == "descending" else low <= request.after
    )
    too_high = request.before is not None and (
        low <= request.before if endpoint.order == "descending" else high >= request.before
    )
    bound = high if endpoint.order == "descending" else low
    if too_low and not too_high and bound == request.after:
        raise ContractBroken(
            f"The page begins with `{endpoint.key_of_rows[0]}` = {bound}, expected rows after "
            f"{request.after}. The API includes the bound. Set one: 1. the parameter with "
            "{after} that means greater than (gt in place of gte); 2. `paging: {inclusive: true}`; "
            "3. `paging: {kind: cursor}`, if the rows are sorted by the cursor"
        )
    if too_low or too_high:
        raise ContractBroken(
            f"The page has rows with `{endpoint.key_of_rows[0]}` from {first} to {last}, expected "
            f"after {request.after} and before {request.before}. The API seems to ignore the "
            "filter on the key. Check: 1. the parameters with {after} and {before}; 2. `paging: "
            "{inclusive: true}`, if the API gives the row with that key as well"
        )


def latest_of_page(table: pa.Table, endpoint: Endpoint) -> pa.Table:
    """The last change of each row, if rows are changes in the order in which they happened; else
    all rows."""
    if endpoint.bookmark is None or not endpoint.bookmark.in_order or table.num_rows < 2:
        return table
    key = [*endpoint.key]
    numbered = table.select(key).append_column(_PLACE, pa.arange(0, table.num_rows))
    last = numbered.group_by(key).aggregate([(_PLACE, "max")])[f"{_PLACE}_max"]
    return table if len(last) == table.num_rows else table.take(last.combine_chunks().sort())


_REMEDY = {
    EXTRACTED_AT: "",
    DELETED: "say deleted: _deleted if it marks rows that are gone, or ",
}
"""Columns that mean something to readers of the lake."""


def check_names(table: pa.Table, endpoint: Endpoint) -> None:
    """Refuse rows whose members would be taken for columns of ours.

    :raises ContractBroken: a member has the name of such a column.
    """
    declared = {*endpoint.columns, DELETED if endpoint.deleted else ""}
    for name in _REMEDY.keys() - declared:
        if name in table.column_names:
            raise ContractBroken(
                f"The rows have a member `{name}`, and a column of that name has a meaning of its "
                f"own in the lake: {_REMEDY[name]}give the member another name, e.g. columns: "
                f"{{their{name}: {{type: json, path: {name}}}}}"
            )
    folder = next((name for name in table.column_names if is_folder_column(name)), None)
    if folder is not None:
        raise ContractBroken(
            f"The rows have a member `{folder}`, and the folders of partitions are named dt=…, so "
            "that engines which read them by their path show the partition in its place. Give the "
            f"member another name, e.g. columns: {{their_dt: {{type: json, path: {folder}}}}}"
        )


def without_bounds(table: pa.Table, endpoint: Endpoint, request: PageRequest) -> pa.Table:
    """The rows without those of the keys that others were requested after, or before."""
    bounds = [key for key in (request.after, request.before) if key is not None]
    if not endpoint.paging.extra_rows(request) or not bounds or table.num_rows == 0:
        return table
    column = table[endpoint.key_of_rows[0]]
    try:
        at_bound = pc.is_in(column, value_set=pa.array(bounds, column.type))
    except (pa.ArrowException, OverflowError):
        return table
    return table.filter(pc.invert(at_bound)) if pc.any(at_bound).as_py() else table


def count_in(format: Format, body: Body, path: str) -> int | None:
    """The count at a path of a response.

    :raises BadBody: the body is not of the format. :raises ContractBroken: there is no count.
    """
    try:
        value = format.value_at(body, split_path(path))
    except (KeyError, TypeError):
        raise _no_count(body, path) from None
    try:
        return whole_total(value)
    except ContractBroken:
        raise _no_count(body, path) from None


def _no_count(body: Body, path: str) -> ContractBroken:
    return ContractBroken(
        f"The response to a count is {cut_bytes(body, 100)!r}, expected a number at `{path}`. "
        "Check: 1. count.path; 2. count.at"
    )
