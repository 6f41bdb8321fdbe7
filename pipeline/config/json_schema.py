"""The JSON Schema of a source's YAML: ``python -m pipeline.config.json_schema`` prints it.

It is made from the models, and says what an editor should: ``defaults`` hold any part of an
endpoint, so that no part of an endpoint is required in itself and ``null`` takes one away; a column
may be its type alone; a number, a day or a word of a list may be a text with ``${VAR}``.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from pipeline.config.aws_source import AwsSource
from pipeline.config.source import Source
from pipeline.model import NAME, Model

_SETTING = {"type": "string", "pattern": r"\$\{"}
_NARROW = frozenset({"integer", "number", "boolean"})
_ABOUT = ("title", "description", "default")
_AS_IS = frozenset({"default", "enum", "const", "propertyNames"})
_REFERENCE = "#/$defs/"
_SHORT_COLUMNS: Final = {"Column": "ColumnSpec", "ColumnOfTable": "TableColumn"}
"""What a column is in the YAML: a type, or all that is said of it."""


def source_schema() -> dict[str, Any]:
    """The schema of a whole file, by its kind: an API, or AWS."""
    api, aws = _schema_of(Source, "Endpoint"), _schema_of(AwsSource, "AwsEndpoint")
    defs = {**aws.pop("$defs"), **api.pop("$defs")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A source of Headrace",
        "if": {"properties": {"kind": {"const": "aws"}}, "required": ["kind"]},
        "then": aws,
        "else": api,
        "$defs": dict(sorted(defs.items())),
    }


def _schema_of(model: type[Model], endpoint: str) -> dict[str, Any]:
    """The schema of a file of one kind.

    :param endpoint: the model of its endpoints.
    """
    schema = model.model_json_schema(by_alias=True)
    defs: dict[str, Any] = schema["$defs"]
    for name in _reached(defs, endpoint):
        defs[name] = _partial(defs[name])
    for name, spec in _SHORT_COLUMNS.items():
        if spec in defs:
            defs[name] = {"anyOf": [{"type": "string"}, {"$ref": f"{_REFERENCE}{spec}"}]}
    _short_columns(defs)
    schema["properties"]["defaults"] = {
        "$ref": f"{_REFERENCE}{endpoint}",
        "description": "merged under each endpoint; an endpoint's own word wins",
    }
    schema["properties"]["endpoints"] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": NAME},
        "additionalProperties": _or_null({"$ref": f"{_REFERENCE}{endpoint}"}),
    }
    filled: dict[str, Any] = _with_settings(schema)
    return {key: value for key, value in filled.items() if key != "title"}


def _reached(defs: Mapping[str, Any], name: str) -> set[str]:
    """The definitions that a definition is made of, itself included."""
    reached, waiting = set[str](), [name]
    while waiting:
        definition = waiting.pop()
        if definition not in reached:
            reached.add(definition)
            text = json.dumps(defs[definition])
            waiting += [other for other in defs if f'"{_REFERENCE}{other}"' in text]
    return reached


def _partial(model: dict[str, Any]) -> dict[str, Any]:
    """A model of which any part may be missing, since ``defaults`` may have it, or be null."""
    parts = model.get("properties", {})
    rest = {key: value for key, value in model.items() if key != "required"}
    return {**rest, "properties": {name: _or_null(_any_of(part)) for name, part in parts.items()}}


def _any_of(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a choice fits without the word that makes the choice."""
    rest = {key: value for key, value in part.items() if key not in ("oneOf", "discriminator")}
    return {**rest, "anyOf": part["oneOf"]} if "oneOf" in part else rest


def _or_null(part: dict[str, Any]) -> dict[str, Any]:
    if {"type": "null"} in part.get("anyOf", []) or part == {}:
        return part
    about: dict[str, Any] = {k: part[k] for k in _ABOUT if k in part}
    rest = {key: value for key, value in part.items() if key not in about}
    choices = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**about, "anyOf": [*choices, {"type": "null"}]}


def _short_columns(node: Any) -> None:
    """Wherever columns are, a column may be its type alone, or null."""
    if isinstance(node, dict):
        for name, spec in _SHORT_COLUMNS.items():
            if node.get("additionalProperties") == {"$ref": f"{_REFERENCE}{spec}"}:
                node["additionalProperties"] = _or_null({"$ref": f"{_REFERENCE}{name}"})
        for value in node.values():
            _short_columns(value)
    elif isinstance(node, list):
        for value in node:
            _short_columns(value)


def _with_settings(node: Any) -> Any:
    """The schema in which any value may also be a text with a setting in it."""
    if isinstance(node, list):
        return [_with_settings(value) for value in node]
    if not isinstance(node, dict):
        return node
    members: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            members[key] = {name: _with_settings(part) for name, part in value.items()}
        else:
            members[key] = value if key in _AS_IS else _with_settings(value)
    narrow = node.get("type") in _NARROW or "enum" in node
    text = node.get("type") == "string" and ("pattern" in node or "format" in node)
    if not (narrow or text) or node == _SETTING or "writeOnly" in node:
        return members
    about: dict[str, Any] = {k: members.pop(k) for k in _ABOUT if k in members}
    return {**about, "anyOf": [members, dict(_SETTING)]}


def main() -> None:
    print(json.dumps(source_schema(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
