"""What a page's body may be, checked before it is read: cheap looks at its bytes.

What a re-send may fix is ``BadBody`` (the client sends that page again); a byte order mark is
dropped, another charset that the answer names is read, and what is no UTF-8 then becomes U+FFFD,
counted as converted.
"""

import codecs
import re
from array import array
from collections import Counter
from typing import Final

import orjson
import pyarrow as pa

from pipeline.body import Body
from pipeline.errors import CUT, cut_bytes

_BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BLANK: Final = b" \t\r\n"
_NO_UNICODE: Final = "(invalid Unicode)"
"""Counted beside the columns: which of them it was in is not looked for."""


class BadBody(Exception):
    """The body is not JSON, or only a part of it: sending the request again may help."""


class UnexpectedPage(BadBody):
    """JSON, but not what was asked for. It is asked for again, yet the API is up."""


class ThrottledInBody(BadBody):
    """An error in a 200 that says that there were too many requests."""


class ConversionCounts(Counter[str]):
    """How many cells of each column were converted.

    :ivar column: the one that is being read.
    """

    column = ""

    def converted(self, cells: int = 1) -> None:
        """Count cells of the column that is being read."""
        if cells:
            self[self.column] += cells

    def replaced(self, characters: int) -> None:
        """Count characters that are none, in whatever column."""
        if characters:
            self[_NO_UNICODE] += characters


def in_utf8(body: Body, charset: str | None) -> Body:
    """The body in UTF-8, which JSON is (RFC 8259, 8.1): older APIs write what their header says.

    Some say another charset and write UTF-8 all the same, so that what is UTF-8 stays as it is; but
    two or four bytes a character are told by their mark, or believed.

    :param charset: of the Content-Type.
    """
    marked = next((name for mark, name in _WIDE.items() if body[: len(mark)] == mark), None)
    name = marked or (charset or "").lower()
    wide = name.startswith(("utf-16", "utf-32", "utf16", "utf32"))
    if name in ("", "utf-8") or not (wide or not _is_utf8(body)):
        return body
    try:
        return str(body, name).encode()
    except (LookupError, UnicodeError):
        return body


def looks_like_json(body: Body) -> None:
    """Raise BadBody unless the first and last characters can be those of a JSON document."""
    first = (bytes(body[:256]).lstrip(_BLANK + _BOM) or bytes(body).lstrip(_BLANK + _BOM))[:1]
    last = (bytes(body[-256:]).rstrip(_BLANK) or bytes(body).rstrip(_BLANK))[-1:]
    if not first:
        raise BadBody("the body is empty, JSON was expected")
    if first == b"<":
        title = re.search(rb"<title[^>]*>([^<]{1,200})", body[:4096], re.IGNORECASE)
        what = title.group(1).strip() if title else bytes(body[:4096]).lstrip()
        raise BadBody(f"JSON was expected, HTML or XML came: {_text(what)}")
    if first in b"[{" and last != {b"[": b"]", b"{": b"}"}[first]:
        raise BadBody(f"the JSON ends early, after {len(body):,} bytes: {_tail(body)}")
    if first not in b'[{"-0123456789tfnNI':
        raise BadBody(f"JSON was expected, the body starts with {_text(body)}")


def clean_utf8(body: Body, tally: ConversionCounts) -> Body:
    """The body without a byte order mark, invalid UTF-8 replaced by U+FFFD and counted."""
    if body[:3] == _BOM:
        body = body[3:]
    if not _is_utf8(body):
        text = str(body, "utf-8", "replace")
        tally.replaced(text.count("\ufffd") - bytes(body).count("\ufffd".encode()))
        return text.encode()
    return body


def safe_to_infer(body: Body, *, max_depth: int, max_columns: int) -> bool:
    """Whether pyarrow may infer the types: it overflows the stack at depths over 10,000, and takes
    columns × rows of memory for objects that are really maps."""
    try:
        level: list[tuple[int, list[object]]] = [(0, [orjson.loads(body)])]
    except orjson.JSONDecodeError:
        return False
    names = 0
    while level:
        depth, values = level.pop()
        objects = [value for value in values if type(value) is dict]
        keys: set[str] = set().union(*objects)
        names += len(keys)
        if names > max_columns or depth > max_depth:
            return False
        inside = [item for value in values if type(value) is list for item in value]
        nested = [[one[key] for one in objects if _nests(one.get(key))] for key in keys]
        level += [(depth + 1, below) for below in [inside, *nested] if below]
    return True


def _is_utf8(data: Body) -> bool:
    """As ``bytes.decode`` has it, without making the text, and outside the GIL."""
    offsets = pa.py_buffer(array("i", (0, len(data))))
    one = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        one.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _nests(value: object) -> bool:
    return type(value) is dict or type(value) is list


def _text(data: Body) -> str:
    return repr(cut_bytes(data, 80))


def _tail(data: Body) -> str:
    return repr(CUT + str(data[-40:], "utf-8", "replace"))
