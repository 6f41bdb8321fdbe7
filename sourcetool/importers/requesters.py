"""Requesters: path, method, parameters, headers and body, and what options put into them."""

import ast
import re
from typing import Any

from pipeline.config.request import PLACEHOLDER
from sourcetool.importers.draft import BOUNDS, EMPTY, Draft
from sourcetool.importers.literals import (
    is_filled,
    path_without_secrets,
    text_without_secrets,
    without_secrets,
)
from sourcetool.importers.manifest import Component
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of, written
from sourcetool.importers.values import Applied, Choice, Joined, Literal, Setting, Value
from sourcetool.query import in_query

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
    names = [str(part) for part in path or [text_of(draft, option.get("field_name"), component)]]
    if names in ([""], ["None"]):
        if value in (*BOUNDS, "{limit}"):
            draft.doubt(f"the option of {component} has no name, and no request has its {value}")
        else:
            draft.need("paging_place", component, "an option without a name")
        return
    _note_replaced(draft, place, names, value)
    draft.put(place, names, value)


def _note_replaced(draft: Draft, place: str, names: list[str], value: Any) -> None:
    """Say that a page's token takes the place of a bound: only the first page's request has it."""
    first: Any = draft.request.get(place)
    for name in names:
        first = first.get(name) if isinstance(first, dict) else None
    if first in BOUNDS and value not in BOUNDS:
        draft.doubt(
            f"{names[-1]} is {first} in the manifest's first request, and {value} in those behind: "
            "the bound is left out, and all rows are read every time"
        )


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


_OF_SLICES = re.compile(r"\{(?:start|end|parent|each)\b")


def keep_with_token(draft: Draft, retriever: Component) -> None:
    """Parameters that a manifest sends with the first page alone: those of slices, and its own."""
    of_slices = retriever.get("ignore_stream_slicer_parameters_on_paginated_requests")
    members = {
        name: value
        for part in ("params", "json", "form")
        for name, value in (draft.request.get(part) or {}).items()
    }
    alone = draft.first_params & members.keys()
    if of_slices:
        params = draft.request.get("params") or {}
        alone |= {name for name, value in params.items() if _OF_SLICES.search(str(value))}
    kind = (draft.data.get("paging") or {}).get("kind", "none")
    stays = [name for name in members if name not in alone]
    if alone and kind == "token" and any(members[name] == "{token}" for name in stays):
        draft.request["with_token"] = stays
    elif kind not in ("none", "link"):
        for name in sorted(draft.first_params):
            draft.doubt(f"the manifest sends {name} with the first page alone, and here with each")


def _text_at(draft: Draft, raw: Any, component: str, name: str) -> Any:
    """A value of a parameter, a header or a member; one of the first page alone is noted."""
    draft.first_alone = False
    text = text_of(draft, raw, component)
    _note_first(draft, name)
    return text


def _note_first(draft: Draft, name: str) -> None:
    if draft.first_alone:
        draft.first_params.add(name)
    draft.first_alone = False


def _path(draft: Draft, requester: Component) -> None:
    component = "HttpRequester.path"
    base = str(text_of(draft, requester.get("url_base") or "", "HttpRequester.url_base") or "")
    raw = requester.get("path")
    if not base and requester.get("url"):
        base, raw = _origin_and_path(str(text_of(draft, requester["url"], "HttpRequester.url")))
        requester = {**requester, "$parameters": {}}
    path = _optional_query(draft, raw, component)
    if path is None:
        path = str(_text_at(draft, raw, component, "path") or "") if raw is not None else ""
    draft.base_url = _HOST.sub(lambda host: _EMPTY.sub(r"${\1}", host[0]), base.strip())
    path, _, query = path.strip().partition("?")
    if draft.base_url.count("?"):
        draft.base_url, _, more = draft.base_url.partition("?")
        query = f"{more}&{query}" if query else more
    for name, value in in_query(query).items():
        draft.add("params", name, value)
    if raw and not path:
        draft.doubt(f"the path is empty: the manifest has {raw}, and no such parameter")
    draft.data["path"] = path_without_secrets(path, draft.settings)
    draft.base_url = _without_user(draft)


