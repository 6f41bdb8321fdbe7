"""Record filters: which rows a manifest keeps, as ``where`` says it.

``where`` compares columns with values that are written there. A condition that compares a column
with a setting, the partition value or another column takes an ability that the YAML lacks, and so
does one that ``where`` would answer otherwise: a comparison of texts that the manifest converts
first, of a column that a transformation makes, of two columns of which one has to hold. Nothing of
a condition is passed over: what can't be said leaves the stream out, and what is left out is a
doubt.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from pipeline.config.columns import meets
from pipeline.errors import ContractBroken
from sourcetool.importers.draft import Draft
from sourcetool.importers.manifest import Component
from sourcetool.importers.templates import read_template
from sourcetool.importers.values import Applied, Choice, Literal, Member, Setting, Value, reads

Condition = dict[str, Any]
"""Of one column: operators of ``where`` and their values; all of them have to hold."""
Where = dict[str, Condition]
_ORDERED = {"gt": "gt", "gteq": "gte", "lt": "lt", "lteq": "lte"}
_FLIPPED = {"eq": "eq", "ne": "ne", "gt": "lt", "gteq": "lteq", "lt": "gt", "lteq": "gteq"}
_TESTS = {
    **dict.fromkeys(("is eq", "is equalto", "is ==", "is sameas"), "eq"),
    **dict.fromkeys(("is ne", "is !="), "ne"),
    **dict.fromkeys(("is gt", "is greaterthan", "is >"), "gt"),
    **dict.fromkeys(("is ge", "is >="), "gteq"),
    **dict.fromkeys(("is lt", "is lessthan", "is <"), "lt"),
    **dict.fromkeys(("is le", "is <="), "lteq"),
    "is in": "in",
}
_CONSTANT_TESTS: Mapping[str, tuple[str, Any]] = {
    "is none": ("eq", None),
    "is undefined": ("eq", None),
    "is defined": ("ne", None),
    "is true": ("eq", True),
    "is false": ("eq", False),
}
_FALSE: Mapping[str, list[Any]] = {
    "string": [None, ""],
    "date": [None, ""],
    "timestamp[iso]": [None, ""],
    "int64": [None, 0],
    "double": [None, 0],
    "json": [None, [], {}],
}
"""The values of a column that Jinja takes for false, by its type."""
_CAST_TYPES = {
    "|int": ("int64",),
    "|float": ("double", "int64"),
    "|string": ("string",),
    "str": ("string",),
    "str_to_datetime": ("timestamp[iso]",),
}
"""The types of a column that a conversion leaves as it is."""


def keep_where(draft: Draft, selector: Component) -> None:
    """``where``: the condition that a row has to meet."""
    component = selector.get("record_filter")
    of_python = "class_name" in selector or "class_name" in (selector.get("extractor") or {})
    if not component or of_python:
        return
    if "class_name" in component:
        draft.need("python", "record_filter", component["class_name"])
        return
    raw = component.get("condition")
    value = read_template(raw, draft.parameters)
    if isinstance(value, Literal):
        if raw and value.value in (False, "", "False", "false", 0):
            draft.doubt(f"the manifest keeps no row at all ({_line(raw)}): all are kept")
        return
    parts = []
    for part in _conjuncts(value):
        if (setting := _unless_empty(part)) is None:
            parts.append(part)
        else:
            draft.doubt(f"the manifest's setting {setting} keeps some rows: all are kept")
    if not parts:
        return
    others = [part for part in parts if not _is_window(draft, part)]
    if len(others) < len(parts):
        draft.doubt(f"the manifest keeps rows by the window: {_line(raw)}")
    if others:
        _keep(draft, others, raw, transformed=bool(selector.get("transform_before_filtering")))


def _keep(draft: Draft, parts: list[Value], raw: Any, *, transformed: bool) -> None:
    reader = _Conditions(_types(draft), frozenset(draft.columns))
    where = _all(map(reader.of, parts))
    if where is None:
        draft.need("computed", "RecordFilter", raw)
        return
    if made := sorted(_looked_at(where) & _made(draft, where, transformed=transformed)):
        draft.need("computed", "RecordFilter", f"by {', '.join(made)}, made here")
        return
    draft.data["where"] = {column: _short(condition) for column, condition in where.items()}
    draft.need("where", "RecordFilter", raw)
    draft.untyped |= reader.inferred
    if reader.by_null:
        names = ", ".join(reader.by_null)
        draft.doubt(f"the filter takes rows that lack {names} for rows where it is null")


def _line(raw: Any) -> str:
    return " ".join(str(raw).split())


def _types(draft: Draft) -> dict[str, str]:
    """The types of columns, as far as they are known."""
    own = {
        name: str(spec.get("type")) if isinstance(spec, dict) else str(spec)
        for name, spec in draft.columns.items()
    }
    return {**draft.schema_types, **own}


def _looked_at(where: Where) -> set[str]:
    return {name.partition(".")[0] for name in where}


def _made(draft: Draft, where: Where, *, transformed: bool) -> set[str]:
    """The columns that are other ones here than those that the manifest's filter looks at."""
    made = {*draft.omitted}
    for name, column in draft.columns.items():
        if isinstance(column, dict):
            moved = not transformed and column.get("path", name) != name
            made |= {name} if moved or {"from", "value"} & column.keys() else set()
    for path in draft.data.get("exclude", ()):
        inside = any(_within(column, path) or _within(path, column) for column in where)
        made |= {path.partition(".")[0]} if inside else set()
    if "names" in draft.data and not transformed:
        made |= {name for name in _looked_at(where) if name != name.lower()}
    return made


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _conjuncts(value: Value) -> Iterator[Value]:
    """The parts of a condition that all have to hold."""
    if isinstance(value, Applied) and value.name == "and":
        for part in value.values:
            yield from _conjuncts(part)
    else:
        yield value


