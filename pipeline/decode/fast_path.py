"""The fast way of JSON: bytes to arrays by pyarrow's JSON reader, outside the GIL.

``NotFastReadable`` or a pyarrow error means that a page needs the exact way (``exact_json``,
``exact_path``), which converts its cells or refuses them. Nothing here guesses, counts or explains.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipeline.decode import coerce
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.coerce import EXACT
from pipeline.decode.inferred_columns import count_fields, map_items, struct_array
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import INSTANT, DeclaredType
from pipeline.messages import Body
from pipeline.runtime import in_own_memory
from pipeline.timestamps import FIRST_US, LAST_US, UNITS

Unexpected = Literal["ignore", "infer", "error"]
_BEFORE, _AFTER = b'{"r":[', b"]}\n"
_ISO_TEXT = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?"


@dataclass(frozen=True)
class FastReadPlan:
    """The explicit type of a body, and the declared columns that it has."""

    body: pa.DataType
    columns: tuple[Column, ...]


class NotFastReadable(Exception):
    """The arrays that pyarrow made can't be taken as they are."""


def read_bytes(bodies: Sequence[Body], of: pa.DataType, unexpected: Unexpected) -> pa.Array:
    """The bodies as an array, each one value. ``of``: the type of what is declared or known.

    A body can't reach into the next one: each is a document of its own, and no text may have the
    line's end that stands between them.
    """
    text = in_own_memory([piece for body in bodies for piece in (_BEFORE, body, _AFTER)])
    table = pj.read_json(
        pa.BufferReader(text),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema([("r", pa.list_(of))]),
            unexpected_field_behavior=unexpected,
            newlines_in_values=True,
        ),
    )
    column = table.column(0)
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    alone = pc.all(pc.equal(whole.value_lengths(), 1), min_count=0).as_py()
    if table.num_columns != 1 or len(whole) != len(bodies) or not alone:
        raise NotFastReadable("more than one JSON document")
    return whole.flatten()


def safe_to_infer(body: Body, *, max_depth: int, max_columns: int) -> bool:
    """Whether pyarrow may infer the types: it overflows the stack at depths over 10,000, and takes
    columns × rows of memory for objects that are really maps."""
    try:
        level: list[tuple[int, list[object]]] = [(0, [orjson.loads(body)])]
    except orjson.JSONDecodeError:
        return False
    names = 0
    while level:
        depth, values = level.pop()
        objects = [value for value in values if type(value) is dict]
        keys: set[str] = set().union(*objects)
        names += len(keys)
        if names > max_columns or depth > max_depth:
            return False
        inside = [item for value in values if type(value) is list for item in value]
        nested = [[item[key] for item in objects if _nests(item.get(key))] for key in keys]
        level += [(depth + 1, below) for below in [inside, *nested] if below]
    return True


def _nests(value: object) -> bool:
    return type(value) is dict or type(value) is list


def plan(
    shape: Shape,
    columns: tuple[Column, ...],
    inferred: Mapping[str, pa.DataType],
    extras: Mapping[str, pa.DataType],
) -> FastReadPlan:
    """How to read a body with these declared columns, and what is known of the rest."""
    row = pa.struct([])
    for column in columns:
        row = overlay(row, _nest(column.path, readable(column.type)))
    row = overlay(row, pa.struct(list(inferred.items())))
    body = _nest(shape.rows.path, pa.list_(row))
    for name, path in shape.extras.items():
        body = overlay(_nest(path, extras.get(name, pa.string())), body)
    return FastReadPlan(body, columns)


def separable(shape: Shape) -> tuple[Column, ...]:
    """The declared columns that pyarrow can read: not kept as JSON text, not within another one."""
    columns: list[Column] = []
    ends: set[tuple[str, ...]] = set()
    parents: set[tuple[str, ...]] = set()
    for column in shape.columns:
        above = {column.path[:n] for n in range(1, len(column.path))}
        overlaps = column.path in ends | parents or above & ends
        numbered = any(step.isdecimal() for step in column.path[1:])  # an item of a list, maybe
        odd = numbered or column.type.holds_json or column.type.has_forms
        if not overlaps and not odd:
            columns.append(column)
            ends.add(column.path)
            parents |= above
    return tuple(columns)


def overlay(base: pa.DataType, over: pa.DataType) -> pa.DataType:
    """Both types in one; where they differ, ``over``, unless it is null."""
    if pa.types.is_struct(base) and pa.types.is_struct(over):
        fields = {field.name: field.type for field in base}
        for field in over:
            old = fields.get(field.name)
            fields[field.name] = field.type if old is None else overlay(old, field.type)
        return pa.struct(list(fields.items()))
    if pa.types.is_list(base) and pa.types.is_list(over):
        return pa.list_(overlay(base.value_type, over.value_type))
    return base if pa.types.is_null(over) else over


def remember(raw: pa.DataType | None, read: pa.DataType, max_columns: int) -> pa.DataType:
    """The expected type of the next body: all members of the bodies so far, within bounds."""
    both = read if raw is None else overlay(raw, read)
    return both if count_fields(both) <= 2 * max_columns else read


def readable(declared: DeclaredType) -> pa.DataType:
    """The type that pyarrow reads a declared one in."""
    if declared.json == "list":
        return pa.list_(readable(declared.members[0][1]))
    if declared.json == "struct":
        return pa.struct([(name, readable(member)) for name, member in declared.members])
    if declared.json in UNITS:
        return pa.int64()
    if declared.json in _WHOLE_COLUMN:
        return pa.string()
    return declared.arrow


