"""The exact way: columns from parsed rows, cell by cell, and sentences about what doesn't fit."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.decode import coerce, type_lattice
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.exact_json import shorten
from pipeline.decode.shape import Column, Shape, dig, misfit
from pipeline.decode.types import from_arrow
from pipeline.errors import ContractBroken

Row = dict[str, object]


def declared_column(
    rows: Sequence[Row], column: Column, tally: ConversionCounts, where: str
) -> pa.Array:
    """A declared column of the rows; ContractBroken names the cell that doesn't fit."""
    tally.column = column.name
    values: list[object] = []
    try:
        for row in rows:
            values.append(dig(row, column.path))
        return coerce.column(values, column.type, tally)
    except coerce.CellRefused as refused:
        if refused.row < 0:  # the path leads through something that is no object
            refused.row = len(values)
        text = f"is declared {column.type.text}"
        raise misfit(where, column.name, text, rows[refused.row].get("id"), refused) from None


def inferred_column(
    rows: Sequence[Row], name: str, known: pa.DataType, tally: ConversionCounts, where: str
) -> pa.Array:
    """An inferred column of the rows, in the type that these rows give it."""
    tally.column = name
    values = [row.get(name) for row in rows]
    ids = [row.get("id") for row in rows]
    check_joins(values, ids, known, name, where)
    of: pa.DataType = pa.null()
    for value in values:
        of = type_lattice.join(of, type_lattice.type_of(value))
    try:
        return coerce.column(values, from_arrow(of), tally)
    except coerce.CellRefused as refused:
        raise misfit(where, name, f"holds {of}", ids[refused.row], refused) from None


def check_joins(
    values: Sequence[object], ids: Sequence[object], known: pa.DataType, name: str, where: str
) -> None:
    """ContractBroken at the first value whose type does not join to the known one."""
    for row, value in enumerate(values):
        try:
            known = type_lattice.join(known, type_lattice.type_of(value))
        except type_lattice.TypeConflict as conflict:
            raise _changed(conflict, name, row, value, ids[row], where) from None


def check_table_joins(table: pa.Table, name: str, known: pa.DataType, where: str) -> None:
    """As ``check_joins``, for a column of a table."""
    values = table.column(name).to_pylist()
    ids = table.column("id").to_pylist() if "id" in table.column_names else [None] * len(values)
    check_joins(values, ids, known, name, where)


def check_nulls(table: pa.Table, columns: Sequence[Column], where: str) -> None:
    """ContractBroken at the first null in a column that must have none."""
    for column in columns:
        if column.nullable:
            continue
        array = table.column(column.name)
        if not array.null_count:
            continue
        row = array.is_null().index(True).as_py()
        key = table.column("id")[row].as_py() if "id" in table.column_names else None
        refused = coerce.CellRefused(None, "it is in the key, or declared nullable: false", "", row)
        text = f"is declared {column.type.text}"
        raise misfit(where, column.name, text, key, refused)


def check_frozen(frozen: Mapping[str, pa.DataType], name: str, of: pa.DataType, where: str) -> None:
    """ContractBroken if a column is not what it was when the contract was frozen."""
    old = frozen.get(name, pa.null())
    was, now = type_lattice.settled(old), type_lattice.settled(type_lattice.join(old, of))
    if was == now:
        return
    change = (
        f"column {name} is new ({now})" if was is None else f"column {name} is {now}, was {was}"
    )
    raise ContractBroken(
        f"{where}: {change}, and the contract is freeze. Declare {name} or set contract: evolve "
        f"in the YAML of {where.split('/')[0]}"
    )


def check_limits(seen: Mapping[str, pa.DataType], shape: Shape, where: str) -> None:
    """ContractBroken if the inferred columns are too deep or too many for a table."""
    for name, of in seen.items():
        if type_lattice.depth_of(of) > shape.max_depth:
            raise ContractBroken(
                f"{where}: column {name} is nested over {shape.max_depth} levels deep. Declare "
                f"{name}: json in the YAML of {where.split('/')[0]}"
            )
    widths = {name: type_lattice.count_fields(of) for name, of in seen.items()}
    if sum(widths.values()) > shape.max_columns:
        widest = max(widths, key=lambda name: (widths[name], name))
        raise ContractBroken(
            f"{where}: the rows have {sum(widths.values()):,} inferred columns, at most "
            f"{shape.max_columns:,} are kept; {widest} makes {widths[widest]:,}. Declare objects "
            f"that are really maps as json, or set infer: false, in the YAML of "
            f"{where.split('/')[0]}"
        )


def _changed(
    conflict: type_lattice.TypeConflict, name: str, row: int, value: object, key: object, where: str
) -> ContractBroken:
    inside = f" (at {'.'.join(conflict.path)})" if conflict.path else ""
    at_row = f"row {row}" + (f" (id {shorten(key, 40)})" if key is not None else "")
    plain = {str(conflict.old), str(conflict.new)} <= {"bool", "int64", "double", "string"}
    remedy = "string or json" if plain and "string" in str(conflict.new) else "json"
    return ContractBroken(
        f"{where}: column {name} was {conflict.old} so far{inside}, but {at_row} has "
        f"{shorten(value)}, which is {conflict.new} there. Declare {name}: {remedy} in the YAML "
        f"of {where.split('/')[0]}"
    )
