"""The inferred columns of one endpoint: their types so far, joined page by page. No I/O.

Types follow the semilattice of ``type_lattice``, so the schema at the end does not depend on the
order in which pages are decoded.

    a new member, int → double, a struct that gains  the schema changes (freeze: ContractBroken)
    text where numbers were, a list where scalars    ContractBroken
    over max_depth, max_columns                      ContractBroken

``contract: freeze`` compares with the ``known`` schema. Without a known schema nothing is compared:
the first partition makes it.
"""

import threading
from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.decode import type_lattice
from pipeline.decode.exact_json import shorten
from pipeline.decode.shape import Shape
from pipeline.errors import ContractBroken


class InferredColumns:
    """The types of the columns that no declaration names. Safe to use from any thread.

    :param known: the schema so far (of the last manifest). Only inferred columns of it are taken.
    :param label: ``source/endpoint``, for errors.
    :ivar version: grows whenever a type changes.
    """

    def __init__(self, shape: Shape, known: pa.Schema | None, label: str) -> None:
        self._shape, self._label = shape, label
        self._lock = threading.Lock()
        inferred = [field for field in known or () if shape.infers(field.name)]
        self._types = {field.name: type_lattice.as_inferred(field.type) for field in inferred}
        self._frozen = dict(self._types) if known and shape.contract == "freeze" else None
        self._last_page: pa.Schema | None = None  # a page of the same schema changes nothing
        self.version = 0

    def known(self, name: str) -> pa.DataType:
        """The type of a column so far, pending parts included; null if no page has it yet."""
        return self._types.get(name, pa.null())

    def settled(self) -> dict[str, pa.DataType]:
        """The inferred columns that hold values, by name."""
        types = ((name, type_lattice.settled(of)) for name, of in sorted(self._types.items()))
        return {name: of for name, of in types if of is not None}

    def join(self, table: pa.Table) -> None:
        """Join the types of a page to those so far.

        :raises ContractBroken: a type does not join, the contract is frozen, or a limit is passed.
        """
        shape = self._shape
        if not shape.infer:
            return
        with self._lock:
            if self._last_page is not None and self._last_page.equals(table.schema):
                return
            types = dict(self._types)
            for field in table.schema:
                if not shape.infers(field.name):
                    continue
                old = types.get(field.name, pa.null())
                try:
                    types[field.name] = type_lattice.join(old, field.type)
                except type_lattice.TypeConflict:
                    _check_column_joins(table, field.name, old, self._label)
                if self._frozen is not None:
                    _check_frozen(self._frozen, field.name, field.type, self._label)
            if types != self._types:
                _check_limits(types, shape, self._label)
                self._types = types
                self.version += 1
            self._last_page = table.schema


def check_joins(
    values: Sequence[object], ids: Sequence[object], known: pa.DataType, name: str, label: str
) -> None:
    """Check that the type of each value joins to the known one.

    :raises ContractBroken: names the first value that does not.
    """
    for row, value in enumerate(values):
        try:
            known = type_lattice.join(known, type_lattice.type_of(value))
        except type_lattice.TypeConflict as conflict:
            raise _changed(conflict, name, row, value, ids[row], label) from None


def _check_column_joins(table: pa.Table, name: str, known: pa.DataType, label: str) -> None:
    """As ``check_joins``, for a column of a table."""
    values = table.column(name).to_pylist()
    ids = table.column("id").to_pylist() if "id" in table.column_names else [None] * len(values)
    check_joins(values, ids, known, name, label)


def _check_frozen(
    frozen: Mapping[str, pa.DataType], name: str, new: pa.DataType, label: str
) -> None:
    """Raise ContractBroken if a column is not what it was when the contract was frozen."""
    old = frozen.get(name, pa.null())
    before = type_lattice.settled(old)
    now = type_lattice.settled(type_lattice.join(old, new))
    if before == now:
        return
    change = f"is new ({now})" if before is None else f"is {now} and was {before}"
    raise ContractBroken(
        f"{label}: column `{name}` {change}; expected no change, since `contract` is freeze. In "
        f"the YAML of {label.split('/')[0]}, declare `{name}` or set contract: evolve"
    )


def _check_limits(types: Mapping[str, pa.DataType], shape: Shape, label: str) -> None:
    """Raise ContractBroken if the inferred columns are too deep or too many for a table."""
    yaml = f"the YAML of {label.split('/')[0]}"
    for name, of in types.items():
        if type_lattice.depth_of(of) > shape.max_depth:
            raise ContractBroken(
                f"{label}: column `{name}` is nested over {shape.max_depth} levels deep. Declare "
                f"{name}: json in {yaml}"
            )
    widths = {name: type_lattice.count_fields(of) for name, of in types.items()}
    if sum(widths.values()) > shape.max_columns:
        widest = max(widths, key=lambda name: (widths[name], name))
        raise ContractBroken(
            f"{label}: the rows have {sum(widths.values()):,} inferred columns, expected at most "
            f"{shape.max_columns:,}; `{widest}` makes {widths[widest]:,}. Check in {yaml}: 1. "
            "objects that are really maps, to be declared as json; 2. infer: false, to land only "
            "declared columns"
        )


def _changed(
    conflict: type_lattice.TypeConflict, name: str, row: int, value: object, key: object, label: str
) -> ContractBroken:
    inside = f" (at {'.'.join(conflict.path)})" if conflict.path else ""
    at_row = f"row {row}" + (f" (id {shorten(key, 40)})" if key is not None else "")
    plain = {str(conflict.old), str(conflict.new)} <= {"bool", "int64", "double", "string"}
    remedy = "string or json" if plain and "string" in str(conflict.new) else "json"
    return ContractBroken(
        f"{label}: column `{name}` was {conflict.old} so far{inside}, but {at_row} has "
        f"{shorten(value)}, which is {conflict.new}. Declare {name}: {remedy} in the YAML of "
        f"{label.split('/')[0]}"
    )