def rows_of(bodies: pa.Array, shape: Shape) -> tuple[pa.StructArray, list[int]]:
    """The rows inside bodies that read_bytes returned, and how many each of them has."""
    for key in shape.rows.path:
        bodies = bodies.field(key)
    if bodies.null_count:
        raise NotFastReadable("no rows at the path")
    rows = bodies.flatten()
    if not pa.types.is_struct(rows.type) or rows.null_count:
        raise NotFastReadable("a row is no object")
    return rows, bodies.value_lengths().to_pylist()


def members_of(rows: pa.StructArray) -> dict[str, pa.Array]:
    """The members of rows of which none is null: all at once, as one by one they cost more."""
    return dict(zip((field.name for field in rows.type), rows.flatten(), strict=True))


def member(
    rows: pa.StructArray, members: Mapping[str, pa.Array], path: tuple[str, ...]
) -> pa.Array:
    """The column at a path inside the rows, of which ``members`` are known."""
    return members[path[0]] if len(path) == 1 else at(rows, path)


def at(array: pa.Array, path: tuple[str, ...]) -> pa.Array:
    """A member of an array of structs; null where a parent is."""
    if len(path) == 1 and not array.null_count:
        return array.field(path[0])
    return pc.struct_field(array, list(path))


def land(array: pa.Array, declared: DeclaredType, conversions: ConversionCounts) -> pa.Array:
    """The array as ``readable`` made pyarrow read it, in the type that lands."""
    if declared.lands_as_read:
        return array
    kind = declared.json
    if kind == "list":
        return map_items(array, lambda items: land(items, declared.members[0][1], conversions))
    if kind == "struct":
        children = [
            land(at(array, (name,)), member, conversions) for name, member in declared.members
        ]
        return struct_array(array, children, declared.arrow)
    if kind in EXACT:
        return _within(array, -EXACT[kind] + 1, EXACT[kind] - 1)
    if kind in UNITS:
        micros = UNITS[kind]
        _within(array, FIRST_US // micros + 1, LAST_US // micros)
        return pc.multiply(array, micros).cast(INSTANT)
    if kind == "decimal":
        array.validate(full=True)  # pyarrow's reader holds no whole number against the precision
        return array
    whole = _WHOLE_COLUMN.get(kind)
    if whole is not None:
        landed = whole(array, declared, conversions)
        return _by_cell(array, declared, conversions) if landed is None else landed
    return array


def without(array: pa.Array, paths: Collection[tuple[str, ...]]) -> pa.Array:
    """The array without the members at these paths, which lead through lists as well."""
    if pa.types.is_list(array.type):
        return map_items(array, lambda items: without(items, paths))
    if not pa.types.is_struct(array.type):
        return array
    children: dict[str, pa.Array] = {}
    for field in array.type:
        inside = [path[1:] for path in paths if path[0] == field.name]
        if () not in inside:
            children[field.name] = without(at(array, (field.name,)), inside)
    of = pa.struct([(name, child.type) for name, child in children.items()])
    return struct_array(array, [*children.values()], of)


def _nest(path: tuple[str, ...], leaf: pa.DataType) -> pa.DataType:
    for key in reversed(path):
        leaf = pa.struct([(key, leaf)])
    return leaf


def _within(array: pa.Array, low: float, high: float) -> pa.Array:
    """The array, if all its values lie between the two; doubles outside might have been rounded."""
    least, most = pc.min_max(array).values()
    if least.is_valid and not (low <= least.as_py() <= most.as_py() <= high):
        raise NotFastReadable("a value out of range")
    return array


def _all_match(array: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(array, pattern), min_count=0).as_py())


def _iso(array: pa.Array, declared: DeclaredType, conversions: ConversionCounts) -> pa.Array | None:
    if _all_match(array, _ISO_TEXT + r"(Z|[+-]\d\d:\d\d)$"):
        return _in_years(array.cast(INSTANT))
    if not _all_match(array, _ISO_TEXT + "$"):
        return None
    wall = array.cast(pa.timestamp("us"))
    conversions.naive(len(array) - array.null_count)
    if declared.zone is None or str(declared.zone) == "UTC":
        return _in_years(wall.cast(INSTANT))
    try:
        return _in_years(_assumed(wall, str(declared.zone)))
    except pa.ArrowInvalid:  # an hour that clocks pass over, or a zone that Arrow lacks
        return None


def _in_years(array: pa.Array) -> pa.Array:
    _within(array.view(pa.int64()), FIRST_US, LAST_US)
    return array


def _assumed(wall: pa.Array, zone: str) -> pa.Array:
    return pc.assume_timezone(wall, zone, ambiguous="earliest").cast(INSTANT)


def _dates(
    array: pa.Array, declared: DeclaredType, conversions: ConversionCounts
) -> pa.Array | None:
    if not _all_match(array, r"^\d{4}-\d\d-\d\d$"):
        return None
    days = array.cast(pa.date32())
    _within(days.view(pa.int32()), FIRST_US // 86_400_000_000, LAST_US // 86_400_000_000)
    return days


def _by_cell(array: pa.Array, declared: DeclaredType, conversions: ConversionCounts) -> pa.Array:
    try:
        return coerce.column(array.to_pylist(), declared, conversions)
    except coerce.CellRefused as refused:
        raise NotFastReadable(str(refused)) from None


_WholeColumn = Callable[[pa.Array, DeclaredType, ConversionCounts], pa.Array | None]
_WHOLE_COLUMN: Final[Mapping[str, _WholeColumn]] = {
    "timestamp[iso]": _iso,
    "date": _dates,
    "strptime": lambda array, declared, conversions: None,
    "timestamp[dotnet]": lambda array, declared, conversions: None,
    "time": lambda array, declared, conversions: None,
    "binary": lambda array, declared, conversions: None,
}
