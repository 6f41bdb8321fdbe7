"""The operations of an OpenAPI document that return lists, with all references followed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sourcetool.importers.draft import plain

_MOST_NESTED = 12


@dataclass
class Operation:
    """A GET that returns a list.

    :ivar rows: the path to the rows.
    :ivar row: the schema of a row; ``response`` that of the whole body.
    """

    path: str
    name: str
    parameters: list[dict[str, Any]]
    rows: list[str]
    row: Mapping[str, Any]
    response: Mapping[str, Any]
    headers: Mapping[str, Any]
    doubts: list[str] = field(default_factory=list)


class Document:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def lists(self) -> Iterator[Operation]:
        for path, item in (self.data.get("paths") or {}).items():
            operation = (item or {}).get("get")
            if not isinstance(operation, dict):
                continue
            both = [*(item.get("parameters") or []), *(operation.get("parameters") or [])]
            response, headers = self.response(operation)
            if (rows := self.rows(response)) is not None:
                parameters = [self.schema(parameter) for parameter in both]
                yield Operation(path, _name(path), parameters, *rows, response, headers)

    def response(self, operation: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        responses = operation.get("responses") or {}
        response = self.schema(
            responses.get("200") or responses.get(200) or responses.get("2XX") or {}
        )
        content = response.get("content") or {}
        kinds = [kind for kind in content if "json" in kind or kind == "*/*"]
        schema = self.schema((content[kinds[0]] or {}).get("schema") or {}) if kinds else {}
        return schema, response.get("headers") or {}

    def rows(
        self, schema: Mapping[str, Any], path: tuple[str, ...] = ()
    ) -> tuple[list[str], Mapping[str, Any]] | None:
        """The path to the nearest list of objects, and the schema of one."""
        if schema.get("type") == "array" or "items" in schema:
            row = self.schema(schema.get("items") or {})
            if not row.get("properties"):
                return None
            row["properties"] = {k: self.schema(v) for k, v in row["properties"].items()}
            return list(path), row
        inner = {str(k): self.schema(v) for k, v in (schema.get("properties") or {}).items()}
        for wanted in ("array", "object"):
            for name, member in inner.items():
                kind = "array" if "items" in member or member.get("type") == "array" else "object"
                if kind == wanted and len(path) < 3 and (f := self.rows(member, (*path, name))):
                    return f
        return None

    def schema(self, node: Any, depth: int = 0) -> dict[str, Any]:
        """A schema with its references followed, and ``allOf`` put together."""
        if not isinstance(node, dict) or depth > _MOST_NESTED:
            return {}
        if isinstance(node.get("$ref"), str):
            return self.schema(self.at(node["$ref"]), depth + 1)
        resolved = dict(node)
        for part in resolved.pop("allOf", None) or []:
            merged = self.schema(part, depth + 1)
            properties = {**(merged.get("properties") or {}), **(resolved.get("properties") or {})}
            resolved = {**merged, **resolved}
            if properties:
                resolved["properties"] = properties
        return resolved

    def at(self, reference: str) -> Any:
        node: Any = self.data
        for part in reference.removeprefix("#/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            node = node.get(name) if isinstance(node, dict) else None
        return node


def _name(path: str) -> str:
    parts = [part for part in path.split("/") if part and not part.startswith("{")]
    named = [part for part in parts if not re.fullmatch(r"v\d+(\.\d+)?|api|rest", part)]
    return plain("_".join(named or parts))
