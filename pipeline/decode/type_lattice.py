"""Inferred types: what a value's type is, how two types join, and how a table follows.

The types form a semilattice, so the order in which pages are read can't change the outcome:

    null  <  bool
    null  <  int64  <  double
    null  <  string
    null  <  list<T>      joined item by item
    null  <  struct<…>    joined member by member; members in order of name

Any other pair does not join: ``TypeConflict``. A type that holds null is *pending* (no value has
been seen there); ``settled`` leaves it out. Nothing here reads JSON or knows of columns'
declarations.
"""

from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.exact_json import ExactFloat, NotJson

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
        kept = [(name, settled(member)) for name, member in members(old).items()]
        kept = [(name, member) for name, member in kept if member is not None]
        return pa.struct(kept) if kept else None
    return old


def as_inferred(read: pa.DataType) -> pa.DataType:
    """A type that pyarrow inferred, or an earlier schema held, as this lattice writes it."""
    if pa.types.is_list(read) or pa.types.is_large_list(read):
        return pa.list_(as_inferred(read.value_type))
    if pa.types.is_struct(read):
        found = members(read)
        return pa.struct([(name, as_inferred(found[name])) for name in sorted(found)])
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
            adapt(array.field(name), wanted) if name in have else pa.nulls(len(array), wanted)
            for name, wanted in members(target).items()
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
        return pa.array([{} if there else None for there in like.is_valid().to_pylist()], of)
    return pa.StructArray.from_arrays(children, fields=list(of), mask=like.is_null())


def _below(name: str, old: pa.DataType, new: pa.DataType) -> pa.DataType:
    try:
        return join(old, new)
    except TypeConflict as conflict:
        raise conflict.under(name) from None
