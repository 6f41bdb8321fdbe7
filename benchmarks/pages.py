"""The rows of the bench's API, and its answers to statements. Pure; as cheap as can be.

The rows are the emulator's games. So many are made once and held as bytes without their id; beyond
that they repeat under new ids, so that any number of rows takes little time and memory.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

import orjson

from emulator.data import RowMaker, ids_of
from emulator.schema import ENDPOINTS, sizes

MADE = 20_000
UPDATED_S = 1_700_000_000

_QUERY = re.compile(rb'query\s+([\w/]+)\s+"([^"]+)"\s*\{(.*?)\};', re.DOTALL)
_AFTER = re.compile(rb"\bid\s*>\s*(\d+)")
_BEFORE = re.compile(rb"\bid\s*<\s*(\d+)")
_LIMIT = re.compile(rb"\blimit\s+(\d+)")
_OFFSET = re.compile(rb"\boffset\s+(\d+)")


@dataclass(frozen=True)
class Rows:
    """``ids`` rise; row ``i`` is ``{"id":<id>`` and then ``rests[i % len(rests)]``."""

    ids: list[int]
    rests: list[bytes]


def make(count: int) -> Rows:
    maker = RowMaker(ENDPOINTS["games"], 0, sizes(count))
    rests = []
    for id_ in ids_of(min(count, MADE)):
        body = orjson.dumps(maker.make(id_, UPDATED_S + id_ % 1_000_000))
        rests.append(body.removeprefix(b'{"id":%d' % id_))
    return Rows(ids_of(count), rests)


def page(rows: Rows, statement: bytes) -> tuple[bytes, int]:
    """The page of a statement: ids above and below, offset and limit; sorted by id."""
    ids, rests = rows.ids, rows.rests
    start, end = _span(rows, statement)
    start += _number(_OFFSET, statement, 0)
    end = min(end, start + _number(_LIMIT, statement, 10))
    if b"fields id;" in statement:
        found = [b'{"id":%d}' % id_ for id_ in ids[start:end]]
    else:
        many = len(rests)
        found = [b'{"id":%d%b' % (ids[i], rests[i % many]) for i in range(start, end)]
    return b"[" + b",".join(found) + b"]", len(found)


def count(rows: Rows, statement: bytes) -> bytes:
    start, end = _span(rows, statement)
    return b'{"count":%d}' % (end - start)


def many(rows: Rows, body: bytes) -> tuple[bytes, int]:
    """The answer to a multi-query."""
    found, total = [], 0
    for path, name, statement in _QUERY.findall(body):
        if path.endswith(b"/count"):
            found.append(b'{"name":"%b",%b' % (name, count(rows, statement)[1:]))
        else:
            text, number = page(rows, statement)
            total += number
            found.append(b'{"name":"%b","result":%b}' % (name, text))
    return b"[" + b",".join(found) + b"]", total


def _span(rows: Rows, statement: bytes) -> tuple[int, int]:
    after, before = _AFTER.search(statement), _BEFORE.search(statement)
    start = bisect_right(rows.ids, int(after.group(1))) if after else 0
    end = bisect_right(rows.ids, int(before.group(1)) - 1) if before else len(rows.ids)
    return start, max(start, end)


def _number(pattern: re.Pattern[bytes], statement: bytes, default: int) -> int:
    found = pattern.search(statement)
    return int(found.group(1)) if found else default
