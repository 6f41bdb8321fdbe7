"""Record selectors and transformations: where rows are, which are kept, which columns they get."""

from collections.abc import Mapping
from typing import Any

from pipeline.model import split_path
from sourcetool.importers.draft import Draft
from sourcetool.importers.fanout import land_partition_value
from sourcetool.importers.manifest import Component
from sourcetool.importers.pagination import dotted
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of
from sourcetool.importers.values import (
    Applied,
    Choice,
    Joined,
    Literal,
    Member,
    Now,
    Setting,
    Value,
    only_settings,
    reads,
)

_RULES = {
    "KeysToLower": "rename",
    "KeysReplace": "rename",
    "FlattenFields": "flatten",
    "DpathFlattenFields": "flatten",
}
_JSON = (None, "JsonDecoder")
_UTF_8 = ("utf-8", "utf8", "utf-8-sig", "ascii")


def select(draft: Draft, retriever: Component) -> None:
    """``rows``, the decoder and the filter."""
    selector = retriever.get("record_selector") or {}
    extractor = selector.get("extractor") or {}
    decoder = retriever.get("decoder") or (retriever.get("requester") or {}).get("decoder") or {}
    if "class_name" in decoder:
        draft.need("python", "decoder", decoder["class_name"])
    else:
        _decode(draft, decoder)
    for name, part in (("record_selector", selector), ("extractor", extractor)):
        if "class_name" in part:
            draft.need("python", name, part["class_name"])
            return
    if extractor and extractor.get("type") not in (None, "DpathExtractor"):
        draft.need("component", "extractor", extractor.get("type"))
    path = [text_of(draft, part, "DpathExtractor.field_path") for part in _path(extractor)]
    parts = [str(part) for part in path if part not in (None, "")]
    if decoder.get("type") == "JsonItemsDecoder":
        parts = [*str(decoder.get("items_path") or "").removesuffix(".item").split("."), *parts]
        parts = [part for part in parts if part]
    parts = _expanded(draft, parts, extractor.get("record_expander"))
    if any("*" in part for part in parts) or any(part.isdigit() for part in parts):
        draft.need("rows_nested", "DpathExtractor.field_path", ".".join(parts))
    if "format" in draft.data:
        parts = []
    if parts:
        draft.data["rows"] = dotted(parts)
        draft.data["rows_may_lack"] = True
    _one_object(draft, retriever, parts)
    if condition := selector.get("record_filter"):
        keep_where(draft, condition)
        if selector.get("transform_before_filtering"):
            draft.transformed_first = True


def _decode(draft: Draft, decoder: Component) -> None:
    """``format``, where responses are no JSON document."""
    kind = decoder.get("type")
    if kind == "CompositeRawDecoder" and isinstance(decoder.get("parser"), dict):
        decoder = decoder["parser"]
        kind = decoder.get("type")
    if kind in ("JsonlDecoder", "JsonLineParser"):
        draft.data["format"] = "jsonl"
    elif kind in ("CsvDecoder", "CsvParser"):
        spec = {"kind": "csv"}
        if (mark := decoder.get("delimiter")) and mark != ",":
            spec["delimiter"] = str(mark)
        draft.data["format"] = spec if len(spec) > 1 else "csv"
        if (encoding := str(decoder.get("encoding") or "utf-8").lower()) not in _UTF_8:
            draft.need("format", "CsvDecoder.encoding", encoding)
        if empty := [text for text in decoder.get("set_values_to_none") or [] if text != ""]:
            draft.doubt(f"the manifest reads {empty} as no value: they are kept as they are")
    elif kind not in (*_JSON, "JsonParser", "JsonItemsDecoder"):
        draft.need("format", "decoder", kind)


def _expanded(draft: Draft, parts: list[str], expander: Component | None) -> list[str]:
    """The path of rows that are the items of a list in each row."""
    if not expander:
        return parts
    inner = [str(part) for part in expander.get("expand_records_from_field") or []]
    beside = ("remain_original_record", "merge_parent", "parent_fields")
    beyond = [name for name in beside if expander.get(name)]
    if str(expander.get("on_no_records") or "skip") != "skip":
        beyond.append("on_no_records")
    if beyond or not inner:
        draft.need("expanded", "RecordExpander", ", ".join(beyond))
    return [*parts, "*", *inner]


