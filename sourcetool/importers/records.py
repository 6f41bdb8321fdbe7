"""Record selectors and transformations: where rows are, and which columns they get."""

from collections.abc import Mapping
from typing import Any

from pipeline.model import split_path
from sourcetool.importers.draft import ABOVE, BOUNDS, Draft
from sourcetool.importers.fanout import land_partition_value
from sourcetool.importers.manifest import Component
from sourcetool.importers.moments import written_moment
from sourcetool.importers.pagination import dotted
from sourcetool.importers.templates import CASTS, read_template
from sourcetool.importers.texts import members_of, text_of, written
from sourcetool.importers.values import (
    Applied,
    Choice,
    Formatted,
    Joined,
    Literal,
    Member,
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
    """``rows`` and the decoder."""
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
    if unlikely := [part for part in parts if set("\"'\n") & set(part)]:
        draft.doubt(
            f"an API may have no member {unlikely[0]!r}: rows would always be none; correct rows"
        )
    if parts:
        draft.data["rows"] = dotted(parts)
        draft.data["rows_may_lack"] = True
    _one_object(draft, retriever, parts)


def _decode(draft: Draft, decoder: Component) -> None:
    """``format``, where responses are no JSON document."""
    kind = decoder.get("type")
    if kind == "CompositeRawDecoder" and isinstance(decoder.get("parser"), dict):
        decoder = decoder["parser"]
        kind = decoder.get("type")
    while kind in ("GzipDecoder", "GzipParser"):
        draft.doubt("a body that is a gzip file is refused here, unless Content-Encoding says so")
        decoder = decoder.get("decoder") or decoder.get("inner_parser") or {}
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
            _remove(draft, [[str(part) for part in pointer] for pointer in pointers])
        elif kind == "KeysToSnakeCase":
            _snake_case(draft, types)
        elif kind in _RULES:
            draft.need(_RULES[kind], kind)
        else:
            draft.need("component", "transformations", kind)


def _remove(draft: Draft, pointers: list[list[str]]) -> None:
    """Members that no row keeps; a pattern of names is none that the YAML has."""
    excluded = draft.data.setdefault("exclude", [])
    for pointer in pointers:
        if any(set(part) & set("*?[") for part in pointer):
            shown = ".".join(pointer)
            draft.doubt(f"RemoveFields keeps {shown} here: name the members in exclude")
        else:
            excluded.append(dotted(pointer))
    if not excluded:
        del draft.data["exclude"]
    draft.need("exclude", "RemoveFields", ", ".join(map(str, excluded[:5])))


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
    value, cast = _unconverted(draft, name, value)
    if isinstance(value, Member) and value.of == "record" and value.path:
        if list(value.path) != path:
            inner = [str(part) for part in value.path]
            from_the_end = any(isinstance(part, int) and part < 0 for part in value.path)
            if inner[0] in draft.omitted or from_the_end:
                draft.column(name, None, "computed", "AddFields", raw)
                return
            kind = types.get(path[0]) or cast or kind
            inner = [*_made_of(draft, inner[0]), *inner[1:]]
            column = {"type": kind, "path": dotted(inner)}
            if any(isinstance(part, int) for part in value.path):
                draft.column(name, column, "column_index", "AddFields", raw)
            else:
                draft.columns[name] = column
        return
    if (members := _of_members(draft, value)) is not None:
        draft.objects[name] = members
    if isinstance(value, Literal) or only_settings(value):
        text = written(draft, value, "AddFields.value", raw)
        column = {"type": kind, "value": text}
        draft.column(name, column, "column_constant", "AddFields", name)
        return
    if isinstance(value, Member) and value.of in ("slice", "interval"):
        _from_around(draft, name, value, raw, {name: types.get(name) or kind})
        return
    _computed(draft, name, kind, value, raw)


_CASTS = {"|int": "int64", "|float": "double"}


def _unconverted(draft: Draft, name: str, value: Value) -> tuple[Value, str]:
    """A member of a row without what stands around it, and the type that it is converted to.

    Without ``x if x else none``, which is x; with a doubt where a default or a cut is left out.
    """
    cast = ""
    while True:
        if isinstance(value, Choice) and value.otherwise in (Literal(""), Literal(None)):
            if not _guards(value.test, value.then):
                return value, cast
            value = value.then
        elif isinstance(value, Applied) and value.name == "get":
            if value.values[1] not in (Literal(None), Literal(""), Literal([])):
                default = value.values[1]
                shown = repr(default.value) if isinstance(default, Literal) else "computed"
                draft.doubt(f"{name} is null in rows that lack it; the manifest has {shown} there")
            value = value.values[0]
        elif isinstance(value, Applied) and value.name in (*_CASTS, "|string", "|tojson", "str"):
            cast, value = _CASTS.get(value.name, cast), value.values[0]
        elif isinstance(value, Formatted) and (member := _time_of(value)) is not None:
            draft.doubt(f"{name} is as the API writes it; the manifest writes it as {value.format}")
            cast, value = "timestamp[iso]", member
        elif isinstance(value, Applied) and value.name == "|trim":
            draft.doubt(f"{name} is as the API has it; the manifest trims blanks around it")
            value = value.values[0]
        else:
            return value, cast


def _time_of(value: Formatted) -> Value | None:
    """The member of a row that a manifest writes as a time of another form; None if it is none."""
    inner = value.value
    if isinstance(inner, Applied) and inner.name == ".replace":
        inner = inner.values[0]
    whole = value.format.startswith(("%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"))
    return inner if whole and reads(inner) <= {"record", "settings"} else None


def _guards(test: Value, then: Value) -> bool:
    """Whether a test says no more than that a member of a row, or one above it, is there."""
    if isinstance(test, Applied) and test.name == "and":
        return all(_guards(part, then) for part in test.values)
    if isinstance(test, Applied) and test.name == "in" and isinstance(test.values[0], Literal):
        above = test.values[1]
        test = (
            Member(above.of, (*above.path, test.values[0].value))
            if isinstance(above, Member)
            else above
        )
    elif isinstance(test, Applied) and test.name == "not":
        inner = test.values[0]
        absent = isinstance(inner, Applied) and inner.name in ("is none", "is undefined")
        test = inner.values[0] if absent and isinstance(inner, Applied) else test
    elif isinstance(test, Applied) and test.name in ("is defined", "ne"):
        test = test.values[0] if test.values[1:] in ((), (Literal(None),), (Literal(""),)) else test
    while isinstance(then, Applied) and then.name.removeprefix("|") in {*CASTS, "get", "str"}:
        if test == then:
            return True
        then = then.values[0]
    if not (isinstance(test, Member) and isinstance(then, Member) and test.of == then.of):
        return test == then
    return then.path[: len(test.path)] == test.path


def _of_members(draft: Draft, value: Value) -> dict[str, str] | None:
    """The paths of an object that is made of members of the row; None if it is none."""
    paths: dict[str, str] = {}
    for name, item in (members_of(value) or {}).items():
        if not (isinstance(item, Member) and item.of == "record" and item.path):
            return None
        first, *inner = map(str, item.path)
        paths[name] = dotted([*_made_of(draft, first), *inner])
    return paths or None


def _made_of(draft: Draft, name: str) -> list[str]:
    """The path to a member of a row, which may be a column that was added before."""
    column = draft.columns.get(name)
    if isinstance(column, dict) and "path" in column:
        return list(split_path(column["path"]))
    return [name]


def _unquoted(value: Value) -> Value:
    """A value in quotes is that value: a manifest writes them so that it stays a text."""
    if isinstance(value, Literal) and isinstance(value.value, str):
        quoted = len(value.value) > 1 and value.value[0] == value.value[-1] in ("'", '"')
        return Literal(value.value[1:-1]) if quoted else value
    if isinstance(value, Joined) and len(value.values) == 3:
        first, inner, last = value.values
        if first == last and first in (Literal('"'), Literal("'")):
            return inner
    return value


def _from_around(
    draft: Draft, name: str, value: Member, raw: Any, types: Mapping[str, str]
) -> None:
    field = ".".join(str(part) for part in value.path if part != ABOVE)
    slot = draft.slot_of(value.path)
    if field in ("start_time", "end_time") or (slot and slot.text in BOUNDS):
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
        kind = types.get(name)
        column = {"type": kind if kind in ("int64", "string") else "string"}
        column["from"] = slot.text.strip("{}")
        draft.column(name, column, "fanout_columns", "AddFields", name)


def _computed(draft: Draft, name: str, kind: str, value: Value, raw: Any) -> None:
    if (moment := written_moment(value)) is not None and moment[0].before_m == 0:
        column = {"type": "timestamp[iso]", "from": "now"}
        draft.column(name, column, "column_now", "AddFields", f"{name}; _extracted_at has it")
    elif isinstance(value, Member) and value.of in ("response", "headers"):
        path = dotted([str(part) for part in value.path])
        column = {"type": kind, "from": f"{value.of}.{path}"}
        draft.column(name, column, "column_response", "AddFields", name)
    else:
        draft.column(name, None, "computed", "AddFields", raw)
