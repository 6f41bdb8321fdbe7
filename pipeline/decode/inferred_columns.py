"""The inferred columns of one endpoint: their types so far, joined page by page. No I/O.

Types form a semilattice, so the schema at the end does not depend on the
order in which pages are decoded.

    a new member, int → double, a struct that gains  the schema changes (freeze: ContractBroken)
    text where numbers were, a list where scalars    ContractBroken
    over max_depth, max_columns                      ContractBroken

``contract: freeze`` compares with the ``known`` schema. Without a known schema nothing is compared:
the first partition makes it.

The lattice says what the type of a value is, how two types join, and how a table follows:

    null  <  bool
    null  <  int64  <  double
    null  <  string
    null  <  list<T>      joined item by item
    null  <  struct<…>    joined member by member; members in order of name

Any other pair does not join: ``TypeConflict``. A type that holds null is *pending* (no value has
been seen there); ``settled`` leaves it out. Nothing here reads JSON or knows of columns'
declarations.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.exact_json import ExactFloat, NotJson, shorten
from pipeline.decode.shape import Shape
from pipeline.errors import ContractBroken

_SCALARS: Final[dict[type, pa.DataType]] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    ExactFloat: pa.float64(),
    NotJson: pa.float64(),
    str: pa.string(),
}
_NUMBERS: Final = {pa.int64(), pa.float64()}


class TypeConflict(Exception):
    """Two types that don't join. ``path`` leads to the place inside the column."""

    def __init__(self, old: pa.DataType, new: pa.DataType, path: tuple[str, ...] = ()) -> None:
        super().__init__(f"{old} and {new}")
        self.old, self.new, self.path = old, new, path

    def under(self, name: str) -> "TypeConflict":
        return TypeConflict(self.old, self.new, (name, *self.path))


