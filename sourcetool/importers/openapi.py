"""An OpenAPI 3 document, or a Swagger 2 one: its operations that are lists become endpoints.

Key, cursor and paging are proposed from the parameters and the schemas; what the document does not
say is a doubt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline.errors import ConfigError
from sourcetool.credentials import is_secret
from sourcetool.importers.abilities import Need
from sourcetool.importers.converted import Converted
from sourcetool.importers.draft import free_name, plain
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
    names = _names(operations)
    for operation in operations:
        endpoint = names[operation.path]
        endpoints[endpoint] = _proposal(operation, endpoints, names, settings)
        converted.streams[endpoint] = endpoint
        converted.doubts[endpoint] = operation.doubts
    _leave_out(reader, converted)
    if not operations:
        reasons = [need.reason for needs in converted.left_out.values() for need in needs]
        raise ConfigError(
            "; ".join(["no GET of the OpenAPI document returns a list of objects", *reasons[:3]])
        )
    return converted


def _names(operations: list[Operation]) -> dict[str, str]:
    """The endpoint of each operation, by its path: no two have the same."""
    names: dict[str, str] = {}
    for operation in operations:
        taken = {*names.values()}
        short = operation.name if operation.name not in taken else plain(operation.path)
        names[operation.path] = free_name(short, taken)
    return names


def _leave_out(reader: Document, converted: Converted) -> None:
    """Name each operation whose reference leads nowhere, or whose rows have no known members."""
    unread = {
        path: [Need("reference", f"GET {path}", reference) for reference in references]
        for path, references in reader.unread.items()
    }
    unread |= {path: [Need("undescribed", f"GET {path}")] for path in reader.undescribed}
    for path, needs in unread.items():
        name = name_of(path)
        name = path if name in converted.streams or name in converted.left_out else name
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


def _proposal(
    operation: Operation,
    endpoints: Mapping[str, Any],
    names: Mapping[str, str],
    settings: SettingNames,
) -> dict[str, Any]:
    """An endpoint, of whose parents the endpoints are there already."""
    columns = column_types({"properties": operation.row["properties"]})
    draft: dict[str, Any] = {"path": operation.path.lstrip("/")}
    if "{" in operation.path:
        _parents(operation, draft, endpoints, names, settings)
    key = _key(operation, list(operation.row["properties"]))
    if key is None:
        operation.doubts.append("which columns identify a row? key: none keeps all rows")
    params: dict[str, Any] = {}
    paging = _paging(operation, params)
    cursor = None if "parents" in draft else _window(operation, columns, params)
    headers = _needed_ones(operation, params, settings)
    _doubt_defaults(operation, params)
    request = {"params": params, "headers": headers}
    if any(request.values()):
        draft["request"] = {part: members for part, members in request.items() if members}
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
    return draft


_IGNORED_HEADERS = ("accept", "content-type", "authorization")
"""Headers that OpenAPI has no parameters for: other parts of a document say them."""


def _needed_ones(
    operation: Operation, params: dict[str, Any], settings: SettingNames
) -> dict[str, Any]:
    """Put in the parameters that every request needs; the headers that it needs."""
    headers: dict[str, Any] = {}
    for parameter in operation.parameters:
        name, place = str(parameter.get("name")), parameter.get("in")
        if not parameter.get("required") or (place == "query" and name in params):
            continue
        if place == "cookie":
            operation.doubts.append(f"the API wants the cookie {name}: set it in request.headers")
        elif place == "query":
            params[name] = _needed_value(parameter, settings)
        elif place == "header" and name.lower() not in _IGNORED_HEADERS:
            value = _needed_value(parameter, settings)
            headers[name] = ",".join(value) if isinstance(value, list) else value
    return headers


def _needed_value(parameter: Mapping[str, Any], settings: SettingNames) -> Any:
    """The default of a parameter that has to be there, or its only value, or a setting."""
    name, spec = str(parameter.get("name")), _schema(parameter)
    choices = spec.get("enum") or []
    value = spec.get("default", choices[0] if len(choices) == 1 else None)
    if value is None or value == [] or is_secret(name, str(value)):
        return settings.text((name,))
    return [_json_text(item) for item in value] if isinstance(value, list) else _json_text(value)


def _json_text(value: Any) -> str:
    """A value as a request has it: as JSON writes it, a text without quotes."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


_ORDER = ("sort", "order", "orderby", "direction", "dir")
"""Words of parameters that leave no row out."""


def _doubt_defaults(operation: Operation, params: Mapping[str, Any]) -> None:
    """Name the parameters that an API fills in by itself: a default may leave rows out."""
    filled = []
    for parameter in operation.parameters:
        name, spec = str(parameter.get("name")), _schema(parameter)
        default = spec.get("default")
        if parameter.get("in") != "query" or name in params or default in (None, "", []):
            continue
        if _like(name, (*LIMITS, *OFFSETS, *NUMBERS, *TOKENS)) or _has(name, _ORDER):
            continue
        choices = [_json_text(choice) for choice in spec.get("enum") or []]
        of = f" (of {', '.join(choices[:8])})" if choices else ""
        text = _json_text(default)
        filled.append(name if is_secret(name, text) else f"{name}={text}{of}")
    if filled:
        operation.doubts.append(
            f"the API has {'; '.join(filled)} where a request does not say it: are rows left out "
            "so? Name it in request.params"
        )