def _unless_empty(value: Value) -> str | None:
    """The setting that a filter is by, if it keeps all rows where that is empty; else None."""
    if not isinstance(value, Choice):
        return None
    if value.test == value.then:  # or
        sides = ((value.then, value.otherwise), (value.otherwise, value.then))
        guarded = [
            (condition, empty.values[0])
            for condition, empty in sides
            if isinstance(empty, Applied) and empty.name == "not"
        ]
    else:
        all_rows = value.otherwise in (Literal(True), Literal("true"), Literal("True"))
        guarded = [(value.then, value.test)] if all_rows else []
    for condition, setting in guarded:
        if isinstance(setting, Setting) and setting in [*condition.parts()]:
            return ".".join(setting.path)
    return None


def _is_window(draft: Draft, value: Value) -> bool:
    """Whether rows are compared with the window, which is done anyway."""
    parts: tuple[Value, ...] = ()
    if isinstance(value, Choice) and value.test == value.then:
        parts = (value.then, value.otherwise)
    elif isinstance(value, Applied) and value.name == "and":
        parts = value.values
    if of_rows := [part for part in parts if "record" in reads(part)]:
        return all(_is_window(draft, part) for part in of_rows)
    if not isinstance(value, Applied) or value.name not in _ORDERED:
        return False
    (first, second), name = value.values, value.name
    if "record" in reads(second):
        first, second, name = second, first, _FLIPPED[name]
    bound = "{start}" if name in ("gteq", "gt") else "{end}"
    return "record" in reads(first) and _is_bound(draft, second, bound)


def _is_bound(draft: Draft, value: Value, bound: str) -> bool:
    """Whether a value is a bound of the window, or what the state says in place of its start."""
    of = reads(value)
    if not of <= {"interval", "state", "settings", "slice", "now"}:
        return False
    members = [part for part in value.parts() if isinstance(part, Member)]
    if bound == "{start}" and any(member.of == "state" for member in members):
        return True
    names = [".".join(str(part) for part in member.path) for member in members]
    texts = [draft.slots[name].text if name in draft.slots else "" for name in names]
    named = {"{start}": "start_time", "{end}": "end_time"}[bound]
    fits = [
        text == bound or (not text and member.of == "interval" and name == named)
        for member, name, text in zip(members, names, texts, strict=True)
    ]
    return bool(fits) and all(fits)