def _path(extractor: Component) -> list[Any]:
    path = extractor.get("field_path") or extractor.get("field_pointer") or []
    return path if isinstance(path, list) else [path]


def _one_object(draft: Draft, retriever: Component, parts: list[str]) -> None:
    """Without pages an object may come in place of a list; a manifest takes both."""
    several = retriever.get("paginator") or any("*" in part for part in parts)
    if several or "format" in draft.data:
        return
    if draft.can("rows_either"):
        draft.data["as"] = "object_or_list"
    else:
        draft.doubt("one object or a list of rows? The manifest does not say; a list is expected")


def keep_where(draft: Draft, component: Component) -> None:
    """A condition that a row has to meet."""
    if "class_name" in component:
        draft.need("python", "record_filter", component["class_name"])
        return
    raw = component.get("condition")
    value = read_template(raw, draft.parameters)
    if isinstance(value, Literal):
        return
    if reads(value) <= {"record", "interval", "state", "settings", "slice"} and _is_window(value):
        draft.doubt(f"the manifest keeps rows by the window: {' '.join(str(raw).split())}")
        return
    if (setting := _unless_empty(value)) is not None:
        draft.doubt(f"the manifest's setting {setting} keeps some rows: all are kept")
        return
    if reads(value) <= {"record", "settings", "slice", "interval"}:
        draft.data["where"] = conditions(value, draft.schema_types)
        beyond = "…" in str(draft.data["where"])
        draft.need("computed" if beyond else "where", "RecordFilter", raw)
    else:
        draft.need("computed", "RecordFilter", raw)


def check_filter(draft: Draft) -> None:
    """Whether the filter is by members that a transformation makes, where it comes after them."""
    made = {
        name
        for name, column in draft.columns.items()
        if isinstance(column, dict) and {"path", "from", "value"} & set(column)
    } | set(draft.omitted)
    looked_at = {str(name).partition(".")[0] for name in draft.data.get("where") or ()}
    if draft.transformed_first and made & looked_at:
        draft.need(
            "computed", "RecordFilter", f"by {', '.join(sorted(made & looked_at))}, made here"
        )


def _unless_empty(value: Value) -> str | None:
    """The setting that a filter is by, if it keeps all rows where that is empty; else None."""
    if not isinstance(value, Choice):
        return None
    last, first = value.otherwise, value.then
    if not (isinstance(last, Applied) and last.name == "not"):
        return None
    setting = last.values[0]
    if not (isinstance(setting, Setting) and setting in [*first.parts()]):
        return None
    return ".".join(setting.path)


def _is_window(value: Value) -> bool:
    """Whether rows are compared with the window, which is done anyway."""
    parts: tuple[Value, ...] = ()
    if isinstance(value, Choice) and value.test == value.then:
        parts = (value.then, value.otherwise)
    elif isinstance(value, Applied) and value.name == "and":
        parts = value.values
    if of_rows := [part for part in parts if "record" in reads(part)]:
        return all(_is_window(part) for part in of_rows)
    return (
        isinstance(value, Applied)
        and value.name in ("gteq", "gt")
        and bool({"interval", "state"} & reads(value))
    )


_OPERATORS = {"gt": "gt", "gteq": "gte", "lt": "lt", "lteq": "lte", "ne": "not", "in": "in"}


_FALSE: Mapping[str, list[Any]] = {
    "string": [None, ""],
    "date": [None, ""],
    "timestamp[iso]": [None, ""],
    "int64": [None, 0],
    "double": [None, 0],
    "json": [None, [], {}],
}
"""The values of a column that Jinja takes for false, by its type."""


def _true(column: str, types: Mapping[str, str]) -> dict[str, Any]:
    """That a column has a value which Jinja takes for true."""
    kind = types.get(column)
    if kind == "bool":
        return {column: True}
    values = _FALSE.get(str(kind), [None, False, 0, "", [], {}])
    return {column: {"not": {"in": list(values)}}}


