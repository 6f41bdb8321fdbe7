"""Every key that a source's YAML may have, as Markdown, from the models that validate it."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.aws_source import AwsSource
from pipeline.config.source import Source

_PLAIN = {"integer": "whole number", "boolean": "true or false", "null": "nothing"}


def reference() -> str:
    """The page ``docs/sources-reference.md``."""
    schema = Source.model_json_schema(by_alias=True)
    lines = [
        "# Every key of a source's YAML",
        "",
        "Made from the models by `python -m sourcetool reference`; a test compares. How to write a",
        "source: [sources.md](sources.md).",
        "",
        *_table("The file", schema),
    ]
    aws = AwsSource.model_json_schema(by_alias=True)
    lines += _table("A file of kind aws", aws)
    models = {**aws.get("$defs", {}), **schema.get("$defs", {})}
    for name, model in sorted(models.items()):
        if model.get("properties"):
            lines += _table(name, model)
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, model: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    about = " ".join(str(model.get("description", "")).split("\n\n")[0].split())
    if about:
        yield about
        yield ""
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    needed = model.get("required", [])
    for key, spec in model["properties"].items():
        default = "**needed**" if key in needed else _default(spec)
        meaning = " ".join(str(spec.get("description", "")).split())
        yield f"| `{key}` | {_cell(_type(spec))} | {_cell(default)} | {_cell(meaning)} |"
    yield ""


def _default(spec: dict[str, Any]) -> str:
    value = spec.get("default")
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, dict):
        return f"`{value['kind']}`" if "kind" in value else "see there"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(spec: dict[str, Any]) -> str:
    if "const" in spec:
        return f"`{spec['const']}`"
    if "enum" in spec:
        return " or ".join(f"`{one}`" for one in spec["enum"])
    if "$ref" in spec:
        return f"[{_name(spec['$ref'])}](#{_name(spec['$ref']).lower()})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in spec:
            kinds = [_type(one) for one in spec[choice] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if spec.get("type") == "array":
        return f"list of {_type(spec.get('items', {}))}"
    if spec.get("type") == "object":
        inside = spec.get("additionalProperties")
        return f"name: {_type(inside)}" if isinstance(inside, dict) and inside else "mapping"
    kind = str(spec.get("type", "anything"))
    return str(spec.get("format") or _PLAIN.get(kind, "text" if kind == "string" else kind))


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
