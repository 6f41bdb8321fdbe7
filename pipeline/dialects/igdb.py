"""IGDB's dialect: one page as a statement, many pages as one ``/multiquery``. Pure.

Source: https://api-docs.igdb.com/#apicalypse — ``where``, ``sort``, ``limit`` (at most 500) and
``offset``; every statement ends in ``;``. Timestamps are unix seconds.

The response to a multi-query is ``[{"name": …, "result": […]}, {"name": …, "count": N}]``. Its
parts are cut out as bytes, so that each page is parsed once, by the page reader. Names are random:
no text in a row can be mistaken for one.
"""

import json
import math
import re
from collections.abc import Sequence

import orjson

from pipeline.config.endpoint import Endpoint
from pipeline.config.request import Apicalypse
from pipeline.decode.body_checks import BadBody
from pipeline.dialects.placeholders import slice_of
from pipeline.messages import Body
from pipeline.pagination.page import Key, PageRequest
from pipeline.partitions.window import Window

_HEAD = re.compile(rb'\{\s*"name"\s*:\s*$')
_VALUE = re.compile(rb'\s*,\s*"(result|count)"\s*:\s*')


def statement(endpoint: Endpoint, request: Apicalypse, window: Window, page: PageRequest) -> str:
    """The query of one page."""
    parts = [f"fields {request.fields};"]
    if request.exclude:
        parts.append(f"exclude {request.exclude};")
    where = condition(endpoint, request, window, page)
    if where:
        parts.append(f"where {where};")
    direction = "desc" if endpoint.order == "descending" else "asc"
    parts.append(f"sort {endpoint.key[0]} {direction}; limit {page.limit};")
    if page.offset:
        parts.append(f"offset {page.offset};")
    return " ".join(parts)


def condition(endpoint: Endpoint, request: Apicalypse, window: Window, page: PageRequest) -> str:
    """The condition that rows of this page meet; empty if every row does.

    ``&`` binds tighter than ``|``, so that every part that holds ``|`` stands in parentheses.
    """
    parts: list[str] = []
    if endpoint.cursor is not None:
        parts.append(_in_window(endpoint.cursor, window, page))
    onward, back = ("<", ">") if endpoint.order == "descending" else (">", "<")
    if page.after is not None:
        parts.append(f"{endpoint.key[0]} {onward} {_literal(page.after)}")
    if page.before is not None:
        parts.append(f"{endpoint.key[0]} {back} {_literal(page.before)}")
    if request.where:
        parts.append(f"({request.where})")
    return " & ".join(parts)


def _in_window(cursor: str, window: Window, page: PageRequest) -> str:
    """Whole seconds: a bound between two seconds is moved up, since cursors are whole."""
    start, end = slice_of(window, page)
    before = f"{cursor} < {math.ceil(end.timestamp())}"
    if start is None:
        return f"({before} | {cursor} = null)"
    return f"{cursor} >= {math.ceil(start.timestamp())} & {before}"


def _literal(key: Key) -> str:
    return json.dumps(key, ensure_ascii=False)


def multiquery(queries: Sequence[tuple[str, str, bytes]]) -> bytes:
    """The body of one request for many pages.

    :param queries: path (``games`` or ``games/count``), name and statement of each page.
    """
    blocks = [
        f'query {path} "{name}" {{ '.encode() + statement + b" };"
        for path, name, statement in queries
    ]
    return b"\n".join(blocks)


def split(body: bytes | bytearray, names: Sequence[str]) -> list[Body]:
    """The body of each page, in the order of the names: views of what came, where they can be.

    A count is ``{"count": N}``.

    :raises BadBody: a part is missing, or the body is not JSON.
    """
    return _cut(body, names) or _parsed(body, names)


def _cut(body: bytes | bytearray, names: Sequence[str]) -> list[Body] | None:
    """By position, without parsing; None if the body is not laid out as expected."""
    marks: list[tuple[int, int, int]] = []
    at = 0
    for index, name in enumerate(names):
        quoted = b'"%s"' % name.encode()
        at = body.find(quoted, at)  # in the order that was asked for they are all found in one pass
        if at < 0 and (at := body.find(quoted)) < 0:
            return None
        head = _HEAD.search(body, max(0, at - 64), at)
        if head is None:
            return None
        marks.append((head.start(), at + len(name) + 2, index))
    marks.sort()
    view = memoryview(body)
    ends = [start for start, _, _ in marks[1:]] + [len(body)]
    bodies: list[Body] = [b""] * len(names)
    for (_, after, index), end in zip(marks, ends, strict=True):
        value = _VALUE.match(body, after)
        close = body.rfind(b"}", after, end)
        if value is None or close < 0:
            return None
        begin, last = value.end(), body.rfind(b"]", value.end(), close) + 1
        if value.group(1) == b"count":
            bodies[index] = b'{"count":' + body[begin:close].strip() + b"}"
        elif body[begin : begin + 1] == b"[" and not body[last:close].strip():
            bodies[index] = view[begin:last]
        else:
            return None
    return bodies


def _parsed(body: bytes | bytearray, names: Sequence[str]) -> list[Body]:
    try:
        parts = {part["name"]: part for part in orjson.loads(body)}
        return [_body(parts[name]) for name in names]
    except (ValueError, TypeError, KeyError):
        raise BadBody("the response to a multi-query is not JSON, or lacks a part") from None


def _body(part: dict[str, object]) -> bytes:
    if "count" in part:
        return orjson.dumps({"count": part["count"]})
    return orjson.dumps(part["result"])