_HOST = re.compile(r"^(?:https?://)?[^/]*")
_EMPTY = re.compile(r"\$\{(\w+):-\}")
"""A setting that may be empty: no host can be without it, whatever the specification says."""
_QUERY = re.compile(r"([^?]*)(\?[\w\[\]]+=)")


def _optional_query(draft: Draft, raw: Any, component: str) -> str | None:
    """A path with one parameter that is there if its setting is: an empty one is not sent.

    None if it is anything else.
    """
    value = read_template(raw, draft.parameters)
    if not (isinstance(value, Choice) and isinstance(value.test, Setting)):
        return None
    leaves: list[Value] = [Literal(""), Literal(""), *_leaves(value.then)]
    *path, last, setting = leaves
    query = _QUERY.fullmatch(str(last.value)) if isinstance(last, Literal) else None
    if query is None or not isinstance(setting, Setting) or setting.path != value.test.path:
        return None
    if _leaves(Joined((*path, Literal(query[1])))) != _leaves(value.otherwise):
        return None
    draft.settings.text(setting.path)
    variable = draft.settings.variable_of(setting.path)
    return f"{written(draft, value.otherwise, component, raw)}{query[2]}${{{variable}:-}}"


def _leaves(value: Value) -> list[Value]:
    """The parts of a text, without empty ones."""
    return [part for part in value.parts() if not isinstance(part, Joined) and part != Literal("")]


def _without_user(draft: Draft) -> str:
    """The base URL; the user and the password that a manifest writes there are left out."""
    scheme, slashes, rest = draft.base_url.partition("://")
    host, slash, path = rest.partition("/")
    user, at, host_alone = host.rpartition("@")
    if at and not is_filled(user):
        draft.doubt("the manifest has a user in its URL: see auth: {kind: basic}")
        host = host_alone
    path = path_without_secrets(path, draft.settings)
    return f"{scheme}{slashes}{host}{slash}{path}" if slashes else draft.base_url


def _origin_and_path(url: str) -> tuple[str, str]:
    """A whole URL in two."""
    match = re.match(r"(https?://[^/?]+|\$\{[^}]*\})(.*)", url)
    return (match.group(1), match.group(2)) if match else (url, "")


def _mapping(draft: Draft, requester: Component, member: str, place: str) -> None:
    component = f"HttpRequester.{member}"
    members = requester.get(member)
    if isinstance(members, str):
        text = _text_at(draft, members, component, place)
        members = None
        for name, parameter in in_query(str(text or "")).items():
            draft.add(place, name, parameter)
    for name, raw in (members or {}).items():
        if isinstance(raw, dict) and raw.get("type") == "QueryProperties":
            raw = _properties(draft, raw)
        named = str(text_of(draft, name, component))
        if isinstance(raw, list):
            value: Any = [_text_at(draft, item, component, named) for item in raw]
            value = [item for item in value if item not in (None, "")]
        else:
            value = _text_at(draft, raw, component, named)
            value = _listed(value) if place in ("params", "form") else value
        if value in (None, "", {}, []):
            continue
        draft.add(place, named, _plain(value, place))


def _listed(value: Any) -> Any:
    """A text that is a list in Python: its items are sent, one parameter each."""
    items = _literal(value) if isinstance(value, str) and value.lstrip()[:1] == "[" else None
    return items if isinstance(items, list) else value


def _properties(draft: Draft, component: Component) -> Any:
    """The names of the members that a request wants, where the manifest lists them."""
    listed = component.get("property_list")
    if not isinstance(listed, list):
        draft.need("computed", "QueryProperties.property_list", "made from a response")
        return None
    names = [*map(str, component.get("always_include_properties") or []), *map(str, listed)]
    return ",".join(dict.fromkeys(names))


