"""IGDB's query language: one page as a statement, many pages as one ``/multiquery``.

Source: https://api-docs.igdb.com/#apicalypse — ``where``, ``sort``, ``limit`` (at most 500) and
``offset``; every statement ends in ``;``. Timestamps are unix seconds.
"""

import json
import math

from pipeline.config.endpoint import Endpoint
from pipeline.config.request import Apicalypse
from pipeline.pagination.pagers import Key, PageRequest
from pipeline.pagination.window_format import slice_of
from pipeline.partitions.window import Window


def statement(endpoint: Endpoint, request: Apicalypse, window: Window, ask: PageRequest) -> str:
    """The query of one page."""
    parts = [f"fields {request.fields};"]
    if request.exclude:
        parts.append(f"exclude {request.exclude};")
    where = condition(endpoint, request, window, ask)
    if where:
        parts.append(f"where {where};")
    direction = "desc" if endpoint.order == "descending" else "asc"
    parts.append(f"sort {endpoint.key[0]} {direction}; limit {ask.limit};")
    if ask.offset:
        parts.append(f"offset {ask.offset};")
    return " ".join(parts)


def condition(endpoint: Endpoint, request: Apicalypse, window: Window, ask: PageRequest) -> str:
    """The condition that rows of this page meet; empty if every row does.

    ``&`` binds tighter than ``|``, so that every part that holds ``|`` stands in parentheses.
    """
    parts: list[str] = []
    if endpoint.cursor is not None:
        parts.append(_in_window(endpoint.cursor, window, ask))
    onward, back = ("<", ">") if endpoint.order == "descending" else (">", "<")
    if ask.after is not None:
        parts.append(f"{endpoint.key[0]} {onward} {_literal(ask.after)}")
    if ask.before is not None:
        parts.append(f"{endpoint.key[0]} {back} {_literal(ask.before)}")
    if request.where:
        parts.append(f"({request.where})")
    return " & ".join(parts)


def _in_window(cursor: str, window: Window, ask: PageRequest) -> str:
    """Whole seconds: a bound between two seconds is moved up, since cursors are whole."""
    start, end = slice_of(window, ask)
    before = f"{cursor} < {math.ceil(end.timestamp())}"
    if start is None:
        return f"({before} | {cursor} = null)"
    return f"{cursor} >= {math.ceil(start.timestamp())} & {before}"


def _literal(key: Key) -> str:
    return json.dumps(key, ensure_ascii=False)
