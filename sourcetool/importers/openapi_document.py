"""The operations of an OpenAPI document that return lists, with all references followed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

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
    """The document, and what was met in reading it.

    :ivar dead: references that lead nowhere, or round in a circle: of the last operation.
    :ivar vague: the last operation has a list of objects whose members are not named.
    :ivar undescribed: the paths of GETs that have no other list.
    :ivar unread: of each GET that may be a list, but for a reference: its path and the references.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.dead: list[str] = []
        self.vague = False
        self.undescribed: list[str] = []
        self.unread: dict[str, list[str]] = {}

    def lists(self) -> Iterator[Operation]:
        for path, item in (self.data.get("paths") or {}).items():
            self.dead, self.vague = [], False
            item = self.schema(item)
            operation = item.get("get")
            if not isinstance(operation, dict):
                if self.dead:
                    self.unread[str(path)] = [*dict.fromkeys(self.dead)]
                continue
            both = [*(item.get("parameters") or []), *(operation.get("parameters") or [])]
            response, headers = self.response(operation)
            if (rows := self.rows(response, _words_of(path))) is not None:
                parameters = _last_of_each(map(self.parameter, both))
                doubts = [
                    f"the reference {reference} leads nowhere in the document: is a column, a "
                    "parameter or the paging missing?"
                    for reference in dict.fromkeys(self.dead)
                ]
                yield Operation(path, name_of(path), parameters, *rows, response, headers, doubts)
            elif self.dead:
                self.unread[str(path)] = [*dict.fromkeys(self.dead)]
            elif self.vague:
                self.undescribed.append(str(path))

    def parameter(self, node: Any) -> dict[str, Any]:
        """A parameter, and its schema with the references in it followed."""
        parameter = self.schema(node)
        if isinstance(parameter.get("schema"), dict):
            schema = self.schema(parameter["schema"])
            if isinstance(schema.get("items"), dict):
                schema["items"] = self.schema(schema["items"])
            parameter["schema"] = schema
        return parameter

    def response(self, operation: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        responses = operation.get("responses") or {}
        response = self.schema(
            responses.get("200") or responses.get(200) or responses.get("2XX") or {}
        )
        content = response.get("content") or {}
        kinds = [kind for kind in content if "json" in kind or kind == "*/*"]
        schema = (content[kinds[0]] or {}).get("schema") if kinds else None
        if not content:
            schema = response.get("schema")  # a response of Swagger 2 that several operations share
        return self.schema(schema), response.get("headers") or {}

    def rows(
        self, schema: Mapping[str, Any], called: str, path: tuple[str, ...] = ()
    ) -> tuple[list[str], Mapping[str, Any]] | None:
        """The path to the nearest list of objects, and the schema of one.

        Of several the one that is called as the last word of the URL's path, and at last one of
        errors and the like, which stand beside the rows.
        """
        if schema.get("type") == "array" or "items" in schema:
            row = self.schema(schema.get("items") or {})
            if not row.get("properties"):
                self.vague |= row.get("type") in (None, "object")
                return None
            row["properties"] = {k: self.schema(v) for k, v in row["properties"].items()}
            return list(path), row
        inner = {str(k): self.schema(v) for k, v in (schema.get("properties") or {}).items()}
        for wanted in ("array", "object"):
            for name in sorted(inner, key=lambda name: _rank(name, called)):
                member, at = inner[name], (*path, name)
                kind = "array" if "items" in member or member.get("type") == "array" else "object"
                if kind == wanted and len(path) < 3 and (f := self.rows(member, called, at)):
                    return f
        return None

    def schema(self, node: Any, depth: int = 0) -> dict[str, Any]:
        """A schema with its references followed, and ``allOf`` put together."""
        if not isinstance(node, dict):
            return {}
        reference = node.get("$ref")
        if depth > _MOST_NESTED:
            self.dead += [reference] if isinstance(reference, str) else []
            return {}
        if isinstance(reference, str):
            target = self.at(reference)
            if not isinstance(target, dict):
                self.dead.append(reference)
            return self.schema(target, depth + 1)
        resolved = _one_kind(dict(node))
        if (inner := _only_form(resolved)) is not None:
            rest = {name: item for name, item in resolved.items() if name not in _FORMS}
            return {**self.schema(inner, depth + 1), **rest}
        for part in resolved.pop("allOf", None) or []:
            merged = self.schema(part, depth + 1)
            properties = {**(merged.get("properties") or {}), **(resolved.get("properties") or {})}
            resolved = {**merged, **resolved}
            if properties:
                resolved["properties"] = properties
        return resolved

    def at(self, reference: str) -> Any:
        """The part of the document that a reference (RFC 6901) leads to; None: nowhere."""
        node: Any = self.data
        if not reference.startswith("#/"):
            return None
        for part in reference.removeprefix("#/").split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                node = node.get(name) if isinstance(node, dict) else None
        return node


_ASIDE = ("errors", "warnings", "messages", "links", "_links", "included", "facets", "meta")
"""Lists that stand beside the rows."""


def _words_of(path: str) -> str:
    """The last word of a path that is no parameter."""
    words = [part for part in path.strip("/").split("/") if part and "{" not in part]
    return words[-1].lower() if words else ""


def _rank(name: str, called: str) -> int:
    low = name.lower()
    return 0 if low == called else 2 if low in _ASIDE else 1


def _last_of_each(parameters: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameters without those of the path that the operation has, too: its own ones count."""
    by_place = {(str(of.get("name")), str(of.get("in"))): of for of in parameters}
    return [*by_place.values()]


_FORMS = ("anyOf", "oneOf")


def _one_kind(node: dict[str, Any]) -> dict[str, Any]:
    """A schema of OpenAPI 3.1 with its type as one word: ``[string, "null"]`` is a string."""
    kinds = node.get("type")
    if isinstance(kinds, list):
        real = [kind for kind in kinds if kind != "null"]
        node["type"] = real[0] if len(real) == 1 else None
    return node


def _only_form(node: Mapping[str, Any]) -> Any:
    """The only form of a schema that may be null as well; None = it has several, or none."""
    for member in _FORMS:
        forms = node.get(member)
        if isinstance(forms, list):
            real = [form for form in forms if isinstance(form, dict) and form.get("type") != "null"]
            return real[0] if len(real) == 1 else None
    return None


def as_openapi_3(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Swagger 2.0 document in the form of an OpenAPI 3 document; references stay as they are."""
    schemes = data.get("schemes") or ["https"]
    scheme = "https" if "https" in schemes else schemes[0]
    host, base = data.get("host"), str(data.get("basePath") or "/")
    servers = [{"url": f"{scheme}://{host}{base.rstrip('/')}" if host else base}]
    paths = {
        path: {method: _operation_of_2(part) for method, part in item.items()}
        for path, item in (data.get("paths") or {}).items()
        if isinstance(item, dict)
    }
    definitions = data.get("securityDefinitions") or {}
    components = {"securitySchemes": {name: _scheme_of_2(s) for name, s in definitions.items()}}
    return {
        **data,
        "openapi": "3.0.0",
        "servers": servers,
        "paths": paths,
        "components": components,
    }


def _operation_of_2(operation: Any) -> Any:
    if isinstance(operation, list):
        return [_parameter_of_2(parameter) for parameter in operation]
    if not isinstance(operation, dict):
        return operation
    responses = {
        status: {**response, "content": {"application/json": {"schema": response.get("schema")}}}
        for status, response in (operation.get("responses") or {}).items()
        if isinstance(response, dict)
    }
    parameters = [_parameter_of_2(parameter) for parameter in operation.get("parameters") or []]
    return {**operation, "responses": responses, "parameters": parameters}


def _parameter_of_2(parameter: Any) -> Any:
    if not isinstance(parameter, dict) or "schema" in parameter or "$ref" in parameter:
        return parameter
    return {**parameter, "schema": parameter}


def _scheme_of_2(scheme: Any) -> Any:
    if not isinstance(scheme, dict):
        return {}
    if scheme.get("type") == "basic":
        return {"type": "http", "scheme": "basic"}
    if scheme.get("type") == "oauth2":
        flow = {"application": "clientCredentials"}.get(str(scheme.get("flow")), "implicit")
        return {"type": "oauth2", "flows": {flow: scheme}}
    return scheme


def name_of(path: str) -> str:
    parts = [part for part in path.split("/") if part and not part.startswith("{")]
    named = [part for part in parts if not re.fullmatch(r"v\d+(\.\d+)?|api|rest", part)]
    return plain("_".join(named or parts))
