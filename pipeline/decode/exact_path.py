"""The exact way: columns from parsed rows, cell by cell, and errors about cells that don't fit.

Any format whose rows can be parsed into dicts of Python values can take it.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Final

import pyarrow as pa

from pipeline.decode import coerce, inferred_columns
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.inferred_columns import InferredColumns, check_joins
from pipeline.decode.row_selection import Path, Row
from pipeline.decode.shape import Column, Shape, dig, misfit, pruned, remedy_for, table_of
from pipeline.decode.types import from_arrow


def table_of_rows(
    rows: Sequence[Row],
    shape: Shape,
    inferred: InferredColumns,
    conversions: ConversionCounts,
    label: str,
) -> pa.Table:
    """The rows as a table: declared columns, then those that these rows have besides.

    :raises ContractBroken: names the cell that doesn't fit.
    """
    columns = {}
    for column in shape.columns:
        inside = shape.exclusions_inside(column)
        columns[column.name] = declared_column(rows, column, inside, conversions, label)
    for name, member in shape.inferred_members(set().union(*rows)).items():
        type_so_far = inferred.known(name)
        excluded = shape.nested_exclusions.get(member, ())
        columns[name] = _inferred_column(
            rows, name, member, excluded, type_so_far, conversions, label
        )
    return table_of(columns, shape, len(rows))


def declared_column(
    rows: Sequence[Row],
    column: Column,
    excluded: Collection[Path],
    conversions: ConversionCounts,
    label: str,
) -> pa.Array:
    """A declared column of the rows; ContractBroken names the cell that doesn't fit.

    :param excluded: paths inside its values that no row keeps.
    """
    conversions.column = column.name
    values: list[object] = []
    try:
        for row in rows:
            value = dig(row, column.path)
            values.append(pruned(value, excluded) if excluded else value)
        return coerce.column(values, column.type, conversions)
    except coerce.CellRefused as refused:
        if refused.row < 0:  # the path leads through something that is no object
            refused.row = len(values)
        text = f"is declared {column.type.text}"
        if column.hidden:
            refused.value = "a value that is not shown, since the column is hashed"
        refused.remedy, instead = remedy_for(column, refused.remedy)
        refused.reason += instead
        raise misfit(label, column.name, text, rows[refused.row].get("id"), refused) from None


def _inferred_column(
    rows: Sequence[Row],
    name: str,
    member: str,
    excluded: Collection[Path],
    type_so_far: pa.DataType,
    conversions: ConversionCounts,
    label: str,
) -> pa.Array:
    """An inferred column of the rows, in the type that these rows give it."""
    conversions.column = name
    values = [pruned(row.get(member), excluded) if excluded else row.get(member) for row in rows]
    ids = [row.get("id") for row in rows]
    check_joins(values, ids, type_so_far, name, label)
    of: pa.DataType = pa.null()
    for value in values:
        of = inferred_columns.join(of, inferred_columns.type_of(value))
    try:
        return coerce.column(values, from_arrow(of), conversions)
    except coerce.CellRefused as refused:
        raise misfit(label, name, f"holds {of}", ids[refused.row], refused) from None


_MOST_ROWS: Final = 100
_NO_NULL: Final = (
    "the column is in the key, or declared nullable: false. Set one: 1. a column that every row "
    "has as `key`; 2. `key: none`, if no column tells rows apart; 3. `nullable: true`, if it is "
    "declared false"
)


def check_nulls(table: pa.Table, columns: Sequence[Column], label: str) -> None:
    """Raise ContractBroken at the first null in a column that must have none."""
    for column in columns:
        if column.nullable:
            continue
        array = table.column(column.name)
        if not array.null_count:
            continue
        row = array.is_null().index(True).as_py()
        key = table.column("id")[row].as_py() if "id" in table.column_names else None
        refused = coerce.CellRefused(None, _NO_NULL, "", row)
        text = f"is declared {column.type.text}"
        raise misfit(label, column.name, text, key, refused)


def absent(table: pa.Table, shape: Shape) -> list[Column]:
    """The columns that every row has to have, and none has."""
    return [
        column
        for column in shape.columns
        if not column.nullable
        and len(column.path) == 1
        and 0 < table.num_rows == table.column(column.name).null_count
    ]


def other_spelling(rows: Sequence[Row], columns: Sequence[Column]) -> str | None:
    """The sentence on a member that differs from the name of an absent column in its spelling."""
    members = sorted({name for row in rows[:_MOST_ROWS] for name in row})
    for column in columns:
        plain = _plain(column.path[0])
        twin = next((name for name in members if _plain(name) == plain and "." not in name), None)
        if twin is not None and column.path[0] not in members:
            spelt = json.dumps(twin)
            return (
                f"column `{column.name}` is in the key, or declared nullable: false, and no row "
                f"has that member: the rows have {spelt}, of another spelling. Set columns: "
                f"{{{column.name}: {{type: {column.type.text}, path: {spelt}}}}}"
            )
    return None


def _plain(name: str) -> str:
    """A name without what two spellings of it differ in: Unicode's form, case, spaces and marks."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name).casefold())
