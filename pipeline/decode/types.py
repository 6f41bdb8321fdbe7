"""Declared column types: the text in a source's YAML, and what it means in JSON and in Arrow.

    text                          JSON value                              lands as
    bool                          true, false                             bool
    int8 … int64, uint8 … uint64  a whole number                          the same
    float, double                 a number (nearest binary value)         float, double
    string                        text                                    string
    date                          "2024-02-29"                            date32
    time                          "12:30", "12:30:59.5", without a zone   time64[us]
    decimal(p, s)                 a number, or its text, of at most p     decimal128(p, s)
                                  digits, s of them behind the point
    binary                        base64 text (either alphabet)           binary
    json                          any value                               string: its JSON text
    timestamp[s], [ms], [us]      number since 1970-01-01 UTC             timestamp[us, UTC]
    timestamp[iso]                ISO 8601 text; without an offset: in    timestamp[us, UTC]
                                  the zone of ``window.timezone``, or UTC
    timestamp[%d.%m.%Y %H:%M]     text in that strptime format, same      timestamp[us, UTC]
    timestamp[dotnet]             "/Date(1795132800000+0000)/"            timestamp[us, UTC]
    timestamp[s] | timestamp[iso] the first form that fits each value     timestamp[us, UTC]
    list<T>, struct<a: T, "b c": T>  array, object; nested to any depth   the same

What belongs here: the grammar and its meaning, and a schema as text (``[{"name", "type"}]`` in
manifests and in Dagster's column schema). How a cell is converted is in ``coerce``.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, tzinfo
from functools import cached_property, lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.timestamps import read_local

INSTANT: Final = pa.timestamp("us", tz="UTC")
INTEGERS: Final = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

_MOST_DIGITS: Final = 38
_INSTANT_TEXT: Final = "timestamp[us, UTC]"
_PLAIN_NAME: Final = r"[^\s:<>,\[\]\"]+"
_QUOTED_NAME: Final = r'"(?:[^"\\]|\\.)*"'
_SCALARS: Final[dict[str, pa.DataType]] = {
    "bool": pa.bool_(),
    **{name: getattr(pa, name)() for name in sorted(INTEGERS)},
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "binary": pa.binary(),
    "json": pa.string(),
    "timestamp[s]": INSTANT,
    "timestamp[ms]": INSTANT,
    "timestamp[us]": INSTANT,
    "timestamp[iso]": INSTANT,
    "timestamp[dotnet]": INSTANT,
}
_AS_READ: Final = INTEGERS | {"bool", "string", "null"}
_SYNONYMS: Final = {
    "int": "int64",
    "integer": "int64",
    "long": "int64",
    "number": "double",
    "float64": "double",
    "float32": "float",
    "str": "string",
    "text": "string",
    "varchar": "string",
    "boolean": "bool",
    "datetime": "timestamp[iso]",
    "timestamp": "timestamp[s], timestamp[ms], timestamp[us] or timestamp[iso]",
    "object": "struct<…> or json",
    "array": "list<…>",
    "list": "list<…>",
    "struct": "struct<…>",
    "variant": "json",
    "decimal": "decimal(38, 9)",
    "numeric": "decimal(38, 9)",
    "bytes": "binary",
}


@dataclass(frozen=True)
class DeclaredType:
    """A declared type of a column.

    :param text: as in the YAML, spaces made regular.
    :param arrow: the type that lands.
    :param json: how a value is read: a name of the table above, ``strptime``, ``forms``, ``list``,
        ``struct``, or ``null`` (inferred, no value seen yet).
    :param members: of a struct by name; of a list one, named ``item``; of several forms each.
    :param zone: of times without an offset; None: it is not known, and they are read as UTC.
    :param marks: of a mark (see ``mark_of``), the values that mean true.
    """

    text: str
    arrow: pa.DataType
    json: str
    members: tuple[tuple[str, "DeclaredType"], ...] = ()
    zone: tzinfo | None = None
    marks: tuple[object, ...] = ()

    def in_zone(self, zone: tzinfo | None) -> "DeclaredType":
        """This type, whose times without an offset are of a zone."""
        members = tuple((name, member.in_zone(zone)) for name, member in self.members)
        return replace(self, zone=zone, members=members)

    @property
    def holds_json(self) -> bool:
        """Whether values anywhere inside are kept as JSON text, or may be of any kind."""
        return self.json in ("json", "mark") or any(member.holds_json for _, member in self.members)

    @property
    def has_forms(self) -> bool:
        """Whether values anywhere inside come in several forms, numbers and texts."""
        return self.json == "forms" or any(member.has_forms for _, member in self.members)

    @cached_property
    def lands_as_read(self) -> bool:
        """Whether what pyarrow reads strictly is what lands: nothing to check or change."""
        if self.json == "list":
            return self.members[0][1].lands_as_read
        return self.json in _AS_READ

    @property
    def format(self) -> str:
        """The strptime format of ``timestamp[%…]``."""
        return self.text[len("timestamp[") : -1]


@lru_cache(maxsize=4096)
def parse_type(text: str) -> DeclaredType:
    """The type that a YAML text names; ValueError with what was expected, what came, the remedy.

    A deployment names few types, many times each: thousands of endpoints load in seconds.
    """
    parser = _Parser(text)
    declared = parser.forms()
    if parser.rest():
        raise parser.error(f"the type ends after {declared.text}, but {parser.rest()!r} follows")
    return declared


def mark_of(values: tuple[object, ...]) -> DeclaredType:
    """The type of a member of any kind that marks a row: true for these values.

    :param values: empty: all but null and what `coerce.says_no` knows.
    """
    return DeclaredType("bool", pa.bool_(), "mark", marks=values)


def list_of(item: DeclaredType) -> DeclaredType:
    return DeclaredType(f"list<{item.text}>", pa.list_(item.arrow), "list", (("item", item),))


def member_text(name: str) -> str:
    """A struct member's name as a type text has it: in double quotes where it is no plain word."""
    return name if re.fullmatch(_PLAIN_NAME, name) else json.dumps(name, ensure_ascii=False)


