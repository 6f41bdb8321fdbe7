"""A local API made from a manifest: its paths, pages, parents and bounds, over generated rows.

It is made from the manifest's own components, and from nothing of the importer but the reading of
references and parameters: so that what is read from it is the same for whoever reads it right.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import ChainableUndefined, Environment, TemplateError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.catalogue.rows import Row, rows_of

MOST_ROWS = 23
_HOLE = "\x00"
_HOLES = re.compile(f"{_HOLE}+")


class Unservable(Exception):
    """What of a stream this API can't play."""


class _Hole(ChainableUndefined):
    """Whatever is known at run time only: a value in a path."""

    def __str__(self) -> str:
        return _HOLE

    def get(self, *_: Any) -> "_Hole":
        return self


def rendered(text: Any, config: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """A text of a manifest with the configuration in it; a hole where a value comes at run time."""
    if not isinstance(text, str):
        return "" if text is None else str(text)
    try:
        template = Environment(undefined=_Hole, autoescape=False).from_string(text)  # noqa: S701
        return str(template.render(config=config, parameters=parameters, options=parameters))
    except (TemplateError, TypeError, ValueError) as error:
        raise Unservable(f"{text!r}: {error}") from None


@dataclass
class Served:
    """One stream.

    :ivar path: a pattern of the path, with a group for each value that comes at run time.
    :ivar place: where the rows are in the response.
    :ivar rows: by partition value; made when they are asked for.
    """

    stream: dict[str, Any]
    method: str
    path: re.Pattern[str]
    place: list[str]
    paginator: dict[str, Any]
    parameters: Mapping[str, Any]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    requests: int = 0

    @property
    def all_rows(self) -> list[Row]:
        return [row for rows in self.rows.values() for row in rows]

    @property
    def size(self) -> int:
        raw = (self.paginator.get("pagination_strategy") or {}).get("page_size")
        try:
            return int(rendered(raw, {}, self.parameters))
        except (ValueError, Unservable):
            return 10

    def rows_for(self, value: str) -> list[Row]:
        if value not in self.rows:
            made = sum(map(len, self.rows.values()))
            number = min(2 * self.size + 1, MOST_ROWS) if not value else 3
            self.rows[value] = rows_of(self.stream, number, value, made)
        return self.rows[value]


def serve(stream: dict[str, Any], config: Mapping[str, Any]) -> Served:
    """A stream as it is served. :raises Unservable: it is beyond this API."""
    retriever = stream.get("retriever") or {}
    requester = retriever.get("requester") or {}
    if retriever.get("type") != "SimpleRetriever" or requester.get("type") != "HttpRequester":
        raise Unservable("a component that is no HTTP request")
    parameters = requester.get("$parameters") or {}
    base = rendered(requester.get("url_base"), config, parameters)
    path = rendered(requester.get("path"), config, parameters)
    url = urlsplit(f"{base.rstrip('/')}/{path.lstrip('/')}".strip())
    pattern = _HOLES.sub("([^/]+)", "".join(c if c == _HOLE else re.escape(c) for c in url.path))
    extractor = (retriever.get("record_selector") or {}).get("extractor") or {}
    place = [
        rendered(p, config, extractor.get("$parameters") or {})
        for p in extractor.get("field_path") or []
    ]
    if any("*" in part for part in place):
        raise Unservable("a path with *")
    paginator = retriever.get("paginator") or {}
    strategy = paginator.get("pagination_strategy") or {}
    if not any(place) and "response" in str(strategy.get("cursor_value")):
        paginator = {}  # a list has no place for the next page's name
    asked = {k: v for k, v in requester.items() if k.startswith("request_")}
    if "stream_interval" in str(asked) or re.search(
        r"stream_\w+.{1,4}(start|end)_time", str(asked)
    ):
        raise Unservable("a window in a text of the request")
    return Served(
        stream,
        str(requester.get("http_method") or "GET").upper(),
        re.compile(pattern),
        [part for part in place if part],
        paginator if paginator.get("type") == "DefaultPaginator" else {},
        paginator.get("$parameters") or {},
    )


class ManifestApi:
    """All streams of a manifest, behind one address."""

    def __init__(self, streams: list[dict[str, Any]], config: Mapping[str, Any]) -> None:
        self.config = config
        self.served: dict[str, Served] = {}
        self.unservable: dict[str, str] = {}
        for stream in [*streams, *_parents(streams)]:
            name = str(stream.get("name"))
            if name in self.served or name in self.unservable:
                continue
            try:
                one = serve(stream, config)
            except Unservable as error:
                self.unservable[name] = str(error)
                continue
            same = [
                k for k, o in self.served.items() if (o.path, o.method) == (one.path, one.method)
            ]
            if same:
                self.unservable[name] = f"asks as {same[0]} does"
                continue
            self.served[name] = one

    def app(self) -> Starlette:
        async def answer(request: Request) -> Response:
            return await self.answer(request)

        return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])

    async def answer(self, request: Request) -> Response:
        sent = dict(parse_qsl(request.url.query, keep_blank_values=True))
        body = await request.body()
        if request.method == "POST" and body:
            try:
                sent |= _flat(json.loads(body))
            except ValueError:
                sent |= dict(parse_qsl(body.decode()))
        for one in sorted(self.served.values(), key=lambda o: o.path.pattern.count("(")):
            found = one.path.fullmatch(request.url.path)
            if found and one.method == request.method:
                one.requests += 1
                return self.page(one, "/".join(found.groups()), sent, request)
        return JSONResponse({"message": f"no such path: {request.url.path}"}, 404)

    def page(self, one: Served, value: str, sent: Mapping[str, str], request: Request) -> Response:
        if _option(one.stream, value, sent):
            value = _option(one.stream, value, sent)
        rows = [row for row in one.rows_for(value) if _inside(one.stream, row, sent)]
        body: Any = {}
        headers: dict[str, str] = {}
        begin, end = _slice(one, sent, rows)
        if one.place:
            _put(body, one.place, rows[begin:end])
        else:
            body = rows[begin:end]
        _next(one, body, headers, end if end < len(rows) else None, request)
        return JSONResponse(body, headers=headers)