def conditions(value: Value, types: Mapping[str, str]) -> dict[str, Any]:
    """A condition as ``where`` says it: ``{column: value}``, ``{column: {gt: 0}}``.

    :param types: of the columns, as far as they are known.
    """
    if isinstance(value, Applied):
        if value.name == "and":
            return {
                k: v for conjunct in value.values for k, v in conditions(conjunct, types).items()
            }
        first, rest = value.values[0], value.values[1:]
        if isinstance(first, Member) and first.of == "record":
            column = dotted([str(part) for part in first.path])
            other = rest[0].value if rest and isinstance(rest[0], Literal) else None
            if value.name == "eq":
                return {column: other}
            if value.name == "notin":
                return {column: {"not": {"in": other}}}
            if value.name in _OPERATORS:
                return {column: {_OPERATORS[value.name]: other}}
            if value.name == "is none":
                return {column: None}
        if value.name == "in" and isinstance(first, Literal) and _is_record(rest[0]):
            return {
                dotted([str(part) for part in (*_path_of(rest[0]), first.value)]): {"not": None}
            }
        if value.name == "not":
            return _negated(conditions(first, types))
    if isinstance(value, Member) and value.of == "record":
        return _true(dotted([str(part) for part in value.path]), types)
    return {"…": "see the manifest"}


def _negated(condition: dict[str, Any]) -> dict[str, Any]:
    """The opposite of a condition on one column; of several it is no conjunction."""
    if len(condition) != 1 or "…" in condition:
        return {"…": "see the manifest"}
    ((column, wanted),) = condition.items()
    if isinstance(wanted, dict) and set(wanted) == {"not"}:
        return {column: wanted["not"]}
    return {column: {"not": wanted}}


def _is_record(value: Value) -> bool:
    return isinstance(value, Member) and value.of == "record"


def _path_of(value: Value) -> tuple[Any, ...]:
    return value.path if isinstance(value, Member) else ()


def transform(draft: Draft, transformations: list[Component], types: Mapping[str, str]) -> None:
    """Added, removed and renamed members."""
    for transformation in transformations:
        kind = str(transformation.get("type", ""))
        if "class_name" in transformation:
            draft.need("python", "transformations", transformation["class_name"])
        elif kind == "AddFields":
            for added in transformation.get("fields") or []:
                _add(draft, added, transformation.get("condition"), types)
        elif kind == "RemoveFields" and (condition := transformation.get("condition")):
            draft.doubt(f"RemoveFields keeps its members here: the condition {condition}")
        elif kind == "RemoveFields":
            pointers = transformation.get("field_pointers") or []
            excluded = draft.data.setdefault("exclude", [])
            excluded += [dotted([str(part) for part in pointer]) for pointer in pointers]
            draft.need("exclude", "RemoveFields", ", ".join(map(str, excluded[:5])))
        elif kind == "KeysToSnakeCase":
            _snake_case(draft, types)
        elif kind in _RULES:
            draft.need(_RULES[kind], kind)
        else:
            draft.need("component", "transformations", kind)


def _add(draft: Draft, added: Component, condition: Any, types: Mapping[str, str]) -> None:
    """An added column. One that is left out is in no row, though the API's rows have one.

    As the API has it, the value may be what the manifest hides.
    """
    path = [str(text_of(draft, part, "AddFields.path")) for part in added.get("path") or []]
    omitted = set(draft.omitted)
    if condition:
        draft.column("_".join(path), None, "computed", "AddFields.condition", condition)
    else:
        _added(draft, path, added, types)
    excluded = draft.data.get("exclude", [])
    if draft.omitted.keys() - omitted and dotted(path) not in excluded:
        draft.data["exclude"] = [*excluded, dotted(path)]
        if "hash" in str(added.get("value")):
            draft.doubt(f"{dotted(path)} is hashed by the manifest: see hash, which lands a hash")