def _plain(value: Any, place: str) -> Any:
    """A value as a parameter or header has it."""
    if isinstance(value, list):
        texts = [str(_plain(item, place)) for item in value]
        return texts if place in ("params", "form") else ",".join(texts)
    if isinstance(value, bool):
        return str(value)  # as Python writes it: Airbyte's runtime sends True
    if isinstance(value, int | float) and place == "params":
        return value
    return str(value).strip()


def _body(draft: Draft, requester: Component) -> None:
    component = "HttpRequester.request_body_json"
    requester = {**requester, **_of_kind(draft, requester)}
    body = requester.get("request_body_json")
    if isinstance(body, str) and body.strip():
        read = read_template(body, draft.parameters)
        body = _literal(read.value) if isinstance(read, Literal) else body
    if isinstance(body, str) and body.strip():
        if "json" in draft.request:
            draft.need("computed", component, "a body that is a text, and more members of it")
        draft.request["text"] = _body_text(draft, body, component)
        draft.put("headers", ["Content-Type"], "application/json")
    elif isinstance(body, list) and body:
        draft.need("body_list", component)
    elif isinstance(body, dict) and body:
        # Bounds and partition values may be in the body already.
        members: dict[str, Any] = {}
        for name, item in body.items():
            draft.first_alone = False
            members |= _nested(draft, {name: item}, component)
            _note_first(draft, str(name))
        draft.request["json"] = _merged(
            without_secrets(members, draft.settings), draft.request.get("json") or {}
        )
    data = requester.get("request_body_data")
    if isinstance(data, str) and data.strip():
        draft.request["text"] = _body_text(draft, data, "HttpRequester.request_body_data")
    elif isinstance(data, dict) and data:
        _mapping(draft, requester, "request_body_data", "form")


def _body_text(draft: Draft, raw: str, component: str) -> str:
    """A body that is a text; a literal in it that is a credential becomes a setting."""
    text = str(_text_at(draft, raw, component, "the body"))
    return text if "{{" in raw or "{%" in raw else text_without_secrets(text, draft.settings)


def _merged(body: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two bodies in one."""
    both = {
        name: _merged(body[name], item)
        for name, item in more.items()
        if isinstance(item, dict) and isinstance(body.get(name), dict)
    }
    return {**body, **more, **both}


def _of_kind(draft: Draft, requester: Component) -> Component:
    """The body of a ``request_body``, under the names that older manifests have for its kinds."""
    body = requester.get("request_body")
    if body is None:
        return {}
    kind, value = (body.get("type"), body.get("value")) if isinstance(body, dict) else (None, body)
    if kind in ("RequestBodyJsonObject", "RequestBodyGraphQL"):
        if kind == "RequestBodyGraphQL" and isinstance(value, dict):
            value = {name: item for name, item in value.items() if name != "type"}
        return {"request_body_json": value}
    if kind in ("RequestBodyUrlEncodedForm", "RequestBodyPlainText"):
        return {"request_body_data": value}
    draft.need("component", "HttpRequester.request_body", kind)
    return {}


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
        return _object_of(text_of(draft, value, component))
    return value


_BARE = re.compile(rf'(?<!["\w$])(?:{PLACEHOLDER.pattern})(?!["\w])')


def _object_of(text: Any) -> Any:
    """A text that is an object or a list, with placeholders in it, as that: it is sent as such."""
    if not isinstance(text, str) or text.lstrip()[:1] not in ("{", "[") or _BARE.fullmatch(text):
        return text
    whole = _literal(_BARE.sub(r'"\g<0>"', text))
    return whole if isinstance(whole, dict | list) else text


def _literal(value: Any) -> Any:
    """A text that is a Python literal is sent as what it says."""
    try:
        return ast.literal_eval(value.strip()) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
