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
    (b"ARROW1", "Arrow"),
    (b"ORC", "ORC"),
    (b"\xd0\xcf\x11\xe0", "a file of Office (.xls, .doc)"),
    (b"7z\xbc\xaf", "7z"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1d\x1f\x7f]")
"""Control characters, which no text has at its begin."""
_PACKED: Final = ("gzip", "ZIP", "bzip2", "xz", "zstd", "zlib (deflate)", "LZ4", "Snappy", "7z")
_LOOKED_AT: Final = 65_536
_LINES: Final = re.compile(rb"[}\]][ \t\r]*\n[ \t\r\n]*[{\[]")
"""Between two values, and nowhere inside of one: JSON's texts have no bare line's end."""
_TOGETHER: Final = re.compile(rb"\A\s*\{[^{}\[\]]*\}\s*\{")
_STREAM: Final = re.compile(rb"\A(data|event|id|retry):[ \w{\[]")
_CALL: Final = re.compile(rb"\A(/\*\*/)?[\w$.]{1,100}\(\s*[\[{]")
_YAML: Final = re.compile(
    rb"\A(---[ \t]*\r?\n|- [\w-]+:( |\r?\n)|[\w-]+:[ \t]*\r?\n[ ]*- )", re.ASCII
)
_LITERAL: Final = re.compile(rb"\A[\[{\s]*('|[A-Za-z_$][\w$]*\s*:)")
_COMMENT: Final = re.compile(rb"\A(//|/\*)")
_SCRIPT: Final = re.compile(rb"\A(var|let|const|window\.)\s*[\w$.]+\s*=")
_MULTIPART: Final = re.compile(rb"\A--[^\r\n]{1,70}\r?\n(Content-|\r?\n)", re.IGNORECASE)
_BASE64: Final = re.compile(rb"\A(eyJ|W3si|WyJ|W1)[\w+/=.\r\n-]*\Z", re.ASCII)
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
    if start[:2] in _ZLIB:
        return "zlib (deflate)"
    if start[257:262] == b"ustar":
        return "tar"
    if start[1:2] == b"\x00" and start[:1] in b"[{":
        return "text in UTF-16 that does not say so"
    if _NO_TEXT.search(start[:100]):
        return "no text, but binary, as MessagePack and Protocol Buffers are"
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
        (_SCRIPT, "a script in JavaScript"),
        (_COMMENT, "JSON with comments"),
        (_MULTIPART, "multipart (MIME)"),
        (_YAML, "YAML"),
        (_BASE64, "base64"),
        (_LITERAL, "a literal of Python or JavaScript, which is no JSON: its quotes are others"),
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