def _parents(streams: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for stream in streams:
        router = (stream.get("retriever") or {}).get("partition_router") or []
        for one in router if isinstance(router, list) else [router]:
            for config in one.get("parent_stream_configs") or []:
                yield config["stream"]
                yield from _parents([config["stream"]])


def _flat(value: Any, path: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, item in value.items() if isinstance(value, dict) else ():
        here = f"{path}.{name}" if path else str(name)
        found |= _flat(item, here) if isinstance(item, dict) else {here: str(item)}
    return found


def _name(option: Any) -> str:
    if not isinstance(option, dict):
        return ""
    return ".".join(map(str, option.get("field_path") or [option.get("field_name") or ""]))


def _option(stream: dict[str, Any], value: str, sent: Mapping[str, str]) -> str:
    """The partition value where it comes as a parameter."""
    retriever = stream.get("retriever") or {}
    router = retriever.get("partition_router") or []
    found = [value] if value else []
    for member in ("request_parameters", "request_body_json", "request_body_data"):
        given = (retriever.get("requester") or {}).get(member)
        for name, text in given.items() if isinstance(given, dict) else ():
            if "stream_slice" in str(text) or "stream_partition" in str(text):
                found += [sent[name]] if name in sent else []
    for one in router if isinstance(router, list) else [router]:
        options = [one.get("request_option")]
        options += [c.get("request_option") for c in one.get("parent_stream_configs") or []]
        found += [sent[_name(o)] for o in options if o and _name(o) in sent]
    return "/".join(found)


def _inside(stream: dict[str, Any], row: Row, sent: Mapping[str, str]) -> bool:
    """Whether a row lies between the bounds that options carry; both bounds are included."""
    sync = stream.get("incremental_sync") or {}
    pattern = str(sync.get("datetime_format"))
    at = row.get(str(sync.get("cursor_field")))
    for member, low in (("start_time_option", True), ("end_time_option", False)):
        text = sent.get(_name(sync.get(member)))
        if not text or at is None:
            continue
        written = (sync.get("cursor_datetime_formats") or [pattern])[0]
        bound, mine = _at(text, pattern), _at(str(at), written)
        if (mine < bound) if low else (mine > bound):
            return False
    return True


def _at(text: str, pattern: str) -> datetime:
    if pattern in ("%s", "%s_as_float"):
        return datetime.fromtimestamp(float(text), UTC)
    if pattern in ("%ms", "%_ms"):
        return datetime.fromtimestamp(float(text) / 1000, UTC)
    found = datetime.strptime(text, pattern)  # noqa: DTZ007 - UTC is put in
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _slice(one: Served, sent: Mapping[str, str], rows: list[Row]) -> tuple[int, int]:
    strategy = one.paginator.get("pagination_strategy")
    if not strategy:
        return 0, len(rows)
    size = int(sent.get(_name(one.paginator.get("page_size_option"))) or one.size)
    token = sent.get(_name(one.paginator.get("page_token_option"))) or sent.get("_next")
    if strategy["type"] == "PageIncrement":
        first = int(strategy.get("start_from_page") or 0)
        begin = (int(token) - first) * size if token else 0
    elif "last_record" in str(strategy.get("cursor_value")):
        path = _path(str(strategy["cursor_value"]), "last_record")
        behind = [n for n, row in enumerate(rows, 1) if token and str(_at_path(row, path)) == token]
        begin = behind[0] if behind else 0
    else:
        begin = int(str(token).removeprefix("t")) if token else 0
    return begin, begin + size


def _next(
    one: Served, body: Any, headers: dict[str, str], after: int | None, request: Request
) -> None:
    """Say where the next page is, as the cursor value and the end look for it."""
    strategy = one.paginator.get("pagination_strategy") or {}
    if strategy.get("type") != "CursorPagination":
        return
    text = str(strategy.get("cursor_value"))
    option = one.paginator.get("page_token_option") or {}
    by_path = option.get("type") == "RequestPath" or "regex_search" in text
    url = f"{request.url.scheme}://{request.url.netloc}{request.url.path}?_next={after}"
    if "headers" in text:
        if after is not None:
            headers["link"] = f'<{url}>; rel="next"'
        return
    path = _path(text)
    if not path or isinstance(body, list):
        return
    if after is not None:
        _put(body, path, url if by_path else f"t{after}")
    stop = _path(str(strategy.get("stop_condition") or ""))
    if stop and stop != path and stop[: len(path)] != path and path[: len(stop)] != stop:
        _put(body, stop, after is not None)


def _at_path(row: Any, path: list[str]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _path(text: str, of: str = "response") -> list[str]:
    """The members of the response, or of the last row, that an expression reads first."""
    found = re.search(
        of + r"((?:\.get\(['\"][^'\"]+['\"][^)]*\)|\[['\"][^'\"]+['\"]\]|\.\w+)+)", text
    )
    if found is None:
        return []
    parts = re.findall(
        r"\.get\(['\"]([^'\"]+)['\"]|\[['\"]([^'\"]+)['\"]\]|\.(\w+)", found.group(1)
    )
    return [part for one in parts for part in one if part and part != "get"]


def _put(body: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = body.get(part)
        body[part] = inner if isinstance(inner, dict) else {}
        body = body[part]
    body[path[-1]] = value
