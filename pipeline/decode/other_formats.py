"""Bodies of another format than the one expected, recognized by their first bytes. Pure.

A retry brings the same format again, so such a body is told at once and by its name. Who expects
one of these formats never looks here: a format is looked for where a body could not be read.
"""

import re
from typing import Final

from pipeline.body import Body
from pipeline.decode.body_checks import BOM, OtherFormat
from pipeline.errors import cut_bytes

_BINARY: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "ZIP"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"(\xb5/\xfd", "zstd"),
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "Avro"),
    (b"%PDF", "PDF"),
    (b"SQLite format 3", "SQLite"),
)
_PACKED: Final = ("gzip", "ZIP", "bzip2", "xz", "zstd")
_LOOKED_AT: Final = 65_536
_LINES: Final = re.compile(rb"[}\]][ \t\r]*\n[ \t\r\n]*[{\[]")
"""Between two values, and nowhere inside of one: JSON's texts have no bare line's end."""
_TOGETHER: Final = re.compile(rb"\A\s*\{[^{}\[\]]*\}\s*\{")
_STREAM: Final = re.compile(rb"\A(data|event|id|retry):[ \w{\[]")
_CALL: Final = re.compile(rb"\A(/\*\*/)?[\w$.]{1,100}\(\s*[\[{]")
_GUARD: Final = re.compile(rb"\A(\)\]\}'|while\s*\(1\);|for\s*\(;;\);)")
_TITLE: Final = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


def other_format(body: Body) -> str | None:
    """The name of a format that a body has, and that is no JSON; None if none is recognized.

    >>> other_format(b"id,name\\n1,ada\\n2,bob\\n")
    'CSV'
    """
    start = bytes(body[:_LOOKED_AT])
    for mark, name in _BINARY:
        if start.startswith(mark):
            return name
    text = start.removeprefix(BOM).lstrip()
    if text.startswith(b"<"):
        html = re.match(rb"<(!doctype html|html|head|body)", text, re.IGNORECASE)
        return "HTML" if html else "XML or HTML"
    if text.startswith(b"\x1e"):
        return "a JSON text sequence"
    if text[:1] in b"{[" and (_LINES.search(body) or _TOGETHER.search(text)):
        return "JSON Lines (NDJSON), one JSON document a line"
    for form, name in (
        (_STREAM, "a stream of server-sent events"),
        (_CALL, "JSONP, JSON inside a call of a function"),
        (_GUARD, "JSON behind a guard against scripts"),
    ):
        if form.match(text):
            return name
    return "CSV" if _is_csv(text) else None


def refuse_other_format(body: Body, expected: str) -> None:
    """:raises OtherFormat: the body has a format that is recognized, and is not the expected one.

    :param expected: its name, such as ``JSON``.
    """
    name = other_format(body)
    if name is None:
        return
    found = f"the body is {name}"
    if "HTML" in name:
        title = _TITLE.search(bytes(body[:4096]))
        found = f"the body is HTML or XML: {_start_of(title[1].strip() if title else body)}"
    elif name not in dict(_BINARY).values():
        found += f": it starts with {_start_of(body)}"
    checks = ["`base_url` and `path`", "whether the API has JSON by a parameter or by `Accept`"]
    if name in _PACKED:
        checks.append("whether the API says `Content-Encoding` of a body that it compresses")
    else:
        checks.append("`format`, if Headrace reads this one")
    numbered = "; ".join(f"{number}. {check}" for number, check in enumerate(checks, 1))
    raise OtherFormat(f"expected {expected}, {found}. Check: {numbered}")


def _is_csv(text: bytes) -> bool:
    """Lines of as many separators each, the first of which has no quotes of JSON around names."""
    lines = [line for line in text.splitlines()[:4] if line.strip()]
    if len(lines) < 2 or lines[0][:1] in b"{[<":
        return False
    first, second = lines[0], lines[1]
    return any(
        first.count(mark) and first.count(mark) == re.sub(rb'"[^"]*"', b"", second).count(mark)
        for mark in (b",", b";", b"\t", b"|")
    )


def _start_of(data: Body) -> str:
    return repr(cut_bytes(data, 80))
