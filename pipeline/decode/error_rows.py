"""Errors in the place of a row: an object of an error's words among the rows of a response.

Such an object has none of the columns. Where rows have no key, it would land as a row of nulls. A
row with any column's value is a row, whatever else it has; so is one of an error's words, if other
rows have them, too, or they are declared.
"""

import re
from collections.abc import Iterable, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.error_words import is_error_object, is_word_of_error
from pipeline.decode.exact_json import shorten
from pipeline.decode.row_selection import Row
from pipeline.decode.shape import Shape
from pipeline.errors import numbered

_MOST: int = 100
"""Rows without a value that are looked at."""


def rows_without_values(table: pa.Table, shape: Shape) -> list[int]:
    """The places of the rows that have no value in any column of theirs."""
    selection = shape.rows
    if selection.form not in ("list", "object", "object_or_list"):
        return []
    declared = shape.needed.union(column.name for column in shape.columns)
    around = {*selection.outer, selection.key_column}
    columns = [
        table[name]
        for name in table.column_names
        if name in declared or not (name in around or is_word_of_error(name))
    ]
    if not table.num_rows or not all(column.null_count for column in columns):
        return []
    empty = [pc.is_null(column) for column in columns]
    without = reduce(pc.and_, empty) if empty else pa.repeat(True, table.num_rows)
    return [int(at) for at in pc.indices_nonzero(without).to_pylist()[:_MOST]]


def error_among(
    rows: Sequence[Row], places: Sequence[int], shape: Shape, inferred: Iterable[str]
) -> str | None:
    """The sentence on the first of these rows that is an error; None if none is.

    A row of a log may be an error: where other rows have such members, or none are
    known, it is a row.

    :param inferred: the columns that are known besides the declared ones.
    """
    errors = [at for at in places if at < len(rows) and is_error_object(rows[at])]
    if not errors:
        return None
    known = {*inferred, *shape.needed, *(column.path[0] for column in shape.columns)}
    known.update(*(row for at, row in enumerate(rows) if at not in errors))
    at = next((at for at in errors if known and known.isdisjoint(rows[at])), None)
    if at is None:
        return None
    columns = sorted(shape.needed) or [column.name for column in shape.columns]
    paths = {column.name: ".".join(column.path) for column in shape.columns}
    expected = f"an object with `{columns[0]}`" if columns else "an object of its columns"
    checks = ["the request", "whether the API can give that row in another request"]
    member = paths.get(columns[0], columns[0]) if columns else ""
    if re.fullmatch(r"[A-Za-z_][\w.]*", member, re.ASCII) and shape.rows.plain:
        rows_path = f"jmespath: {shape.rows.where}[?{member}]"
        checks.append(f'`rows: "{rows_path}"`, which passes over all objects without `{member}`')
    checks.append(f"`columns: {{{next(iter(rows[at]))}: json}}`, if it is a row all the same")
    return (
        f"row {at} is an error and no row: {shorten(rows[at], 200)}. Expected {expected}. Check: "
        f"{numbered(checks)}"
    )
