"""A local API made from a manifest: its paths, pages, parents and bounds, over generated rows."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.catalogue.request_of import (
    Unservable,
    Wanted,
    columns_for_children,
    flat,
    option_name,
    parents,
    rendered,
    wanted_of,
)
from tests.catalogue.rows import (
    Row,
    key_of,
    kind_of,
    properties_of,
    read_as,
    rows_of,
    written_as,
)

MOST_ROWS = 23
CHILDREN = 3
PARENTS = 4


@dataclass
class Served:
    """One stream.

    :ivar streams: those that ask the same; rows have the members of all.
    :ivar place: where the rows are in the response.
    :ivar more: members of its rows that children read.
    :ivar beside: streams that read other members of the same response.
    :ivar rows: by partition value; made when they are asked for.
    :ivar sent: what a client put into its requests, to look at when rows differ.
    """

    streams: list[Mapping[str, Any]]
    wanted: Wanted
    place: list[str]
    paginator: Mapping[str, Any]
    parameters: Mapping[str, Any]
    config: Mapping[str, Any]
    more: set[str] = field(default_factory=set)
    beside: list["Served"] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    @property
    def stream(self) -> Mapping[str, Any]:
        return self.streams[0]

    @property
    def all_rows(self) -> list[Row]:
        return [row for rows in self.rows.values() for row in rows]

    @property
    def tokens(self) -> set[str]:
        """The members of the last row that name the next page; paths with dots."""
        strategy = self.paginator.get("pagination_strategy") or {}
        if (self.paginator.get("page_token_option") or {}).get("type") == "RequestPath":
            return set()
        return {".".join(path) for path in paths_in(_next_of(strategy), "last_record")}

    @property
    def size(self) -> int:
        raw = (self.paginator.get("pagination_strategy") or {}).get("page_size")
        try:
            return int(rendered(raw, self.config, self.parameters))
        except (ValueError, Unservable):
            return 3

    @property
    def one_each(self) -> bool:
        """Whether the key is the partition value itself: there is one row of each."""
        made = [
            str(field["path"][0])
            for one in self.stream.get("transformations") or []
            for field in (one.get("fields") or [] if one.get("type") == "AddFields" else [])
            if "stream_" in str(field.get("value"))
        ]
        return bool(key_of(self.stream)) and set(key_of(self.stream)) <= set(made)

    def rows_for(self, value: str) -> list[Row]:
        if value not in self.rows:
            number = min(2 * self.size + 1, MOST_ROWS) if not value else CHILDREN
            number = min(number, self.size + 1, PARENTS) if self.more else number
            number = 1 if value and self.one_each else number
            more = sorted(self.more | self.tokens)
            made = [rows_of(one, number, value, more) for one in self.streams]
            self.rows[value] = [
                {name: item for row in reversed(same) for name, item in row.items()}
                for same in zip(*made, strict=True)
            ]
        return self.rows[value]


def serve(stream: Mapping[str, Any], config: Mapping[str, Any]) -> Served:
    """A stream as it is served. :raises Unservable: it is beyond this API."""
    wanted = wanted_of(stream, config)
    retriever = stream.get("retriever") or {}
    extractor = (retriever.get("record_selector") or {}).get("extractor") or {}
    raw = extractor.get("field_path") or extractor.get("field_pointer") or []
    parameters = extractor.get("$parameters") or {}
    parts = [rendered(one, config, parameters) for one in (raw if isinstance(raw, list) else [raw])]
    place = [part for part in parts if part]
    paginator = retriever.get("paginator") or {}
    strategy = paginator.get("pagination_strategy") or {}
    if not place and "response" in str(strategy.get("cursor_value")):
        paginator = {}  # a list has no place for the next page's name
    return Served(
        [stream],
        wanted,
        place,
        paginator if paginator.get("type") == "DefaultPaginator" else {},
        paginator.get("$parameters") or {},
        config,
    )


class ManifestApi:
    """All streams of a manifest, behind one address."""

    def __init__(self, streams: list[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
        self.served: dict[str, Served] = {}
        self.unservable: dict[str, str] = {}
        children = columns_for_children(streams)
        for stream in [*streams, *parents(streams)]:
            name = str(stream.get("name"))
            if name in self.served or name in self.unservable:
                continue
            try:
                one = serve(stream, config)
            except Unservable as error:
                self.unservable[name] = str(error)
                continue
            one.more = children.get(name, set())
            same = [o for o in self.served.values() if _asks_alike(o, one)]
            if same and same[0].place == one.place and _rows_alike(same[0], one):
                same[0].streams.append(stream)
                self.served[name] = same[0]
            elif same and _beside(same[0], one):
                same[0].beside.append(one)
                self.served[name] = one
            elif same:
                self.unservable[name] = f"asks as {same[0].stream.get('name')} does"
            else:
                self.served[name] = one

    def app(self) -> Starlette:
        async def respond(request: Request) -> Response:
            return await self.response(request)

        return Starlette(routes=[Route("/{path:path}", respond, methods=["GET", "POST", "PUT"])])

    async def response(self, request: Request) -> Response:
        sent = dict(parse_qsl(request.url.query, keep_blank_values=True))
        sent |= {f"header {name}": text for name, text in request.headers.items()}
        body = await request.body()
        if body:
            try:
                sent |= flat(json.loads(body))
            except ValueError:
                sent |= dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        path = re.sub("/+", "/", request.url.path)
        matching = []
        for served in self.served.values():
            if any(served in one.beside for one in self.served.values()):
                continue
            value = served.wanted.matches(request.method, path)
            if value is not None:
                wanted = served.wanted
                whole = wanted.path.fullmatch(path) is not None
                rank = (whole, wanted.agreeing(sent), -wanted.path.pattern.count("(["))
                matching.append((rank, served, value))
        if not matching:
            return JSONResponse({"message": f"no such path: {request.url.path}"}, 404)
        _, served, value = max(matching, key=lambda found: found[0])
        served.sent.append(f"{request.method} {request.url.path} {sent}")
        return self.page(served, value, sent, request)

    def page(self, one: Served, value: str, sent: Mapping[str, str], request: Request) -> Response:
        named = [sent[name] for name in one.wanted.values if sent.get(name)]
        value = "/".join([*([value] if value else []), *named])
        rows = [
            row
            for row in one.rows_for(value)
            if _inside(one, row, re.sub("/+", "/", request.url.path), sent)
        ]
        headers: dict[str, str] = {}
        begin, end = _slice(one, sent, rows)
        served = [(one, rows), *((other, other.rows_for(value)) for other in one.beside)]
        body: Any = None
        for other, listed in sorted(served, key=lambda pair: len(pair[0].place)):
            holds = any(_is_above(other.place, third.place) for third, _ in served)
            inner = listed[0] if holds else listed[begin:end] if other.paginator else listed
            body = _merged(body, _body(other.place, inner))
        query = "&".join(p for p in request.url.query.split("&") if p and "_next=" not in p)
        url = f"{request.url.scheme}://{request.url.netloc}{request.url.path}"
        url = f"{url}?{query}" if query else url
        _next(one, body, headers, begin, end, end < len(rows), url)
        lines = "Jsonl" in str((one.stream.get("retriever") or {}).get("decoder"))
        response: Response = JSONResponse(body)
        if lines and isinstance(body, list):
            response = Response("".join(f"{json.dumps(row)}\n" for row in body))
        # As APIs write it: the peer tells Link from link.
        response.raw_headers += [(k.encode(), v.encode()) for k, v in headers.items()]
        return response


def _asks_alike(one: Served, other: Served) -> bool:
    a, b = one.wanted, other.wanted
    return (a.method, a.path, a.fixed, a.bounds) == (b.method, b.path, b.fixed, b.bounds)


def _rows_alike(one: Served, other: Served) -> bool:
    """Whether two streams may have the same rows: no member of both has two types."""
    kinds = [
        {name: kind_of(said) for name, said in properties_of(served.stream).items()}
        for served in (one, other)
    ]
    return all(kinds[1].get(name, kind) in ("", kind) for name, kind in kinds[0].items() if kind)


def _beside(one: Served, other: Served) -> bool:
    """Whether one response has the rows of both, each at a place of its own."""
    if one.paginator != other.paginator and one.paginator and other.paginator:
        return False
    for above, below in ((one, other), (other, one)):
        if _is_above(above.place, below.place) and (above.paginator or below.paginator):
            return False
    return one.place != other.place and "*" not in [*one.place, *other.place]


def _is_above(place: list[str], other: list[str]) -> bool:
    return len(place) < len(other) and other[: len(place)] == place


def _merged(body: Any, more: Any) -> Any:
    """Two responses in one."""
    if not (isinstance(body, dict) and isinstance(more, dict)):
        return more
    return body | {
        name: _merged(body[name], item) if name in body else item for name, item in more.items()
    }


def _body(place: list[str], rows: Any) -> Any:
    """A response with rows at a path; each `*` stands for the items of a list.

    A first one is that of a map: of a list the peer looks at each item by itself.
    """
    if place[:1] == ["*"] and isinstance(rows, list):
        return {f"m{n}": _at_end(place[1:], row) for n, row in enumerate(rows)}
    return _at_end(place, rows)


def _at_end(place: list[str], rows: Any) -> Any:
    if not place:
        return rows
    first, rest = place[0], place[1:]
    if first == "*":
        return [_at_end(rest, row) for row in rows] if rest and "*" not in rest else rows
    return {first: _at_end(rest, rows)}


def _inside(one: Served, row: Row, path: str, sent: Mapping[str, str]) -> bool:
    """Whether a row lies between the bounds of a request; both are included."""
    sync = one.stream.get("incremental_sync") or {}
    pattern = (sync.get("cursor_datetime_formats") or [sync.get("datetime_format")])[0]
    text = row.get(str(sync.get("cursor_field")))
    mine = read_as(str(pattern), str(text)) if text is not None else None
    if mine is None:
        return True
    for side, written, bound in one.wanted.window(path, sent):
        coarse = read_as(written, str(written_as(written, mine))) or mine
        if str(sync.get("cursor_granularity")) == "P1D":
            coarse = coarse.replace(hour=0, minute=0, second=0, microsecond=0)
        if (coarse < bound) if side == "low" else (coarse > bound):
            return False
    return True


def _number(text: Any, otherwise: int) -> int:
    try:
        return int(float(str(text).removeprefix("t")))
    except ValueError:
        return otherwise


def _slice(one: Served, sent: Mapping[str, str], rows: list[Row]) -> tuple[int, int]:
    strategy = one.paginator.get("pagination_strategy")
    if not strategy:
        return 0, len(rows)
    size = _number(sent.get(option_name(one.paginator.get("page_size_option"))), one.size) or 1
    token = sent.get(option_name(one.paginator.get("page_token_option")))
    text = _next_of(strategy)
    if "_next" in sent:
        begin = _number(sent["_next"], 0)
    elif strategy["type"] == "PageIncrement":
        first = _number(rendered(strategy.get("start_from_page"), one.config, {}), 0)
        begin = (_number(token, first) - first) * size if token else 0
    elif _COUNTS.search(text):
        begin = (_number(token, 1) - 1) * size
    elif "last_record" in text:
        path = next(iter(paths_in(text, "last_record")), [])
        behind = [n for n, row in enumerate(rows, 1) if token and str(_at_path(row, path)) == token]
        begin = behind[0] if behind else 0
    else:
        begin = _number(token, 0) if token else 0
    return begin, begin + size


_LAST_ROW = re.compile(r"response(?:\.get\([^()]*\)|\[['\"][^'\"]+['\"]\]|\.\w+)*\[-1\]")
"""The last row of a page, which ``last_record`` is too."""


def _next_of(strategy: Mapping[str, Any]) -> str:
    """The expression of the next page's name."""
    return _LAST_ROW.sub("last_record", str(strategy.get("cursor_value")))