def struct_of(members: tuple[tuple[str, DeclaredType], ...]) -> DeclaredType:
    text = ", ".join(f"{member_text(name)}: {member.text}" for name, member in members)
    arrow = pa.struct([(name, member.arrow) for name, member in members])
    return DeclaredType(f"struct<{text}>", arrow, "struct", members)


def from_arrow(arrow: pa.DataType) -> DeclaredType:
    """The declared form of an inferred type (null, bool, int64, double, string, nested)."""
    if pa.types.is_list(arrow):
        return list_of(from_arrow(arrow.value_type))
    if pa.types.is_struct(arrow):
        return struct_of(tuple((field.name, from_arrow(field.type)) for field in arrow))
    if pa.types.is_null(arrow):
        return DeclaredType("null", arrow, "null")
    return _scalar(str(arrow))


@lru_cache(maxsize=4096)
def type_text(kind: pa.DataType) -> str:
    """A landed type in the words of the YAML, but for instants: ``timestamp[us, UTC]``."""
    if kind == INSTANT:
        return _INSTANT_TEXT
    if pa.types.is_date32(kind):
        return "date"
    if pa.types.is_time64(kind):
        return "time"
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_list(kind):
        return f"list<{type_text(kind.value_type)}>"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{member_text(f.name)}: {type_text(f.type)}" for f in kind)
        return f"struct<{inner}>"
    return str(kind)


def instants(column: pa.ChunkedArray | pa.Array, zone: tzinfo) -> pa.ChunkedArray | pa.Array:
    """The values of a cursor as instants: a day is the first instant of it in the zone."""
    if column.type == INSTANT:
        return column
    if not pa.types.is_date(column.type) or str(zone) == "UTC":
        return pc.cast(column, INSTANT)
    days = pc.unique(column)
    begins = [d and read_local(datetime.combine(d, time.min), zone) for d in days.to_pylist()]
    return pc.take(pa.array(begins, INSTANT), pc.index_in(column, value_set=days))


def describe(schema: pa.Schema) -> list[dict[str, str]]:
    """The columns of a schema, in order."""
    return [{"name": field.name, "type": type_text(field.type)} for field in schema]


def schema_of(columns: Iterable[Mapping[str, str]]) -> pa.Schema:
    """The schema that ``describe`` described."""
    fields = []
    for column in columns:
        text = column["type"].replace(_INSTANT_TEXT, "timestamp[us]")
        fields.append(pa.field(column["name"], parse_type(text).arrow))
    return pa.schema(fields)


def _scalar(name: str) -> DeclaredType:
    return DeclaredType(name, _SCALARS[name], name)