def join(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    """The least type that holds the values of both; Conflict if there is none."""
    if old == new or pa.types.is_null(new):
        return old
    if pa.types.is_null(old):
        return new
    if old in _NUMBERS and new in _NUMBERS:
        return pa.float64()
    if pa.types.is_list(old) and pa.types.is_list(new):
        return pa.list_(_below("[]", old.value_type, new.value_type))
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        first, second = members(old), members(new)
        return pa.struct(
            [
                (name, _below(name, first.get(name, pa.null()), second.get(name, pa.null())))
                for name in sorted(first.keys() | second.keys())
            ]
        )
    raise TypeConflict(old, new)


def type_of(value: object) -> pa.DataType:
    """The inferred type of one parsed value; Conflict if a list holds what doesn't join."""
    if isinstance(value, list):
        item: pa.DataType = pa.null()
        for each in value:
            item = _below("[]", item, type_of(each))
        return pa.list_(item)
    if isinstance(value, dict):
        return pa.struct([(name, type_of(value[name])) for name in sorted(value)])
    return _SCALARS.get(type(value), pa.null())


def settled(old: pa.DataType) -> pa.DataType | None:
    """The type without its pending parts; None if nothing is left."""
    if pa.types.is_null(old):
        return None
    if pa.types.is_list(old):
        item = settled(old.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(old):
        settled_members = [(name, settled(member)) for name, member in members(old).items()]
        settled_members = [(name, member) for name, member in settled_members if member is not None]
        return pa.struct(settled_members) if settled_members else None
    return old


def as_inferred(read: pa.DataType) -> pa.DataType:
    """A type that pyarrow inferred, or an earlier schema held, as this lattice writes it."""
    if pa.types.is_list(read) or pa.types.is_large_list(read):
        return pa.list_(as_inferred(read.value_type))
    if pa.types.is_struct(read):
        by_name = members(read)
        return pa.struct([(name, as_inferred(by_name[name])) for name in sorted(by_name)])
    if pa.types.is_integer(read) and read != pa.uint64():
        return pa.int64()
    if pa.types.is_floating(read):
        return pa.float64()
    return pa.string() if pa.types.is_large_string(read) else read


def guessed_time(read: pa.DataType) -> bool:
    """Whether pyarrow took text for a timestamp, anywhere inside."""
    if pa.types.is_timestamp(read):
        return True
    return any(guessed_time(read.field(i).type) for i in range(read.num_fields))


def as_text(read: pa.DataType) -> pa.DataType:
    """The type with every timestamp as the text that it was guessed from."""
    if pa.types.is_list(read):
        return pa.list_(as_text(read.value_type))
    if pa.types.is_struct(read):
        return pa.struct([(name, as_text(member)) for name, member in members(read).items()])
    return pa.string() if pa.types.is_timestamp(read) else read


def inferable(of: pa.DataType) -> bool:
    """Whether inference can give this type."""
    if of.num_fields:
        return all(inferable(of.field(i).type) for i in range(of.num_fields))
    return of in _SCALARS.values() or pa.types.is_struct(of)


def members(struct: pa.DataType) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in struct}


def count_fields(of: pa.DataType) -> int:
    """How many columns a type makes in Parquet."""
    return sum(count_fields(of.field(i).type) for i in range(of.num_fields)) or 1


def depth_of(of: pa.DataType) -> int:
    return 1 + max((depth_of(of.field(i).type) for i in range(of.num_fields)), default=0)


def adapt(array: pa.Array, target: pa.DataType) -> pa.Array:
    """The array in a type that its own joins to; ValueError if a whole number has no double."""
    if array.type == target:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if pa.types.is_list(array.type) and pa.types.is_list(target):
        return map_items(array, lambda items: adapt(items, target.value_type))
    if pa.types.is_struct(array.type) and pa.types.is_struct(target):
        have = members(array.type)
        children = [
            adapt(array.field(name), member_type)
            if name in have
            else pa.nulls(len(array), member_type)
            for name, member_type in members(target).items()
        ]
        return struct_array(array, children, target)
    if array.type == pa.int64() and target == pa.float64():
        wide = array.cast(target, safe=False)
        low, high = pc.min_max(wide).values()
        safe = not low.is_valid or -(2.0**63) <= low.as_py() <= high.as_py() < 2.0**63
        if not safe or not wide.cast(pa.int64(), safe=False).equals(array):
            raise ValueError("a whole number that no double holds exactly")
        return wide
    raise TypeConflict(target, array.type)


def map_items(array: pa.ListArray, change: Callable[[pa.Array], pa.Array]) -> pa.ListArray:
    """A list array with its items changed."""
    if array.offset:
        array = pa.concat_arrays([array])
    values = array.values
    items = change(values)
    if items is values:
        return array
    return pa.Array.from_buffers(
        pa.list_(items.type), len(array), array.buffers()[:2], children=[items]
    )


def struct_array(like: pa.StructArray, children: list[pa.Array], of: pa.DataType) -> pa.Array:
    """A struct array with other members, null where ``like`` is."""
    if not children:
        return pa.array([{} if is_valid else None for is_valid in like.is_valid().to_pylist()], of)
    return pa.StructArray.from_arrays(children, fields=list(of), mask=like.is_null())


def _below(name: str, old: pa.DataType, new: pa.DataType) -> pa.DataType:
    try:
        return join(old, new)
    except TypeConflict as conflict:
        raise conflict.under(name) from None


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
        self._types = {field.name: as_inferred(field.type) for field in inferred}
        self._frozen = dict(self._types) if known and shape.contract == "freeze" else None
        self._last_page: pa.Schema | None = None  # a page of the same schema changes nothing
        self.version = 0

    def known(self, name: str) -> pa.DataType:
        """The type of a column so far, pending parts included; null if no page has it yet."""
        return self._types.get(name, pa.null())

    def settled(self) -> dict[str, pa.DataType]:
        """The inferred columns that hold values, by name."""
        types = ((name, settled(of)) for name, of in sorted(self._types.items()))
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
                    types[field.name] = join(old, field.type)
                except TypeConflict:
                    _check_column_joins(table, field.name, old, self._label)
                if self._frozen is not None:
                    _check_frozen(self._frozen, field.name, field.type, self._label)
            if types != self._types:
                _check_limits(types, shape, self._label)
                self._types = types
                self.version += 1
            self._last_page = table.schema


def check_joins(
    values: Sequence[object], ids: Sequence[object], type_so_far: pa.DataType, name: str, label: str
) -> None:
    """Check that the type of each value joins to the known one.

    :raises ContractBroken: names the first value that does not.
    """
    for row, value in enumerate(values):
        try:
            type_so_far = join(type_so_far, type_of(value))
        except TypeConflict as conflict:
            raise _changed(conflict, name, row, value, ids[row], label) from None


def _check_column_joins(table: pa.Table, name: str, type_so_far: pa.DataType, label: str) -> None:
    """As ``check_joins``, for a column of a table."""
    values = table.column(name).to_pylist()
    ids = table.column("id").to_pylist() if "id" in table.column_names else [None] * len(values)
    check_joins(values, ids, type_so_far, name, label)


def _check_frozen(
    frozen: Mapping[str, pa.DataType], name: str, new: pa.DataType, label: str
) -> None:
    """Raise ContractBroken if a column is not what it was when the contract was frozen."""
    old = frozen.get(name, pa.null())
    before = settled(old)
    now = settled(join(old, new))
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
        if depth_of(of) > shape.max_depth:
            raise ContractBroken(
                f"{label}: column `{name}` is nested over {shape.max_depth} levels deep. Declare "
                f"{name}: json in {yaml}"
            )
    widths = {name: count_fields(of) for name, of in types.items()}
    if sum(widths.values()) > shape.max_columns:
        widest = max(widths, key=lambda name: (widths[name], name))
        raise ContractBroken(
            f"{label}: the rows have {sum(widths.values()):,} inferred columns, expected at most "
            f"{shape.max_columns:,}; `{widest}` makes {widths[widest]:,}. Check in {yaml}: 1. "
            "objects that are really maps, to be declared as json; 2. infer: false, to land only "
            "declared columns"
        )


def _changed(
    conflict: TypeConflict, name: str, row: int, value: object, key: object, label: str
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