def _snake_case(draft: Draft, types: Mapping[str, str]) -> None:
    """``names: snake_case``; the schema has the new names, and rows have those of the API."""
    draft.data["names"] = "snake_case"
    draft.untyped = frozenset(name for name in types if "_" in name)
    if draft.untyped:
        draft.doubt("types of columns with _ in their names are inferred: rows have other names")


_VALUE_TYPES = {"integer": "int64", "number": "double", "boolean": "bool"}


def _added(draft: Draft, path: list[str], added: Component, types: Mapping[str, str]) -> None:
    raw = added.get("value")
    value = _unquoted(read_template(raw, draft.parameters))
    name = "_".join(path)
    kind = types.get(path[0]) or _VALUE_TYPES.get(str(added.get("value_type"))) or "string"
    if len(path) > 1:
        draft.column(name, {"type": kind}, "column_nested", "AddFields", ".".join(path))
        return
    if isinstance(value, Choice) and value.otherwise in (Literal(""), Literal(None)):
        value = value.then
    if isinstance(value, Member) and value.of == "record" and value.path:
        if list(value.path) != path:
            inner = [str(part) for part in value.path]
            if inner[0] in draft.omitted:
                draft.column(name, None, "computed", "AddFields", raw)
                return
            inner = [*_made_of(draft, inner[0]), *inner[1:]]
            column = {"type": kind, "path": dotted(inner)}
            if any(isinstance(part, int) for part in value.path):
                draft.column(name, column, "column_index", "AddFields", raw)
            else:
                draft.columns[name] = column
        return
    if isinstance(value, Literal) or only_settings(value):
        text = text_of(draft, raw, "AddFields.value")
        column = {"type": kind, "value": text}
        draft.column(name, column, "column_constant", "AddFields", name)
        return
    if isinstance(value, Member) and value.of in ("slice", "interval"):
        _from_around(draft, name, value, raw, types)
        return
    _computed(draft, name, kind, value, raw)


def _made_of(draft: Draft, name: str) -> list[str]:
    """The path to a member of a row, which may be a column that was added before."""
    column = draft.columns.get(name)
    if isinstance(column, dict) and "path" in column:
        return list(split_path(column["path"]))
    return [name]


def _unquoted(value: Value) -> Value:
    """A value in quotes is that value: a manifest writes them so that it stays a text."""
    if isinstance(value, Joined) and len(value.values) == 3:
        first, inner, last = value.values
        if first == last and first in (Literal('"'), Literal("'")):
            return inner
    return value


def _from_around(
    draft: Draft, name: str, value: Member, raw: Any, types: Mapping[str, str]
) -> None:
    field = ".".join(str(part) for part in value.path if part != "parent_slice")
    slot = draft.slots.get(field)
    if field in ("start_time", "end_time") or (slot and slot.text in ("{start}", "{end}")):
        bound = "start" if "start" in field or (slot and slot.text == "{start}") else "end"
        column = {"type": "timestamp[iso]", "from": f"window.{bound}"}
        draft.column(name, column, "column_window", "AddFields", name)
    elif slot is None:
        draft.column(name, None, "computed", "AddFields", raw)
    elif slot.text in ("{parent}", "{each}") and land_partition_value(draft, name, types):
        return
    else:
        if slot.land is not None:
            slot.land()
        column = {"type": "string", "from": slot.text.strip("{}")}
        draft.column(name, column, "fanout_columns", "AddFields", name)


def _computed(draft: Draft, name: str, kind: str, value: Value, raw: Any) -> None:
    of = reads(value)
    if isinstance(value, Now) or of == {"now"}:
        column = {"type": "timestamp[iso]", "from": "now"}
        draft.column(name, column, "column_now", "AddFields", f"{name}; _extracted_at has it")
    elif isinstance(value, Member) and value.of in ("response", "headers"):
        path = dotted([str(part) for part in value.path])
        column = {"type": kind, "from": f"{value.of}.{path}"}
        draft.column(name, column, "column_response", "AddFields", name)
    else:
        draft.column(name, None, "computed", "AddFields", raw)
