"""An OpenAPI 3 document, or a Swagger 2 one: its operations that are lists become endpoints.

Key, cursor and paging are proposed from the parameters and the schemas; what the document does not
say is a doubt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError
from sourcetool.importers.abilities import Need
from sourcetool.importers.converted import Converted
from sourcetool.importers.draft import plain
from sourcetool.importers.openapi_document import Document, Operation, as_openapi_3, name_of
from sourcetool.importers.schemas import column_types
from sourcetool.importers.settings import SettingNames
from sourcetool.infer import LIMITS, NUMBERS, OFFSETS, SINCE, TOKENS, UNTIL

_KEYS = ("id", "uuid", "guid", "key", "code", "slug")
_CURSORS = ("updated", "modified", "changed", "created")
_TOTALS = ("total", "count", "total_count", "totalcount", "total_results", "totalitems")
_NEXT = re.compile(r"next|^cursor$|continuation", re.IGNORECASE)
_MORE = re.compile(r"has_?(more|next)", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z]+")


def is_openapi(data: Any) -> bool:
    """Whether a document says that it is OpenAPI, of whatever version."""
    return isinstance(data, dict) and ("openapi" in data or "swagger" in data)


def convert_openapi(data: Mapping[str, Any], name: str) -> Converted:
    """The source of a document.

    :raises ConfigError: it is of another version, or has no lists.
    """
    version = str(data.get("openapi") or data.get("swagger"))
    if version.startswith("2"):
        data = as_openapi_3(data)
    elif not version.startswith("3"):
        raise ConfigError(f"expected an OpenAPI 3 or Swagger 2 document, found version {version}")
    reader = Document(data)
    settings = SettingNames(name)
    converted = Converted(name, {"source": name}, settings)
    converted.data["base_url"] = _base_url(data, settings)
    converted.data["start"] = f"${{{settings.variable(('start',))}}}"
    auth, notes = _auth(reader, data, settings)
    if auth:
        converted.data["auth"] = auth
    converted.notes += [
        *notes,
        *(f"the reference {reference} leads nowhere: who asks?" for reference in reader.dead),
        "how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}",
    ]
    endpoints: dict[str, Any] = {}
    converted.data["endpoints"] = endpoints
    operations = sorted(reader.lists(), key=lambda operation: operation.path.count("{"))
    for operation in operations:
        endpoint = operation.name if operation.name not in endpoints else plain(operation.path)
        _propose(operation, endpoint, endpoints, operations, settings)
        converted.streams[endpoint] = endpoint
        converted.doubts[endpoint] = operation.doubts
    _leave_out(reader, converted)
    if not operations:
        reasons = [need.reason for needs in converted.left_out.values() for need in needs]
        raise ConfigError(
            "; ".join(["no GET of the OpenAPI document returns a list of objects", *reasons[:3]])
        )
    return converted


def _leave_out(reader: Document, converted: Converted) -> None:
    """Name each operation that a reference keeps from being read."""
    for path, references in reader.unread.items():
        name = name_of(path)
        needs = [Need("reference", f"GET {path}", reference) for reference in references]
        name = path if name in converted.streams else name
        converted.left_out.setdefault(name, []).extend(needs)


def _base_url(data: Mapping[str, Any], settings: SettingNames) -> str:
    servers = data.get("servers") or []
    url = str(servers[0].get("url", "")) if servers else ""
    for name, variable in (servers[0].get("variables") or {}).items() if servers else []:
        url = url.replace(f"{{{name}}}", settings.text((name,), variable.get("default")))
    if not url.startswith(("http://", "https://", "${")):
        host = settings.text(("base_url",))
        return f"{host}{url if url.startswith('/') and url != '/' else ''}"
    return url.rstrip("/")


def _auth(
    reader: Document, data: Mapping[str, Any], settings: SettingNames
) -> tuple[dict[str, Any], list[str]]:
    schemes = (data.get("components") or {}).get("securitySchemes") or {}
    wanted = [name for requirement in data.get("security") or [] for name in requirement]
    names = [name for name in [*wanted, *schemes] if name in schemes]
    notes = [f"auth is that of {names[0]}; the document has others too"] if len(schemes) > 1 else []
    for name in dict.fromkeys(names):
        if auth := _scheme(reader.schema(schemes[name]), settings):
            return auth, notes
    return {}, ["who asks? The document names no auth that the YAML can say"] if schemes else []


def _scheme(spec: Mapping[str, Any], settings: SettingNames) -> dict[str, Any]:
    kind, flows = spec.get("type"), spec.get("flows") or {}
    if kind == "apiKey" and spec.get("in") in ("header", "query"):
        place = {"place": "query"} if spec["in"] == "query" else {}
        key = settings.text(("api_key",))
        return {"kind": "api_key", **place, "name": spec.get("name"), "key": key}
    if kind == "http" and str(spec.get("scheme")).lower() == "basic":
        user, password = settings.text(("username",)), settings.text(("password",))
        return {"kind": "basic", "username": user, "password": password}
    if kind == "oauth2" and "clientCredentials" in flows:
        return {
            "kind": "oauth2_client_credentials",
            "token_url": flows["clientCredentials"].get("tokenUrl"),
            "client_id": settings.text(("client_id",)),
            "client_secret": settings.text(("client_secret",)),
        }
    if kind in ("oauth2", "openIdConnect") or (
        kind == "http" and str(spec.get("scheme")).lower() == "bearer"
    ):
        return {"kind": "bearer", "token": settings.text(("token",))}
    return {}


def _propose(
    operation: Operation,
    endpoint: str,
    endpoints: dict[str, Any],
    operations: list[Operation],
    settings: SettingNames,
) -> None:
    """Put an endpoint among the others."""
    columns = column_types({"properties": operation.row["properties"]})
    draft: dict[str, Any] = {"path": operation.path.lstrip("/")}
    if "{" in operation.path:
        _parents(operation, draft, endpoints, operations, settings)
    key = _key(operation, list(operation.row["properties"]))
    if key is None:
        operation.doubts.append("which columns identify a row? key: none keeps all rows")
    params: dict[str, Any] = {}
    paging = _paging(operation, params)
    cursor = None if "parents" in draft else _window(operation, columns, params)
    for parameter in operation.parameters:
        name = str(parameter.get("name"))
        if parameter.get("in") == "query" and parameter.get("required") and name not in params:
            default = (parameter.get("schema") or {}).get("default")
            params[name] = str(default) if default is not None else settings.text((name,))
    if params:
        draft["request"] = {"params": params}
    if cursor:
        draft["window"] = cursor[1]
    draft["paging"] = paging
    if operation.rows:
        draft["rows"] = ".".join(part.replace(".", "\\.") for part in operation.rows)
    draft["key"] = [key] if key else "none"
    if cursor:
        draft["cursor"] = cursor[0]
    if paging["kind"] == "offset":
        draft["order"] = "none"
    draft["columns"] = columns
    endpoints[endpoint] = draft


def _parents(
    operation: Operation,
    draft: dict[str, Any],
    endpoints: dict[str, Any],
    operations: list[Operation],
    settings: SettingNames,
) -> None:
    """A parameter in the path is a row of the list that the path begins with, or a setting."""
    names = re.findall(r"\{([^}]+)\}", operation.path)
    above = operation.path.partition("{")[0].rstrip("/")
    parent = next((other for other in operations if other.path.rstrip("/") == above), None)
    of = endpoints.get(parent.name) if parent is not None else None
    if len(names) == 1 and parent is not None and of is not None and of["key"] != "none":
        key = of["key"][0]
        draft["path"] = draft["path"].replace(f"{{{names[0]}}}", "{parent}")
        draft["parents"] = {"endpoint": parent.name, "column": key}
        operation.doubts.append(f"is {{{names[0]}}} the {key} of {parent.name}?")
        return
    for name in names:
        draft["path"] = draft["path"].replace(f"{{{name}}}", settings.text((name,)))
        operation.doubts.append(
            f"{{{name}}} of the path is a setting: each: {{values: …}} for many"
        )


def _key(operation: Operation, names: list[str]) -> str | None:
    by_low = {name.lower(): name for name in names}
    singular = operation.name.rpartition("_")[2].removesuffix("s")
    for wanted in (*_KEYS[:3], f"{singular}_id", f"{singular}id", *_KEYS[3:]):
        if wanted in by_low:
            if wanted not in _KEYS[:3]:
                operation.doubts.append(f"is {by_low[wanted]} different in every row?")
            return by_low[wanted]
    return None


def _query(operation: Operation) -> dict[str, Mapping[str, Any]]:
    by_name = {str(p.get("name")): p for p in operation.parameters if p.get("in") == "query"}
    return {name: by_name[name].get("schema") or {} for name in by_name}


def _like(name: str, words: tuple[str, ...]) -> bool:
    return re.sub(r"[^\w$]+", "_", name.lower()).strip("_") in words


def _paging(operation: Operation, params: dict[str, Any]) -> dict[str, Any]:
    query = _query(operation)
    size = next((name for name in query if _like(name, LIMITS)), None)
    limit = 100
    if size is not None:
        params[size] = "{limit}"
        limit = int(query[size].get("maximum") or query[size].get("default") or 100)
        if "maximum" not in query[size]:
            operation.doubts.append(f"how many rows has a page at most? {limit} is a guess")
    total, token, more = _references(operation)
    counted = {"total": total} if total else {}
    flag = {"more": more} if more else {}
    for words, kind, text in ((OFFSETS, "offset", "{offset}"), (NUMBERS, "page", "{page}")):
        name = next((n for n in query if _like(n, words)), None)
        if name is not None:
            params[name] = text
            if not counted:
                operation.doubts.append(
                    "does the API say how many rows match? Nothing else proves them"
                )
            first = {"first": 0} if kind == "page" and query[name].get("minimum") == 0 else {}
            overlap = {"overlap": False} if kind == "offset" else {}
            return {"kind": kind, "limit": max(limit, 2), **first, **overlap, **counted}
    name = next((n for n in query if _like(n, TOKENS) or n.lower().endswith("cursor")), None)
    if name is not None and token:
        params[name] = "{token}"
        return {"kind": "token", "limit": limit, "next": token, **flag, **counted}
    if "link" in {str(header).lower() for header in operation.headers}:
        return {"kind": "link", "limit": limit, **counted}
    if token:
        return {"kind": "link", "limit": limit, "next": token, **flag, **counted}
    operation.doubts.append("no paging was found: does everything come in one response?")
    params.pop(size or "", None)
    return {"kind": "none"}


def _references(operation: Operation) -> tuple[str | None, str | None, str | None]:
    """The paths in a response to the total, to the next page, and to whether there is one."""
    total = token = more = None
    for path, spec in _scalars(operation.response):
        last = path.rpartition(".")[2]
        kind = spec.get("type")
        if kind == "integer" and last.lower() in _TOTALS:
            total = total or path
        elif kind == "boolean" and _MORE.search(last):
            more = more or path
        elif kind != "integer" and _NEXT.search(last) and "prev" not in last.lower():
            token = token or path
    return total, token, more


def _scalars(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, spec in (schema.get("properties") or {}).items():
        inner = f"{path}.{name}" if path else str(name)
        if isinstance(spec, dict) and spec.get("properties") and inner.count(".") < 3:
            yield from _scalars(spec, inner)
        elif isinstance(spec, dict) and "items" not in spec:
            yield inner, spec


def _window(
    operation: Operation, columns: dict[str, str], params: dict[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The cursor and its window, where parameters filter by it."""
    times = [name for name, kind in columns.items() if kind == "timestamp[iso]"]
    cursors = [name for word in _CURSORS for name in times if word in name.lower()]
    query = {
        name: spec
        for name, spec in _query(operation).items()
        if spec.get("format") in ("date-time", "date")
    }
    start = next((name for name in query if _has(name, SINCE)), None)
    if not cursors or start is None:
        operation.doubts.append(
            "no filter by the time of the last change was found: this is a snapshot"
        )
        return None
    end = next((name for name in query if _has(name, UNTIL)), None)
    params[start] = "{start}"
    window: dict[str, Any] = {"start": "exclusive"}
    if query[start].get("format") == "date":
        window = {"format": "%Y-%m-%d", "resolution_s": 86_400}
    if end is None:
        window["end"] = "none"
    else:
        params[end] = "{end}"
    operation.doubts.append(
        f"does {start} filter by {cursors[0]}, and does it include its instant?"
    )
    return cursors[0], window


def _has(name: str, words: tuple[str, ...]) -> bool:
    return bool({part.lower() for part in _WORDS.findall(name)} & set(words))
