"""What one response shows of an API: where the rows are, how pages follow, key, types. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from pipeline.decode.inferred_columns import TypeConflict, join, settled, type_of
from pipeline.decode.types import type_text
from pipeline.errors import ContractBroken, counted
from pipeline.extract.capped_page import looks_capped
from pipeline.model import split_path
from sourcetool.times import form_of, has_time, is_naive, written_time

Row = dict[str, Any]
LIMITS = (
    *("limit", "per_page", "perpage", "page_size", "pagesize", "rows", "resultsperpage"),
    *("_limit", "size", "max_results", "maxresults", "$top", "_size", "count"),
)
OFFSETS = (
    *("offset", "page_offset", "startindex", "skip", "$skip", "_start", "start_index"),
    *("startat", "start", "from"),
)
NUMBERS = ("page", "_page", "pagenumber", "page_number", "p")
TOKENS = (
    *("cursor", "page_token", "pagetoken", "next_token", "nexttoken", "continuation", "after"),
    *("page_cursor", "page_after", "after_cursor"),
)
SINCE = ("since", "from", "start", "starttime", "after", "gte", "gt", "min", "updatedafter")
UNTIL = ("until", "to", "end", "endtime", "before", "lte", "lt", "max", "updatedbefore")
_WORD = re.compile(r"[A-Z]?[a-z]+")
_CURSORS = ("updated", "modified", "changed", "indexed", "last_update", "timestamp", "created")
_TOTALS = (
    *("total", "count", "totalresults", "total_results", "totalitems", "total_count", "hits"),
    *("total_size", "totalsize", "filter_count", "__count"),
)
_TOTAL_HEADER = re.compile(r"(^|-)total(-(count|results|items|records|objects))?$", re.IGNORECASE)
_WRAPPERS = ("attributes", "node", "_source", "fields", "properties", "resource", "doc")
"""In which APIs put all of a row but its id."""
_MORE = re.compile(r"has_?(more|next)(_?page)?$|^more$", re.IGNORECASE)
_LAST = re.compile(
    r"is_?last(_?page)?$|^last(_?page)?$|^done$|^end_?of_?(stream|list|data)$", re.IGNORECASE
)
"""Flags that are true where no page follows."""
_BEHIND = re.compile(r"next|^after_?(url|link)$", re.IGNORECASE)
_EPOCH_TEXT = re.compile(r"[12]\d{9}|[12]\d{12}")
_NEXT = re.compile(r"next|.continue$")  # MediaWiki: rccontinue, for what begins with rc
_URL = re.compile(r"https?://|[/?]|[\w./-]+\?\S+=")


@dataclass
class Guess:
    """A guess at an endpoint's YAML, from one page.

    :ivar doubts: what a person has to look up.
    :ivar prefix: what parameters begin with (MediaWiki: rc, as its token is called rccontinue).
    """

    rows_path: str = ""
    rows: int = 0
    key: str | None = None
    cursor: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    paging: dict[str, Any] = field(default_factory=lambda: {"kind": "none"})
    params: dict[str, str] = field(default_factory=dict)
    window: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    prefix: str = ""


def guess(body: Any, headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> Guess:
    """Guess an endpoint's YAML from a response. :raises ValueError: it has no rows."""
    path, rows = _rows(body)
    inferred = Guess(rows_path=_joined(*path), rows=len(rows), params=dict(params))
    rows = _flat(inferred, rows)
    _columns(inferred, rows)
    _paging(inferred, body, headers)
    _window(inferred, rows)
    inferred.doubts += [
        f"{name}={value} is sent with every request now: is it a bound of the window?"
        for name, value in inferred.params.items()
        if has_time(value)
    ]
    return inferred


def _rows(body: Any) -> tuple[tuple[str, ...], list[Row]]:
    """The longest list of objects, the nearest to the top of those."""
    lists = list(_lists(body, ()))
    if not lists:
        raise ValueError(_no_list(body))
    return max(lists, key=lambda pair: (len(pair[1]), -len(pair[0])))


def _no_list(body: Any) -> str:
    """The sentence on a response without a list of objects, with the form that it may have."""
    finding = "the response has no list of objects"
    if not body:
        return f"{finding}, as it is empty: give a URL that responds with some rows"
    if isinstance(body, list):
        form = "values" if all(isinstance(item, list) for item in body) else "scalars"
        kind = "arrays" if form == "values" else "single values"
        return f"{finding}, but one of {kind}: write its YAML by hand, with `as: {form}`"
    if not isinstance(body, dict):
        return f"{finding}: is this the URL of a collection?"
    forms = next(_forms(body, ()), "with `as: object`, if it is one row")
    return f"{finding}. Is this the URL of a collection? If so, write its YAML by hand, {forms}"


