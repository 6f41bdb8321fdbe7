"""Every key that a source's YAML may have, as Markdown, from the models that validate it."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.aws_source import AwsSource
from pipeline.config.source import Source
from sourcetool.reference_examples import Examples, examples

_TWINS = {"AwsSource": "Source", "AwsEndpoint": "Endpoint", "AwsLimits": "LimitsConfig"}
"""Models whose keys mean what those of the other one mean."""
_PLAIN = {"integer": "whole number", "boolean": "true or false", "null": "nothing"}


def reference() -> str:
    """The page ``docs/sources-reference.md``."""
    schema = Source.model_json_schema(by_alias=True)
    shown = examples(schema, "Source")
    lines = [
        "# Every key of a source's YAML",
        "",
        "Made from the models by `python -m sourcetool reference`; a test compares. How to write a",
        "source: [sources.md](sources.md).",
        "",
        *_table("The file", schema, "Source", shown),
    ]
    aws = AwsSource.model_json_schema(by_alias=True)
    shown = {**examples(aws, "AwsSource"), **shown}
    lines += _table("A file of kind aws", _explained(aws, schema), "AwsSource", shown)
    models = {**aws.get("$defs", {}), **schema.get("$defs", {})}
    for name, model in sorted(models.items()):
        if twin := _TWINS.get(name):
            model = _explained(model, models[twin])
        if model.get("properties"):
            lines += _table(name, model, name, shown)
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, model: dict[str, Any], name: str, shown: Examples) -> Iterator[str]:
    """A section: a line a key, with an example where there is one.

    :param name: of the model, by which ``shown`` has its examples.
    """
    yield f"## {title}"
    yield ""
    about = " ".join(str(model.get("description", "")).split("\n\n")[0].split())
    if about:
        yield about
        yield ""
    yield "| key | value | default | example | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    needed = model.get("required", [])
    for key, spec in model["properties"].items():
        default = "**needed**" if key in needed else _default(spec)
        example = shown.get((name, key)) or shown.get((_TWINS.get(name, name), key))
        cells = (
            _type(spec),
            default,
            f"`{example}`" if example else "",
            " ".join(
                str(spec.get("description", "names the kind" if "const" in spec else "")).split()
            ),
        )
        yield f"| `{key}` | " + " | ".join(map(_cell, cells)) + " |"
    yield ""


def _explained(model: dict[str, Any], twin: dict[str, Any]) -> dict[str, Any]:
    """A model whose keys without a meaning have that of the same key elsewhere."""
    descriptions = {
        k: v["description"] for k, v in twin["properties"].items() if "description" in v
    }
    keys = {
        key: {"description": descriptions[key], **spec} if key in descriptions else spec
        for key, spec in model["properties"].items()
    }
    return {**model, "properties": keys}


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
        return " or ".join(f"`{option}`" for option in spec["enum"])
    if "$ref" in spec:
        return f"[{_name(spec['$ref'])}](#{_name(spec['$ref']).lower()})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in spec:
            kinds = [_type(option) for option in spec[choice] if option.get("type") != "null"]
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
    return (
        text.replace("|", "\\|") if "`" in text else text.replace("|", "\\|").replace("<", "&lt;")
    )
