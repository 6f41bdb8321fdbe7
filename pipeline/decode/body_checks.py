"""A body before it is decoded: its charset and its format.

A byte order mark is dropped, another charset that the response names is read, and bytes that are no
UTF-8 become U+FFFD, counted as converted. ``Format.check`` looks at a format's own bytes.

*Other formats* are recognized by their first bytes. A retry brings the same format again, so such a
body is an error at once, by the name of its format. An endpoint that expects one of these formats
never looks here: a format is looked for where a body could not be read.
"""

import codecs
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import pyarrow as pa

from pipeline.errors import cut_bytes, numbered
from pipeline.messages import Body

BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_UTF8: Final = "(invalid UTF-8)"
_NO_UNICODE: Final = "(invalid Unicode)"
"""Characters that a body's bytes or its escapes can't say, counted beside the columns: theirs are
not known."""


class BadBody(Exception):
    """The body is not of its format, or only a part of it: a retry may help.

    :ivar checks: what to check if no retry helps.
    """

    checks: ClassVar[tuple[str, ...]] = (
        "`base_url` and `path`",
        "`format`",
        "whether another client gets a body",
    )


class EmptyBody(BadBody):
    """There is no body."""

    checks = (*BadBody.checks, "`answers: {empty: [200]}`, if no body means no rows")


class CutShort(BadBody):
    """The body is of its format, and ends early: it was cut on its way, as by a lost connection."""


class Malformed(BadBody):
    """The body is broken in its middle: the API has written it so, if the same bytes come again."""


class OtherFormat(BadBody):
    """The body is of another format, as far as its first bytes show: the API is up, and a retry
    helps only where an error page has come in place of rows."""


class UnexpectedPage(BadBody):
    """A body of the right format with another page than the one requested: the API is up."""


class SignedOutInBody(BadBody):
    """An error with status 200 that means a dead token."""


class ThrottledInBody(BadBody):
    """An error with status 200 that means too many requests."""


class ConversionCounts(Counter[str]):
    """How many cells of each column were converted.

    :ivar column: the column that is being decoded.
    :ivar naive_columns: those with times without an offset.
    """

    def __init__(self, counts: Iterable[str] | Mapping[str, int] | None = None) -> None:
        super().__init__(counts)
        self.column = ""
        self.naive_columns: frozenset[str] = frozenset()

    def converted(self, cells: int = 1) -> None:
        """Count cells of the column that is being decoded."""
        if cells:
            self[self.column] += cells

    def naive(self, cells: int = 1) -> None:
        """Note that times of the column that is being decoded have no offset."""
        if cells:
            self.naive_columns |= {self.column}

    def with_those_of(self, other: "ConversionCounts") -> "ConversionCounts":
        """Both together."""
        both = ConversionCounts(self + other)
        both.naive_columns = self.naive_columns | other.naive_columns
        return both

    def replaced(self, characters: int, *, are: str = _NO_UNICODE) -> None:
        """Count characters that are replaced by U+FFFD, in whatever column."""
        if characters:
            self[are] += characters


def in_utf8(body: Body, charset: str | None) -> Body:
    """The body in UTF-8, which JSON is (RFC 8259, 8.1): older APIs write another charset.

    Some APIs name another charset and write UTF-8 all the same, so valid UTF-8 is left as it is. A
    charset of two or four bytes a character is recognized by its mark or by JSON's first bracket,
    or believed.

    :param charset: of the Content-Type.
    """
    marked = next((name for mark, name in _WIDE.items() if body[: len(mark)] == mark), None)
    name = marked or _wide_json(body) or (charset or "").lower()
    wide = name.startswith(("utf-16", "utf-32", "utf16", "utf32"))
    if name in ("", "utf-8") or not (wide or not _is_utf8(body)):
        return body
    try:
        return str(body, name).encode()
    except (LookupError, UnicodeError):
        return body


def _wide_json(body: Body) -> str | None:
    """UTF-16 without a mark: JSON begins in ASCII, and has no NUL (RFC 4627, 3)."""
    start = bytes(body[:2])
    if len(start) < 2 or len(body) % 2:
        return None
    return {b"[\0": "utf-16-le", b"{\0": "utf-16-le", b"\0[": "utf-16-be", b"\0{": "utf-16-be"}.get(
        start
    )


def clean_utf8(body: Body, conversions: ConversionCounts) -> Body:
    """The body without a byte order mark, invalid UTF-8 replaced by U+FFFD and counted."""
    if body[:3] == BOM:
        body = body[3:]
    if not _is_utf8(body):
        text = str(body, "utf-8", "replace")
        broken = text.count("\ufffd") - bytes(body).count("\ufffd".encode())
        conversions.replaced(broken, are=NO_UTF8)
        return text.encode()
    return body


def _is_utf8(data: Body) -> bool:
    """As ``bytes.decode`` has it, without making the text, and outside the GIL."""
    offsets = pa.py_buffer(array("i", (0, len(data))))
    as_binary = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        as_binary.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


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


_FORMATS: Final = {
    "CSV": ("`format: csv`, which reads it",),
    "JSON Lines (NDJSON), one JSON document a line": ("`format: jsonl`, which reads it",),
    "HTML": ("whether the credentials are right: without them an API may send its login page",),
}
"""What else to check, by the format."""


def refuse_other_format(body: Body, expected: str) -> None:
    """:raises OtherFormat: the body has a format that is recognized, and is not the expected one.

    :param expected: its name, such as ``JSON``.
    """
    name = other_format(body)
    if name is None:
        return
    description = f"the body is {name}"
    if "HTML" in name:
        title = _TITLE.search(bytes(body[:4096]))
        description = f"the body is HTML or XML: {_start_of(title[1].strip() if title else body)}"
    elif name not in dict(_BINARY).values():
        description += f": it starts with {_start_of(body)}"
    checks = ["`base_url` and `path`", "whether the API has JSON by a parameter or by `Accept`"]
    if name in _PACKED:
        checks.append("whether the API says `Content-Encoding` of a body that it compresses")
    else:
        checks.extend(_FORMATS.get(name, ()))
    raise OtherFormat(f"expected {expected}, {description}. Check: {numbered(checks)}")


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