class _Parser:
    """Recursive descent over one type text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def rest(self) -> str:
        return self.text[self.at :].strip()

    def error(self, problem: str) -> ValueError:
        return ValueError(
            f"type {self.text!r}: {problem}. Types are {', '.join(sorted(_SCALARS))}, "
            "decimal(p, s), timestamp[%Y-%m-%d …], list<T>, struct<name: T, …>, and several forms "
            'of a time as a list: ["timestamp[s]", "timestamp[iso]"]'
        )

    def take(self, pattern: str) -> str | None:
        match = re.compile(rf"\s*({pattern})").match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match.group(1)

    def forms(self) -> DeclaredType:
        """A type, or several forms of one instant."""
        forms = [self.type()]
        while self.take(r"\|"):
            forms.append(self.type())
        if len(forms) == 1:
            return forms[0]
        other = next((form for form in forms if form.arrow != INSTANT), None)
        if other is not None:
            raise self.error(f"several forms are for timestamps, and {other.text} is none")
        text = " | ".join(form.text for form in forms)
        return DeclaredType(text, INSTANT, "forms", tuple((form.text, form) for form in forms))

    def type(self) -> DeclaredType:
        word = self.take(r"\w+") or ""
        nested: dict[str, Callable[[], DeclaredType]] = {"list": self.list, "struct": self.struct}
        if word in nested and self.take("<"):
            return nested[word]()
        if word == "timestamp" and self.take(r"\["):
            return self.timestamp()
        if word == "decimal" and self.take(r"\("):
            return self.decimal()
        if word in _SCALARS:
            return _scalar(word)
        raise self.error(_not_a_type(word or self.rest()))

    def timestamp(self) -> DeclaredType:
        unit = self.take(r"(?:[^\[\]]|\[[^\[\]]*\])*\]")
        if unit is None:
            raise self.error("timestamp[…] is not closed: a ']' is missing")
        inside = unit[:-1].rstrip()
        if f"timestamp[{inside}]" in _SCALARS:
            return _scalar(f"timestamp[{inside}]")
        if "%" in inside:
            return DeclaredType(f"timestamp[{inside}]", INSTANT, "strptime")
        raise self.error(
            f"timestamp[{inside}] is not known: expected s, ms, us (numbers since 1970), iso, "
            "dotnet, or a strptime format like %Y-%m-%d"
        )

    def decimal(self) -> DeclaredType:
        precision, comma, scale = self.take(r"\d{1,3}"), self.take(","), self.take(r"\d{1,3}")
        if precision is None or comma is None or scale is None or not self.take(r"\)"):
            raise self.error("expected decimal(p, s), e.g. decimal(15, 2)")
        digits, behind = int(precision), int(scale)
        if not 1 <= digits <= _MOST_DIGITS or behind > digits:
            raise self.error(
                f"decimal({digits}, {behind}) has {digits} digits, {behind} of them behind the "
                f"point: expected at most {_MOST_DIGITS} digits, and no more behind the point"
            )
        return DeclaredType(
            f"decimal({digits}, {behind})", pa.decimal128(digits, behind), "decimal"
        )

    def list(self) -> DeclaredType:
        item = self.type()
        if not self.take(">"):
            raise self.error(f"list<{item.text} is not closed: a '>' is missing")
        return list_of(item)

    def struct(self) -> DeclaredType:
        members: dict[str, DeclaredType] = {}
        while True:
            name = self.take(_QUOTED_NAME + "|" + _PLAIN_NAME)
            if name is None or not self.take(":"):
                raise self.error(f"expected 'name: type' in struct<…>, got {self.rest()!r}")
            name = self.unquoted(name)
            if name in members:
                raise self.error(f"struct<…> has {name} twice")
            members[name] = self.type()
            if self.take(","):
                continue
            if self.take(">"):
                return struct_of(tuple(members.items()))
            raise self.error("struct<…> is not closed: expected ',' or '>'")

    def unquoted(self, name: str) -> str:
        try:
            return str(json.loads(name)) if name[0] == '"' else name
        except ValueError:
            raise self.error(f"{name} is no JSON text") from None


def _not_a_type(word: str) -> str:
    low = word.lower()
    nearest = _SYNONYMS.get(low) or "".join(difflib.get_close_matches(low, _SCALARS, 1))
    remedy = f": did you mean {nearest}?" if nearest else ""
    return (f"{word!r} is not a type" if word else "a type is missing") + remedy
