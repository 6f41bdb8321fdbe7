"""A converted source as YAML text, with what is doubtful and what was left out as comments."""

import textwrap
from typing import Any

import yaml

from sourcetool.importers.converted import Converted

_WIDTH = 98
_MOST_ON_A_LINE = 80


def render(converted: Converted, origin: str) -> str:
    """The YAML of a source.

    :param origin: what it was made from, e.g. ``the manifest shop.yaml``.
    """
    data = dict(converted.data)
    endpoints: dict[str, Any] = data.pop("endpoints")
    total = len(converted.streams) + len(converted.left_out)
    text = _comment(
        f"Made from {origin}: {len(converted.streams)} of {total} endpoints. A ? marks what it "
        "does not say. Then: make check-source"
    )
    text += _settings(converted)
    for note in converted.notes:
        text += _comment(f"? {note}")
    text += _dump({"source": data.pop("source")})
    text += _dump({name: data.pop(name) for name in ("base_url", "start") if name in data})
    text = text.rstrip("\n") + " # the first partition: everything up to the end of this day\n"
    text += _dump(data) if data else ""
    text += "endpoints:\n" if endpoints else "endpoints: {}\n"
    for name, endpoint in endpoints.items():
        text += "\n"
        for doubt in converted.doubts.get(name, []):
            text += _comment(f"? {doubt}", "  ")
        for column, need in converted.omitted.get(name, {}).items():
            text += _comment(f"Left out: the column {column}: {need.reason}", "  ")
        text += textwrap.indent(_dump({name: _in_lines(endpoint)}), "  ")
    return text + _left_out(converted)


def _settings(converted: Converted) -> str:
    used = converted.settings.used
    named = _dump(converted.data)
    lines = [f"  {name}: {about}" for name, about in used.items() if f"${{{name}" in named]
    if not lines:
        return ""
    return _comment("Settings:") + "".join(_comment(line) for line in lines)


def _left_out(converted: Converted) -> str:
    if not converted.left_out:
        return ""
    text = "\n# Left out:\n"
    for stream, needs in converted.left_out.items():
        for need in needs:
            text += _comment(f"{stream}: {need.reason}")
    return text


def _comment(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH - len(indent) - 2) or [""]
    return "".join(f"{indent}# {line}\n" for line in lines)


class _Line(dict[str, Any]):
    """A mapping that is read as one thing, and stands on one line if it is short enough."""


class _Dumper(yaml.SafeDumper):
    """No anchors: what two endpoints share is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _line(dumper: _Dumper, data: _Line) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data)
    node.flow_style = len(str(dict(data))) <= _MOST_ON_A_LINE
    return node


def _list(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    node = dumper.represent_sequence("tag:yaml.org,2002:seq", data)
    plain = not any(isinstance(item, dict | list) for item in data)
    node.flow_style = plain and len(str(data)) <= _MOST_ON_A_LINE
    return node


_Dumper.add_representer(_Line, _line)
_Dumper.add_representer(list, _list)


def _in_lines(endpoint: dict[str, Any]) -> dict[str, Any]:
    """An endpoint whose small parts stand on a line each."""
    lines = dict(endpoint)
    for name in ("paging", "window", "parents", "each", "where"):
        if isinstance(lines.get(name), dict):
            lines[name] = _Line(lines[name])
    if "columns" in lines:
        lines["columns"] = {
            name: _Line(spec) if isinstance(spec, dict) else spec
            for name, spec in lines["columns"].items()
        }
    return lines


def _dump(data: dict[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH))