@dataclass(frozen=True)
class _Column:
    """A member of a row.

    :ivar default: what holds where a row lacks it; None = nothing.
    :ivar casts: the conversions of its value before it is compared.
    """

    name: str
    default: Any = None
    casts: tuple[str, ...] = ()


def _column(value: Value) -> _Column | None:
    """The column that a value is; None if it is more than one, or has no name in ``where``."""
    if isinstance(value, Applied) and value.name == "get" and isinstance(value.values[1], Literal):
        inner = _column(value.values[0])
        default = value.values[1].value
        return None if inner is None else _Column(inner.name, default, inner.casts)
    if isinstance(value, Applied) and value.name in _CAST_TYPES and len(value.values) == 1:
        inner = _column(value.values[0])
        return inner and _Column(inner.name, inner.default, (*inner.casts, value.name))
    if not (isinstance(value, Member) and value.of == "record" and value.path):
        return None
    names = [part for part in value.path if isinstance(part, str)]
    if len(names) < len(value.path) or (len(names) > 1 and any("." in name for name in names)):
        return None
    return _Column(".".join(names))


@dataclass
class _Conditions:
    """Conditions of a manifest, read into those of ``where``.

    :ivar types: of the columns, as far as they are known.
    :ivar fixed: the columns whose types are not the schema's, and stay.
    :ivar inferred: columns whose declared type is another than that of the value they are compared
        with: the rows say better which it is.
    :ivar by_null: columns that are compared with null.
    """

    types: Mapping[str, str]
    fixed: frozenset[str] = frozenset()
    inferred: set[str] = field(default_factory=set)
    by_null: list[str] = field(default_factory=list)

    def of(self, value: Value) -> Where | None:
        """What ``where`` says for a condition; None if it can't."""
        if isinstance(value, Applied):
            if value.name == "and":
                return _all(map(self.of, value.values))
            if value.name == "not":
                return _negated(self.of(value.values[0]))
            if (compared := self.compared(value)) is not None:
                return compared
        if isinstance(value, Choice) and value.test == value.then:  # or
            either = [_negated(self.of(value.then)), _negated(self.of(value.otherwise))]
            return _negated(_all(either))
        column = _column(value)
        return None if column is None or column.casts else self.true(column)

    def true(self, column: _Column) -> Where | None:
        """That a column has a value which Jinja takes for true."""
        kind = self.types.get(column.name)
        if kind == "bool":
            return self.checked(column, {"in": [True]})
        values = _FALSE.get(str(kind), [None, False, 0, "", [], {}])
        return self.checked(column, {"not": {"in": list(values)}})

    def compared(self, value: Applied) -> Where | None:
        """A comparison of a column with a value that is written in the manifest."""
        name = _TESTS.get(value.name, value.name)
        if value.name in _CONSTANT_TESTS and len(value.values) == 1:
            name, other = _CONSTANT_TESTS[value.name]
            return self.condition(value.values[0], name, other)
        if len(value.values) != 2:
            return None
        first, second = value.values
        if name in ("in", "notin") and second == Member("record", ()):
            named = isinstance(first, Literal) and isinstance(first.value, str)
            member = Member("record", (first.value,)) if isinstance(first, Literal) else second
            return self.condition(member, "ne" if name == "in" else "eq", None) if named else None
        if isinstance(first, Literal) and name in _FLIPPED:
            first, second, name = second, first, _FLIPPED[name]
        return self.condition(first, name, second.value) if isinstance(second, Literal) else None

    def condition(self, of: Value, name: str, other: Any) -> Where | None:
        column = _column(of)
        if column is None or not self.fits_casts(column):
            return None
        if name in _ORDERED:
            bounds = None if isinstance(other, bool | list | dict) else self.alike(column, other)
            if other is None or bounds is None:
                return None
            return self.checked(column, {_ORDERED[name]: bounds[0]})
        if name in ("in", "notin") and not isinstance(other, list):
            return None
        if name not in ("eq", "ne", "in", "notin"):
            return None
        values: list[Any] = []
        for item in other if name in ("in", "notin") else [other]:
            if (alike := self.alike(column, item)) is None:
                return None
            values += alike
        if None in values and column.name not in self.by_null:
            self.by_null.append(column.name)
        negative = name in ("ne", "notin")
        return self.checked(column, {"not": {"in": values}} if negative else {"in": values})

    def fits_casts(self, column: _Column) -> bool:
        """Whether a column has the type already that the manifest converts its values to."""
        kind = self.types.get(column.name)
        return all(kind in _CAST_TYPES[cast] for cast in column.casts)

    def alike(self, column: _Column, value: Any) -> list[Any] | None:
        """A value as the column has it: to Jinja true is 1; None if the column can't have it."""
        kind = self.types.get(column.name)
        if value is None or isinstance(value, list | dict):
            return [value] if value is None or kind in (None, "json") else None
        is_flag = isinstance(value, bool) or value in (0, 1)
        if kind in ("int64", "double") and not isinstance(value, str):
            return [int(value)] if isinstance(value, bool) else [value]
        if kind == "bool" and is_flag:
            return [bool(value)]
        if kind in ("string", "json") and isinstance(value, str):
            return [value]
        if kind is not None and kind.startswith(("timestamp", "date")):
            return _as_time(value, kind)
        if kind in ("string", "bool", "int64", "double"):
            if column.name in self.fixed or column.casts:
                return None
            self.inferred.add(column.name)
        return (
            [value, int(value) if isinstance(value, bool) else bool(value)] if is_flag else [value]
        )

    def checked(self, column: _Column, condition: Condition) -> Where | None:
        """The condition, if a row that lacks the column meets it as the manifest's default does."""
        where = {column.name: condition}
        if column.default is None:
            return where
        try:
            same = meets({}, where) == meets({column.name: column.default}, where)
        except ContractBroken:
            return None
        return where if same else None


