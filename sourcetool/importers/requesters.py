"""Requesters: path, method, parameters, headers and body, and what options put into them."""

import ast
from typing import Any
from urllib.parse import parse_qsl

from sourcetool.importers.draft import EMPTY, Draft
from sourcetool.importers.manifest import Component
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of, written
from sourcetool.importers.values import Applied, Literal

_PLACES = {
    "request_parameter": "params",
    "header": "headers",
    "body_json": "json",
    "body_data": "form",
}


def put_option(draft: Draft, option: Component, value: Any, component: str) -> None:
    """Put a placeholder where a ``RequestOption`` wants it."""
    place = _PLACES.get(str(option.get("inject_into")))
    by_path = option.get("type") == "RequestPath" and not option.get("field_name")
    if by_path or place is None:
        draft.need("paging_place", component, option.get("inject_into") or option.get("type"))
        return
    path = option.get("field_path")
    name = text_of(draft, option.get("field_name"), component)
    draft.put(place, [str(part) for part in path] if path else [str(name)], value)


def request(draft: Draft, requester: Component) -> None:
    """Everything of a requester but its errors and its credentials."""
    if "class_name" in requester:
        draft.need("python", "requester", requester["class_name"])
    elif requester.get("type") != "HttpRequester":
        draft.need("component", "requester", requester.get("type"))
    method = str(text_of(draft, requester.get("http_method") or "GET", "HttpRequester")).upper()
    if method not in ("GET", "POST"):
        draft.need("method", "HttpRequester.http_method", method)
    elif method == "POST":
        draft.request["method"] = method
    _path(draft, requester)
    _mapping(draft, requester, "request_parameters", "params")
    _mapping(draft, requester, "request_headers", "headers")
    _body(draft, requester)


def check_body(draft: Draft) -> None:
    """Whether the method carries a body, once pages and bounds have been put into the request."""
    if "method" not in draft.request and {"json", "form", "text"} & set(draft.request):
        draft.need("body_of_get", "HttpRequester")


def _path(draft: Draft, requester: Component) -> None:
    component = "HttpRequester.path"
    base = str(text_of(draft, requester.get("url_base") or "", "HttpRequester.url_base") or "")
    raw = requester.get("path")
    path = str(text_of(draft, raw, component) or "").strip() if raw is not None else ""
    draft.base_url = base.strip()
    path, _, query = path.partition("?")
    if draft.base_url.count("?"):
        draft.base_url, _, more = draft.base_url.partition("?")
        query = f"{more}&{query}" if query else more
    for name, value in parse_qsl(query, keep_blank_values=True):
        draft.put("params", [name], value)
    if raw and not path:
        draft.doubt(f"the path is empty: the manifest has {raw}, and no such parameter")
    draft.data["path"] = path


def _mapping(draft: Draft, requester: Component, member: str, place: str) -> None:
    component = f"HttpRequester.{member}"
    members = requester.get(member)
    if isinstance(members, str):
        text = text_of(draft, members, component)
        pairs = parse_qsl(str(text or ""), keep_blank_values=True)
        members = None
        for name, value in pairs:
            draft.put(place, [name], value)
    for name, raw in (members or {}).items():
        value = text_of(draft, raw, component)
        if value is None or value == "" or raw in ({}, []):
            continue
        named = str(text_of(draft, name, component))
        draft.put(place, [named], _plain(value, place))


def _plain(value: Any, place: str) -> Any:
    """A value as a parameter or header has it."""
    if isinstance(value, list):
        return [str(item) for item in value] if place == "params" else ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower() if place == "params" else str(value)
    if isinstance(value, int | float) and place == "params":
        return value
    return str(value).strip()


def _body(draft: Draft, requester: Component) -> None:
    component = "HttpRequester.request_body_json"
    body = requester.get("request_body_json")
    if isinstance(body, str) and body.strip():
        read = read_template(body, draft.parameters)
        body = _literal(read.value) if isinstance(read, Literal) else body
    if isinstance(body, str) and body.strip():
        draft.request["text"] = str(text_of(draft, body, component))
        draft.put("headers", ["Content-Type"], "application/json")
    elif isinstance(body, list) and body:
        draft.need("body_list", component)
    elif isinstance(body, dict) and body:
        draft.request["json"] = _nested(draft, body, component)
    data = requester.get("request_body_data")
    if isinstance(data, str) and data.strip():
        draft.request["text"] = str(text_of(draft, data, "HttpRequester.request_body_data"))
    elif isinstance(data, dict) and data:
        _mapping(draft, requester, "request_body_data", "form")


def _nested(draft: Draft, value: Any, component: str) -> Any:
    if isinstance(value, dict):
        pairs = {str(name): _nested(draft, item, component) for name, item in value.items()}
        for name, item in pairs.items():
            if isinstance(item, str) and EMPTY.fullmatch(item) and not draft.can("param_optional"):
                draft.doubt(f"the optional {name} of json is left out (setting {item[2:-3]})")
                pairs[name] = None
        return {name: item for name, item in pairs.items() if item not in (None, "")}
    if isinstance(value, list):
        return [_nested(draft, item, component) for item in value]
    if isinstance(value, str):
        read = read_template(value, draft.parameters)
        if isinstance(read, Literal):
            return _literal(read.value)
        if isinstance(read, Applied) and read.name == "list" and len(read.values) == 1:
            return [written(draft, read.values[0], component, value)]
        return text_of(draft, value, component)
    return value


def _literal(value: Any) -> Any:
    """A text that is a Python literal is sent as what it says."""
    try:
        return ast.literal_eval(value.strip()) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