def _forms(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The forms of rows inside of an object, the nearest to the top first."""
    at = f"`rows: {_joined(*path)}` and " if path else ""
    lengths = {_length(item) for item in value.values()}
    if len(value) > 1 and len(lengths) == 1 and max(lengths) > 0:
        yield f"with {at}`as: columns`, if each member is a column"
    inner = [item for item in value.values() if isinstance(item, dict)]
    if len(value) > 1 and len(inner) == len(value):
        yield f"with {at}`as: map`, if each member is a row"
    for name, item in value.items():
        if isinstance(item, list) and item:
            form = "columns" if all(isinstance(each, list) for each in item) else "scalars"
            names = "`as: columns` and `names_at`" if form == "columns" else "`as: scalars`"
            if form == "scalars" and any(
                isinstance(other, list) and other and isinstance(other[0], list)
                for other in value.values()
            ):
                continue  # the names of the columns beside them
            yield f"with `rows: {_joined(*path, name)}` and {names}"
    if len(path) < 3:
        for name, item in value.items():
            if isinstance(item, dict):
                yield from _forms(item, (*path, name))


def _length(item: Any) -> int:
    """The number of single values in a list; -1 if it is none of such."""
    plain = isinstance(item, list) and not any(isinstance(each, list | dict) for each in item)
    return len(item) if plain else -1


def _lists(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield path, value
    elif isinstance(value, dict) and len(path) < 4:
        for name, item in value.items():
            yield from _lists(item, (*path, name))


def _flat(inferred: Guess, rows: list[Row]) -> list[Row]:
    """The rows, with the members of one inner object among them where that holds most of a row."""
    few = len(rows[0]) <= 5
    objects = [n for n in rows[0] if all(isinstance(r.get(n), dict) for r in rows)]
    inner = [n for n in objects if n in _WRAPPERS or all(len(row[n]) > 4 for row in rows)]
    if not (few and len(inner) == 1):
        return rows
    outer = inner[0]
    inferred.paths = {name: _joined(outer, name) for row in rows for name in row[outer]}
    return [{**{k: v for k, v in row.items() if k != outer}, **row[outer]} for row in rows]


def _columns(inferred: Guess, rows: list[Row]) -> None:
    # A column that was null in every row says no type: inferred, it takes what comes later.
    for name in dict.fromkeys(n for row in rows for n, value in row.items() if value is not None):
        inferred.columns[name] = _type([row.get(name) for row in rows])

    def unique(name: str) -> bool:
        values = [str(row.get(name)) for row in rows]
        return len(set(values)) == len(rows) and all(row.get(name) is not None for row in rows)

    plain = [n for n, kind in inferred.columns.items() if kind in ("int64", "string") and unique(n)]
    by_name = [n for n in plain if re.search(r"^(id|.*_id|uuid|key|code|doi)$", n.lower())]
    inferred.key = next(iter(by_name + plain), None)
    if inferred.key is None:
        inferred.doubts.append(
            "no column is different in every row: set key to those that identify one"
        )
    elif not by_name:
        inferred.doubts.append(
            f"{inferred.key!r} was different in every row of one page: is it the key?"
        )


def _type(values: list[Any]) -> str:
    kind: pa.DataType = pa.null()
    try:
        for value in values:
            kind = join(kind, type_of(value))
    except TypeConflict:
        return "json"
    texts = [value for value in values if isinstance(value, str)]
    if texts and pa.types.is_string(kind) and (form := form_of(texts)):
        return form
    done = settled(kind)
    if done is None:
        return "json" if any(isinstance(value, dict | list) for value in values) else "string"
    return "json" if _has_struct(done) else type_text(done)


def _has_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) or any(
        _has_struct(kind.field(i).type) for i in range(kind.num_fields)
    )


def _paging(inferred: Guess, body: Any, headers: Mapping[str, str]) -> None:
    token = next((p for p, v in _scalars(body) if _is_token(p, v)), None)
    if token and _last(token).endswith("continue"):
        inferred.prefix = _last(token).removesuffix("continue")
    size = _put(inferred, LIMITS, "{limit}")
    limit = int(size) if size and size.isdigit() else max(inferred.rows, 2)
    total = _total_of(body, inferred.rows)
    link = next((p for p, v in _scalars(body) if _is_link(p) and _is_url(v)), None)
    more: dict[str, Any] = {"total": total} if total else {}
    flag = _flag(body)
    header = next((n for n, v in headers.items() if "next" in n.lower() and _is_url(v)), None)
    totals = [n.lower() for n, v in headers.items() if _TOTAL_HEADER.search(n) and v.isdigit()]
    count = more or ({"total_header": totals[0]} if totals else {})
    if 'rel="next"' in headers.get("link", ""):
        inferred.paging = {"kind": "link", "limit": limit} | count
    elif link:
        inferred.paging = {"kind": "link", "limit": limit, "next": link} | flag | count
    elif header:
        inferred.paging = {"kind": "link", "limit": limit, "header": header.lower()} | count
    elif (begin := _put(inferred, OFFSETS, "{offset}")) is not None:
        inferred.paging = {"kind": "offset", "limit": limit, "overlap": False} | flag | count
        if begin == "1":
            inferred.paging["first"] = 1
        inferred.doubts.append(
            "are rows sorted by the key? If so, set overlap: true and remove order: none: pages "
            "that overlap prove that no row is lost"
        )
    elif (first := _put(inferred, NUMBERS, "{page}")) is not None:
        number = {"first": int(first == "1")}
        inferred.paging = {"kind": "page", "limit": limit} | number | flag | count
    elif token and inferred.prefix and (above := token.rpartition(".")[0]):
        inferred.paging = {"kind": "token", "limit": limit, "next": above, "as_params": True}
    elif token:
        name = _parameter_of(_last(token))
        if _put(inferred, TOKENS, "{token}") is None:
            inferred.params[name] = "{token}"
            inferred.doubts.append(f"which parameter takes the token? {name} is a guess")
        inferred.paging = {"kind": "token", "limit": limit, "next": token} | flag | count
    elif flag and inferred.key:
        inferred.params["starting_after"] = "{token}"
        inferred.paging = {"kind": "token", "limit": limit, "last": inferred.key} | flag | count
        inferred.doubts.append("which parameter goes on behind a row? starting_after is a guess")
    else:
        capped = _why_capped(inferred, body, headers)
        if capped is not None:
            inferred.params["page"] = "{page}"
            inferred.paging = {"kind": "page", "limit": limit, "first": 1} | flag | count
        inferred.doubts.append(
            "no paging was seen: give the URL its paging parameters, or read the docs"
            if capped is None
            else f"{capped}: how do its pages follow? The parameter page is a guess, and the first "
            "run fails if the API has none of that name"
        )
    _size_of_links(inferred, limit)
    if inferred.paging["kind"] in ("page", "offset") and not count:
        inferred.doubts.append(
            "no count of the rows was seen: without one nothing tells whether one was passed over"
        )
    if inferred.paging["kind"] != "none" and size is None:
        inferred.doubts.append("no parameter of the page size was in the URL: add one with {limit}")


def _size_of_links(inferred: Guess, limit: int) -> None:
    """A size that is more than what came stays as it is: OData's ``$top`` counts all rows."""
    if inferred.paging["kind"] != "link" or inferred.rows >= limit:
        return
    for name, value in inferred.params.items():
        if value == "{limit}":
            inferred.params[name] = str(limit)
    inferred.paging["limit"] = max(inferred.rows, 2)


def _total_of(body: Any, rows: int) -> str | None:
    """Where the response counts all rows: a number that is greater than theirs comes first."""
    totals = {path: value for path, value in _scalars(body) if _is_total(path, value, rows)}
    more = [path for path, value in totals.items() if int(value) > rows]
    return next(iter([*more, *totals]), None)


def _flag(body: Any) -> dict[str, Any]:
    """``more`` of the paging: a flag that says whether a page follows, or whether none does."""
    flags = [path for path, value in _scalars(body) if isinstance(value, bool)]
    for path in flags:
        if _MORE.search(_last(path)):
            return {"more": path}
    for path in flags:
        if _LAST.search(_last(path)):
            return {"more": f"!{path}"}
    return {}


def _is_link(path: str) -> bool:
    return "next" in path.lower() or _BEHIND.search(_last(path)) is not None


def _why_capped(inferred: Guess, body: Any, headers: Mapping[str, str]) -> str | None:
    """The reason to take the page for the first of several; None if it need not be."""
    try:
        why = looks_capped(
            inferred.rows,
            orjson.dumps(body),
            {name.lower(): value for name, value in headers.items()},
            inferred.params.values(),
            split_path(inferred.rows_path),
        )
    except ContractBroken as error:
        why = str(error)
    return why and why.partition(". Check")[0]


def _window(inferred: Guess, rows: list[Row]) -> None:
    times = {n: _instant_type(n, kind, rows) for n, kind in inferred.columns.items()}
    named = [n for word in _CURSORS for n in times if times[n] and word in n.lower()]
    if not named and len(only := [name for name, kind in times.items() if kind]) == 1:
        named = only
        inferred.doubts.append(f"does {only[0]} move whenever a row changes? Else it is no cursor")
    if not named:
        inferred.doubts.append(
            "no column looks like the time of the last change: this is a snapshot"
        )
        return
    cursor = min(named, key=lambda name: not re.search("gmt|utc", name.lower()))
    if any(word in cursor.lower() for word in _CURSORS):
        inferred.columns[cursor] = str(times[cursor])
    start = _put_time(inferred, SINCE, "{start}", cursor)
    end = _put_time(inferred, UNTIL, "{end}", cursor)
    if start is None:
        inferred.doubts.append(
            f"{cursor} may be the cursor: find the parameters that filter by it, put {{start}} and "
            f"{{end}} there, and add cursor: {_with_second(cursor, times, rows)}"
        )
        return
    inferred.cursor, inferred.columns[cursor] = cursor, str(times[cursor])
    if end is None:
        inferred.window["end"] = "none"
    inferred.window |= written_time(start) or {}
    if any(is_naive(str(row.get(cursor))) for row in rows):
        inferred.doubts.append(f"{cursor} says no time zone, and is taken for UTC: is it?")
    inferred.doubts.append("are the bounds inclusive or exclusive? See window.start and window.end")


def _with_second(cursor: str, times: Mapping[str, str | None], rows: list[Row]) -> str:
    """The cursor as the YAML has it: where it is null in some rows, with a time that those have."""
    without = [row for row in rows if row.get(cursor) is None]
    others = [n for n in times if times[n] and all(row.get(n) is not None for row in without)]
    if not without or not others:
        return cursor
    second = min(others, key=lambda name: "creat" not in name.lower())
    return f"[{cursor}, {second}], as {cursor} is null in {counted(len(without), 'row')}"


def _instant_type(name: str, kind: str, rows: list[Row]) -> str | None:
    if kind == "string":
        texts = [str(row[name]) for row in rows if row.get(name) is not None]
        named = any(word in name.lower() for word in _CURSORS)
        if not named or not all(_EPOCH_TEXT.fullmatch(text) for text in texts):
            return None
        return "timestamp[ms]" if len(texts[0]) > 10 else "timestamp[s]"
    if kind != "int64":
        return kind if kind.startswith("timestamp[") else None
    value = next((row[name] for row in rows if row.get(name)), 0)
    return "timestamp[ms]" if value > 10**11 else "timestamp[s]" if value > 10**8 else None


def _put_time(inferred: Guess, words: tuple[str, ...], placeholder: str, cursor: str) -> str | None:
    """Put a placeholder into a parameter with a time and one of these words in its name.

    One that has the cursor in its name comes first: others may be of other times.
    """
    pairs = sorted(inferred.params.items(), key=lambda pair: cursor.lower() not in pair[0].lower())
    for name, value in pairs:
        plain = name.removeprefix(inferred.prefix)
        if {*map(str.lower, _WORD.findall(plain)), plain.lower()} & {*words} and written_time(
            value
        ):
            inferred.params[name] = placeholder
            return value
    return None


_NUMBERS = ("{offset}", "{page}")
"""What a number stands for in a URL: ``start=0`` is an offset, ``start=2026-11-01`` is none."""


def _put(inferred: Guess, names: tuple[str, ...], placeholder: str) -> str | None:
    """Put a placeholder into the parameter of one of these names; what stood there."""
    for name, value in inferred.params.items():
        plain = name.lower().removeprefix(inferred.prefix).rstrip("]")
        known = re.sub(r"[^\w$]+", "_", plain) in names and not value.startswith("{")
        number = value.isdecimal() and len(value) < 9
        if known and (number or placeholder not in _NUMBERS):
            inferred.params[name] = placeholder
            return value
    return None


def _joined(*names: str) -> str:
    """A path; the dots in names are theirs."""
    return ".".join(name.replace(".", "\\.") for name in names if name)


def _last(path: str) -> str:
    """The last word of a path."""
    return path.rsplit(".", 1)[-1]


def _scalars(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Scalars outside of lists, with their paths."""
    if isinstance(value, dict):
        for name, item in value.items():
            inner = _joined(name)
            yield from _scalars(item, f"{path}.{inner}" if path else inner)
    elif not isinstance(value, list):
        yield path, value


def _parameter_of(token: str) -> str:
    """The parameter that takes a token of that name: ``pageToken`` for ``nextPageToken``."""
    plain = re.sub(r"^next_?", "", token, flags=re.IGNORECASE)
    plain = plain[:1].lower() + plain[1:]
    return plain if plain.lower() in TOKENS else token


def _is_total(path: str, value: Any, rows: int) -> bool:
    last = _last(path).lower().replace("-", "_")
    if isinstance(value, bool) or last not in _TOTALS:
        return False
    number = str(value)
    return number.isdecimal() and len(number) < 16 and int(number) >= rows


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and _URL.match(value) is not None


def _is_token(path: str, value: Any) -> bool:
    last = _last(path).lower().replace("-", "_")
    known = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return known and not _is_url(value) and (_NEXT.search(last) is not None or last in TOKENS)