def _as_time(value: Any, kind: str) -> list[Any] | None:
    """A text as ``where`` compares it with a time: both in UTC, as ISO 8601."""
    if not isinstance(value, str):
        return None
    try:
        if kind == "date":
            return [date.fromisoformat(value).isoformat()]
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return [aware.astimezone(UTC).isoformat()]


def _all(conditions: Iterable[Where | None]) -> Where | None:
    """Conditions of which each has to hold; None if one of them, or all at once, can't be said."""
    where: Where = {}
    for part in conditions:
        if part is None:
            return None
        for column, condition in part.items():
            merged = _merged(where.get(column, {}), condition)
            if merged is None:
                return None
            where[column] = merged
    return where


def _merged(first: Condition, other: Condition) -> Condition | None:
    """Two conditions on one column in one; None if no form of ``where`` is both."""
    both = dict(first)
    for name, value in other.items():
        if name not in both or both[name] == value:
            both[name] = value
        elif name == "not" and both[name].keys() == value.keys() == {"in"}:
            both[name] = {"in": [*both[name]["in"], *value["in"]]}
        elif name == "in":
            both[name] = [item for item in both[name] if item in value]
        elif name in _ORDERED.values() and type(both[name]) is type(value):
            both[name] = (max if name in ("gt", "gte") else min)(both[name], value)
        else:
            return None
    return both


def _negated(where: Where | None) -> Where | None:
    """The opposite of a condition on one column; of several it is no conjunction."""
    if where is None or len(where) != 1:
        return None
    ((column, condition),) = where.items()
    return {column: condition["not"] if condition.keys() == {"not"} else {"not": condition}}


def _short(condition: Condition) -> Any:
    """A condition as people write it: a value in place of a list that has it alone."""
    if condition.keys() == {"in"} and len(condition["in"]) == 1:
        (only,) = condition["in"]
        return condition if isinstance(only, list | dict) else only
    return {name: _short(of) if name == "not" else of for name, of in condition.items()}
