"""Every key that a source's YAML may have, as Markdown, from the models that validate it.

A page a part of the YAML. A model is on the first page whose keys lead to it, so that a new model
finds its page by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.aws_source import AwsSource
from pipeline.config.source import Source
from sourcetool.reference_examples import Examples, examples

_TWINS = {"AwsSource": "Source", "AwsEndpoint": "Endpoint", "AwsLimits": "LimitsConfig"}
"""Models whose keys mean what those of the other one mean."""
_PLAIN = {"integer": "whole number", "boolean": "true or false", "null": "nothing"}
_FIRST = "README.md"
_SECTIONS = {"Source": "The file", "AwsSource": "A file of kind aws"}


@dataclass(frozen=True)
class _Page:
    """A page of the reference.

    :ivar roots: the models, or the keys of a model as ``(model, key)``, that lead to what it has.
    """

    file: str
    title: str
    about: str
    roots: tuple[str | tuple[str, str], ...]


_PAGES = (
    _Page("auth.md", "Authentication", "Under `auth` of a source.", (("Source", "auth"),)),
    _Page(
        "limits.md",
        "Limits, retries and the network",
        "Under `limits`, `keyed_limits`, `answers`, `retries`, `breaker`, `timeouts` and `tls` of "
        "a source.",
        tuple(
            ("Source", key)
            for key in (
                "limits",
                "keyed_limits",
                "answers",
                "retries",
                "breaker",
                "timeouts",
                "tls",
            )
        ),
    ),
    _Page("paging.md", "Paging", "Under `paging` of an endpoint.", (("Endpoint", "paging"),)),
    _Page(
        "requests.md",
        "Requests",
        "Under `request`, `count`, `window`, `each` and `parents` of an endpoint.",
        tuple(("Endpoint", key) for key in ("request", "count", "window", "each", "parents")),
    ),
    _Page("endpoint.md", "An endpoint", "Under `endpoints` of a source.", ("Endpoint",)),
    _Page(
        _FIRST,
        "Every key of a source's YAML",
        "Made from the models by `python -m sourcetool reference docs/sources-reference`; a test "
        "compares. How to write a source: [sources.md](../sources.md).",
        ("Source",),
    ),
    _Page(
        "aws.md", "A file of kind aws", "Under `kind: aws` in place of all above.", ("AwsSource",)
    ),
)


def reference() -> dict[str, str]:
    """The pages of ``docs/sources-reference``, by their names."""
    schema = Source.model_json_schema(by_alias=True)
    aws = AwsSource.model_json_schema(by_alias=True)
    models = {**aws["$defs"], "AwsSource": aws, **schema["$defs"], "Source": schema}
    shown = {**examples(aws, "AwsSource"), **examples(schema, "Source")}
    pages = _models_of_pages(models)
    homes = {name: page.file for page, names in pages.items() for name in names}
    return {
        page.file: "\n".join(_page(page, names, models, shown, homes)).rstrip() + "\n"
        for page, names in pages.items()
    }


def write_reference(folder: Path) -> None:
    """Make the folder hold the pages, and no other page."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = reference()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()


def _models_of_pages(models: Mapping[str, Any]) -> dict[_Page, list[str]]:
    """The models of each page, in the order in which they stand there."""
    placed: set[str] = set()
    pages: dict[_Page, list[str]] = {}
    for page in _PAGES:
        named = [root for root in page.roots if isinstance(root, str)]
        keys = [models[root[0]]["properties"][root[1]] for root in page.roots if root not in named]
        reached = {
            name
            for spec in [*keys, *(models[name] for name in named)]
            for name in _below(spec, models)
        }
        new = {name for name in reached - placed if models[name].get("properties")}
        pages[page] = [*named, *sorted(new - {*named})]
        placed |= {*pages[page]}
    return pages


def _below(spec: Any, models: Mapping[str, Any]) -> set[str]:
    """The models that a schema leads to, over others too."""
    names: set[str] = set()
    waiting = [spec]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if (name := _name(part.get("$ref", ""))) and name not in names:
                names.add(name)
                waiting.append(models[name])
            waiting += [value for key, value in part.items() if key != "$defs"]
        elif isinstance(part, list):
            waiting += part
    return names


def _page(
    page: _Page,
    names: list[str],
    models: Mapping[str, Any],
    shown: Examples,
    homes: Mapping[str, str],
) -> Iterator[str]:
    yield from (f"# {page.title}", "", page.about, "")
    if page.file == _FIRST:
        yield from ("| under | page |", "| --- | --- |")
        for other in _PAGES:
            if other.file != _FIRST:
                under = other.about.removeprefix("Under ").rstrip(".")
                yield f"| {under} | [{other.title}]({other.file}) |"
        yield ""
    else:
        yield from (f"[All pages of the reference]({_FIRST}).", "")
    links = {
        name: f"{'' if file == page.file else file}#{name.lower()}" for name, file in homes.items()
    }
    for name in names:
        model = models[name]
        if twin := _TWINS.get(name):
            model = _explained(model, models[twin])
        yield from _table(_SECTIONS.get(name, name), model, name, shown, links)


def _table(
    title: str, model: dict[str, Any], name: str, shown: Examples, links: Mapping[str, str]
) -> Iterator[str]:
    """A section: a line a key, with an example where there is one.

    :param name: of the model, by which ``shown`` has its examples.
    :param links: to each model, as seen from this page.
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
            _type(spec, links),
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


def _type(spec: dict[str, Any], links: Mapping[str, str]) -> str:
    if "const" in spec:
        return f"`{spec['const']}`"
    if "enum" in spec:
        return " or ".join(f"`{option}`" for option in spec["enum"])
    if "$ref" in spec:
        name = _name(spec["$ref"])
        return f"[{name}]({links[name]})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in spec:
            kinds = [
                _type(option, links) for option in spec[choice] if option.get("type") != "null"
            ]
            return " or ".join(dict.fromkeys(kinds))
    if spec.get("type") == "array":
        return f"list of {_type(spec.get('items', {}), links)}"
    if spec.get("type") == "object":
        inside = spec.get("additionalProperties")
        return f"name: {_type(inside, links)}" if isinstance(inside, dict) and inside else "mapping"
    kind = str(spec.get("type", "anything"))
    return str(spec.get("format") or _PLAIN.get(kind, "text" if kind == "string" else kind))


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _cell(text: str) -> str:
    return (
        text.replace("|", "\\|") if "`" in text else text.replace("|", "\\|").replace("<", "&lt;")
    )