_CUT = re.compile(r"regex_search\(['\"][^'\"]*?([\w$.\[\]-]+)=\(")
"""The parameter that a pattern cuts out of the next page's link."""
_COUNTS = re.compile(r"\+ *1\b")
"""A page that names its own number, to which the cursor value adds one."""


def _next(
    one: Served, body: Any, headers: dict[str, str], begin: int, end: int, more: bool, url: str
) -> None:
    """Say where the next page is, as the cursor value and the end look for it."""
    strategy = one.paginator.get("pagination_strategy") or {}
    if strategy.get("type") != "CursorPagination":
        return
    text = _next_of(strategy)
    option = one.paginator.get("page_token_option") or {}
    by_path = option.get("type") == "RequestPath" or "regex_search" in text
    cut = _CUT.search(text)
    name = cut.group(1) if cut and option.get("field_name") else "_next"
    query = [part for part in urlsplit(url).query.split("&") if not part.startswith(f"{name}=")]
    link = f"{url.partition('?')[0]}?{'&'.join([*filter(None, query), f'{name}={end}'])}"
    if "headers" in text:
        if more:
            headers["Link"] = f'<{link}>; rel="next"'
        return
    if isinstance(body, list):
        return
    stop = str(strategy.get("stop_condition") or "")
    paths = paths_in(text)
    inner = [path for path in paths_in(stop) if path[: len(paths[0])] == paths[0]] if paths else []
    paths = inner[:1] or paths  # the end looks at the link inside
    for path in paths:
        if len(path) > 1 and not _has(body, path[:-1]):
            _put(body, path[:-1], {})
    if paths and _COUNTS.search(text) and more:
        _put(body, paths[0], begin // max(end - begin, 1) + 1)
    elif paths and more:
        _put(body, paths[0], link if by_path else f"t{end}")
    free = [path for path in paths_in(stop) if path not in paths and not _has(body, path)]
    for values in product((True, False, None, 1, 2), repeat=min(len(free), 3)):
        trial = copy.deepcopy(body)
        for path, value in zip(free, values, strict=False):
            _put(trial, path, value)
        if free and _stops(stop, trial, one.config) != more:
            for path, value in zip(free, values, strict=False):
                _put(body, path, value)
            return


def _stops(condition: str, body: Any, config: Mapping[str, Any]) -> bool:
    names = {"response": body, "headers": {}, "last_record": {}, "last_page_size": 1}
    try:
        return rendered(condition, config, {}, names).strip() not in (
            "",
            "False",
            "{}",
            "[]",
            "None",
        )
    except Unservable:
        return False


def _at_path(row: Any, path: list[str]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _has(body: Any, path: list[str]) -> bool:
    """Whether a member is there, or something else stands in its way."""
    for part in path:
        if not isinstance(body, dict):
            return True
        if part not in body:
            return False
        body = body[part]
    return True


_CHAIN = r"((?:\.get\(['\"][^'\"]+['\"][^)]*\)|\[['\"][^'\"]+['\"]\]|\.\w+)+)"
_PART = re.compile(r"\.get\(['\"]([^'\"]+)['\"]|\[['\"]([^'\"]+)['\"]\]|\.(\w+)")
_WITHIN = re.compile(r"['\"](\w+)['\"] +(?:not +)?in +(response" + _CHAIN + "?)")


def paths_in(text: str, of: str = "response") -> list[list[str]]:
    """The members of the response, or of the last row, that an expression reads."""
    found = [
        [part for one in _PART.findall(chain) for part in one if part and part != "get"]
        for chain in re.findall(of + _CHAIN, text)
    ]
    for name, _, chain in _WITHIN.findall(text):
        inner = [part for one in _PART.findall(chain) for part in one if part and part != "get"]
        found = [path for path in found if path != inner] + [[*inner, name]]
    return [list(path) for path in dict.fromkeys(map(tuple, found)) if path]


def _put(body: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = body.get(part)
        if isinstance(inner, list):
            return
        body[part] = inner if isinstance(inner, dict) else {}
        body = body[part]
    if not isinstance(body.get(path[-1]), list):
        body[path[-1]] = value
