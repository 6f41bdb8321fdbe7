"""An OpenAPI 3 document: its operations that are lists become endpoints.

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
from sourcetool.importers.openapi_document import Document, Operation
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
    if not version.startswith("3"):
        raise ConfigError(f"expected an OpenAPI 3 document, found version {version}")
    reader = Document(data)
    settings = SettingNames(name)
    found = Converted(name, {"source": name}, settings)
    found.data["base_url"] = _base_url(data, settings)
    found.data["start"] = f"${{{settings.variable(('start',))}}}"
    auth, notes = _auth(reader, data, settings)
    if auth:
        found.data["auth"] = auth
    found.notes += [
        *notes,
        "how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}",
    ]
    endpoints: dict[str, Any] = {}
    found.data["endpoints"] = endpoints
    operations = sorted(reader.lists(), key=lambda one: one.path.count("{"))
    for one in operations:
        endpoint = one.name if one.name not in endpoints else plain(one.path)
        need = _propose(one, endpoint, endpoints, operations, settings)
        if need is not None:
            found.left_out.setdefault(endpoint, []).append(need)
            continue
        found.streams[endpoint] = endpoint
        found.doubts[endpoint] = one.doubts
    if not operations:
        raise ConfigError("no GET of the OpenAPI document returns a list of objects")
    return found


def _base_url(data: Mapping[str, Any], settings: SettingNames) -> str:
    servers = data.get("servers") or []
    url = str(servers[0].get("url", "")) if servers else ""
    for name, said in (servers[0].get("variables") or {}).items() if servers else []:
        url = url.replace(f"{{{name}}}", settings.text((name,), said.get("default")))
    if not url.startswith(("http://", "https://", "${")):
        host = settings.text(("base_url",))
        return f"{host}{url if url.startswith('/') and url != '/' else ''}"
    return url.rstrip("/")


def _auth(
    reader: Document, data: Mapping[str, Any], settings: SettingNames
) -> tuple[dict[str, Any], list[str]]:
    schemes = (data.get("components") or {}).get("securitySchemes") or {}
    wanted = [name for one in data.get("security") or [] for name in one]
    names = [name for name in [*wanted, *schemes] if name in schemes]
    notes = [f"auth is that of {names[0]}; the document has others too"] if len(schemes) > 1 else []
    for name in dict.fromkeys(names):
        if said := _scheme(reader.schema(schemes[name]), settings):
            return said, notes
    return {}, ["who asks? The document names no auth that the YAML can say"] if schemes else []


def _scheme(said: Mapping[str, Any], settings: SettingNames) -> dict[str, Any]:
    kind, flows = said.get("type"), said.get("flows") or {}
    if kind == "apiKey" and said.get("in") in ("header", "query"):
        place = {"place": "query"} if said["in"] == "query" else {}
        key = settings.text(("api_key",))
        return {"kind": "api_key", **place, "name": said.get("name"), "key": key}
    if kind == "http" and str(said.get("scheme")).lower() == "basic":
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
        kind == "http" and str(said.get("scheme")).lower() == "bearer"
    ):
        return {"kind": "bearer", "token": settings.text(("token",))}
    return {}


def _propose(
    one: Operation,
    endpoint: str,
    endpoints: dict[str, Any],
    operations: list[Operation],
    settings: SettingNames,
) -> Need | None:
    """Put an endpoint among the others, or say why not."""
    columns = column_types({"properties": one.row["properties"]})
    said: dict[str, Any] = {"path": one.path.lstrip("/")}
    if "{" in one.path and (need := _parents(one, said, endpoints, operations, settings)):
        return need
    key = _key(one, list(one.row["properties"]))
    if key is None:
        return Need("key_none", "schema", f"of {one.path}")
    params: dict[str, Any] = {}
    paging = _paging(one, params)
    cursor = None if "parents" in said else _window(one, columns, params)
    for parameter in one.parameters:
        name = str(parameter.get("name"))
        if parameter.get("in") == "query" and parameter.get("required") and name not in params:
            default = (parameter.get("schema") or {}).get("default")
            params[name] = str(default) if default is not None else settings.text((name,))
    if params:
        said["request"] = {"params": params}
    if cursor:
        said["window"] = cursor[1]
    said["paging"] = paging
    if one.rows:
        said["rows"] = ".".join(part.replace(".", "\\.") for part in one.rows)
    said["key"] = [key]
    if cursor:
        said["cursor"] = cursor[0]
    if paging["kind"] == "offset":
        said["order"] = "none"
    said["columns"] = columns
    endpoints[endpoint] = said
    return None


def _parents(
    one: Operation,
    said: dict[str, Any],
    endpoints: dict[str, Any],
    operations: list[Operation],
    settings: SettingNames,
) -> Need | None:
    """A parameter in the path is a row of the list that the path begins with, or a setting."""
    names = re.findall(r"\{([^}]+)\}", one.path)
    above = one.path.partition("{")[0].rstrip("/")
    parent = next((other for other in operations if other.path.rstrip("/") == above), None)
    if len(names) == 1 and parent is not None and parent.name in endpoints:
        key = endpoints[parent.name]["key"][0]
        said["path"] = said["path"].replace(f"{{{names[0]}}}", "{parent}")
        said["parents"] = {"endpoint": parent.name, "column": key}
        one.doubts.append(f"is {{{names[0]}}} the {key} of {parent.name}?")
        return None
    if len(names) == 1 and parent is None:
        said["path"] = said["path"].replace(f"{{{names[0]}}}", settings.text((names[0],)))
        one.doubts.append(f"{{{names[0]}}} of the path is a setting: each: {{values: …}} for many")
        return None
    return Need("fanout_columns", "path", one.path)


def _key(one: Operation, names: list[str]) -> str | None:
    by_low = {name.lower(): name for name in names}
    singular = one.name.rpartition("_")[2].removesuffix("s")
    for wanted in (*_KEYS[:3], f"{singular}_id", f"{singular}id", *_KEYS[3:]):
        if wanted in by_low:
            if wanted not in _KEYS[:3]:
                one.doubts.append(f"is {by_low[wanted]} different in every row?")
            return by_low[wanted]
    return None


def _query(one: Operation) -> dict[str, Mapping[str, Any]]:
    found = {str(p.get("name")): p for p in one.parameters if p.get("in") == "query"}
    return {name: found[name].get("schema") or {} for name in found}


def _like(name: str, words: tuple[str, ...]) -> bool:
    return re.sub(r"[^\w$]+", "_", name.lower()).strip("_") in words


def _paging(one: Operation, params: dict[str, Any]) -> dict[str, Any]:
    query = _query(one)
    size = next((name for name in query if _like(name, LIMITS)), None)
    limit = 100
    if size is not None:
        params[size] = "{limit}"
        limit = int(query[size].get("maximum") or query[size].get("default") or 100)
        if "maximum" not in query[size]:
            one.doubts.append(f"how many rows has a page at most? {limit} is a guess")
    total, token, more = _told(one)
    counted = {"total": total} if total else {}
    flag = {"more": more} if more else {}
    for words, kind, text in ((OFFSETS, "offset", "{offset}"), (NUMBERS, "page", "{page}")):
        name = next((n for n in query if _like(n, words)), None)
        if name is not None:
            params[name] = text
            if not counted:
                one.doubts.append("does the API say how many rows match? Nothing else proves them")
            first = {"first": 0} if kind == "page" and query[name].get("minimum") == 0 else {}
            overlap = {"overlap": False} if kind == "offset" else {}
            return {"kind": kind, "limit": max(limit, 2), **first, **overlap, **counted}
    name = next((n for n in query if _like(n, TOKENS) or n.lower().endswith("cursor")), None)
    if name is not None and token:
        params[name] = "{token}"
        return {"kind": "token", "limit": limit, "next": token, **flag, **counted}
    if "link" in {str(header).lower() for header in one.headers}:
        return {"kind": "link", "limit": limit, **counted}
    if token:
        return {"kind": "link", "limit": limit, "next": token, **flag, **counted}
    one.doubts.append("no paging was found: does everything come in one response?")
    params.pop(size or "", None)
    return {"kind": "none"}


def _told(one: Operation) -> tuple[str | None, str | None, str | None]:
    """Where the response says how many rows match, what the next page is, and if there is one."""
    total = token = more = None
    for path, said in _scalars(one.answer):
        last = path.rpartition(".")[2]
        kind = said.get("type")
        if kind == "integer" and last.lower() in _TOTALS:
            total = total or path
        elif kind == "boolean" and _MORE.search(last):
            more = more or path
        elif kind != "integer" and _NEXT.search(last) and "prev" not in last.lower():
            token = token or path
    return total, token, more


def _scalars(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, said in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(said, dict) and said.get("properties") and here.count(".") < 3:
            yield from _scalars(said, here)
        elif isinstance(said, dict) and "items" not in said:
            yield here, said


def _window(
    one: Operation, columns: dict[str, str], params: dict[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The cursor and its window, where parameters filter by it."""
    times = [name for name, kind in columns.items() if kind == "timestamp[iso]"]
    cursors = [name for word in _CURSORS for name in times if word in name.lower()]
    query = {
        name: said
        for name, said in _query(one).items()
        if said.get("format") in ("date-time", "date")
    }
    start = next((name for name in query if _has(name, SINCE)), None)
    if not cursors or start is None:
        one.doubts.append("no filter by the time of the last change was found: this is a snapshot")
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
    one.doubts.append(f"does {start} filter by {cursors[0]}, and does it include its instant?")
    return cursors[0], window


def _has(name: str, words: tuple[str, ...]) -> bool:
    return bool({part.lower() for part in _WORDS.findall(name)} & set(words))