def _schema(parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a parameter's value; of a list without a default the items' one."""
    content = parameter.get("content")
    of_content: Any = next(iter(content.values()), {}) if isinstance(content, dict) else {}
    spec = parameter.get("schema") or (of_content or {}).get("schema") or {}
    items = spec.get("items")
    if "default" not in spec and isinstance(items, dict) and "default" in items:
        return {**spec, "default": items["default"], "enum": items.get("enum")}
    return dict(spec)


def _parents(
    operation: Operation,
    draft: dict[str, Any],
    endpoints: Mapping[str, Any],
    paths: Mapping[str, str],
    settings: SettingNames,
) -> None:
    """A parameter in the path is a row of the list that the path begins with, or a setting."""
    names = re.findall(r"\{([^}]+)\}", operation.path)
    above = operation.path.partition("{")[0].rstrip("/")
    parent = next((name for path, name in paths.items() if path.rstrip("/") == above), "")
    of = endpoints.get(parent)
    if len(names) == 1 and of is not None and of["key"] != "none":
        key = of["key"][0]
        draft["path"] = draft["path"].replace(f"{{{names[0]}}}", "{parent}")
        draft["parents"] = {"endpoint": parent, "column": key}
        operation.doubts.append(f"is {{{names[0]}}} the {key} of {parent}?")
        return
    of_path = {str(p.get("name")): p for p in operation.parameters if p.get("in") == "path"}
    for name in names:
        default = _schema(of_path.get(name, {})).get("default")
        draft["path"] = draft["path"].replace(f"{{{name}}}", settings.text((name,), default))
        operation.doubts.append(
            f"{{{name}}} of the path is a setting: each: {{values: …}} for many"
        )


def _key(operation: Operation, names: list[str]) -> str | None:
    by_low = {name.lower(): name for name in names}
    plural = operation.name.rpartition("_")[2]
    ones = [plural.removesuffix(ending) for ending in ("s", "es")]
    if plural.endswith("ies"):
        ones.append(f"{plural.removesuffix('ies')}y")
    above = {name.lower() for name in re.findall(r"\{([^}]+)\}", operation.path)}
    of_one = [n for word in ones for n in (f"{word}_id", f"{word}id") if n not in above]
    for wanted in (*_KEYS[:3], *of_one, *_KEYS[3:]):
        if wanted in by_low:
            if wanted not in _KEYS[:3]:
                operation.doubts.append(f"is {by_low[wanted]} different in every row?")
            return by_low[wanted]
    return None


def _query(operation: Operation) -> dict[str, Mapping[str, Any]]:
    by_name = {str(p.get("name")): p for p in operation.parameters if p.get("in") == "query"}
    return {name: _schema(parameter) for name, parameter in by_name.items()}


def _like(name: str, words: tuple[str, ...]) -> bool:
    return re.sub(r"[^\w$]+", "_", name.lower()).strip("_") in words


def _paging(operation: Operation, params: dict[str, Any]) -> dict[str, Any]:
    query = {name: spec for name, spec in _query(operation).items() if not _is_time(spec)}
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
            from_0 = 0 in (query[name].get("minimum"), query[name].get("default"))
            first = {"first": 0} if kind == "page" and from_0 else {}
            if kind == "page" and not {"minimum", "default"} & query[name].keys():
                operation.doubts.append(f"is the first {name} 1? If it is 0: paging: {{first: 0}}")
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
    query = {name: spec for name, spec in _query(operation).items() if _is_time(spec)}
    pair = _filtered(cursors, [name for name in query if _has(name, SINCE)])
    if pair is None:
        operation.doubts.append(
            "no filter by the time of the last change was found: this is a snapshot"
        )
        return None
    cursor, start = pair
    of = _words(start)
    end = next((name for name in query if _has(name, UNTIL) and _words(name) == of), None)
    params[start] = "{start}"
    window: dict[str, Any] = {"start": "exclusive"}
    if query[start].get("format") == "date":
        window = {"format": "%Y-%m-%d", "resolution_s": 86_400}
    if end is None:
        window["end"] = "none"
    else:
        params[end] = "{end}"
    operation.doubts.append(f"does {start} filter by {cursor}, and does it include its instant?")
    if "created" in cursor.lower():
        operation.doubts.append(
            "a row that changes after it was created is not read again: leave cursor and window "
            "out, if rows change"
        )
    return cursor, window


_OF_TIME = frozenset({*SINCE, *UNTIL, "at", "on", "date", "time", "datetime", "last", "is", "utc"})


def _filtered(cursors: list[str], starts: list[str]) -> tuple[str, str] | None:
    """A column and the parameter that filters by it: one of its words, or one of no column's."""
    for cursor in cursors:
        for start in starts:
            if _words(start) and _words(start) & _words(cursor):
                return cursor, start
    plain_ones = [start for start in starts if not _words(start)]
    return (cursors[0], plain_ones[0]) if cursors and plain_ones else None


def _words(name: str) -> frozenset[str]:
    """The words of a name that say which time it is: ``updated``, also for ``update``."""
    parts = {part.lower() for part in _WORDS.findall(name)} - _OF_TIME
    return frozenset(part.removesuffix("d").removesuffix("e") for part in parts)


def _is_time(spec: Mapping[str, Any]) -> bool:
    return spec.get("format") in ("date-time", "date")


def _has(name: str, words: tuple[str, ...]) -> bool:
    return bool({part.lower() for part in _WORDS.findall(name)} & set(words))
