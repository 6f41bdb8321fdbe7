"""Text of any format, before it is decoded: its charset, and the errors that a retry may fix.

A byte order mark is dropped, another charset that the response names is read, and bytes that are no
UTF-8 become U+FFFD, counted as converted. The look at a format's own bytes is ``Format.check``.
"""

import codecs
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa

from pipeline.body import Body

BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_UNICODE: Final = "(invalid Unicode)"
"""Counted beside the columns, since the column of a broken character is not known."""


class BadBody(Exception):
    """The body is not of its format, or only a part of it: a retry may help."""


class OtherFormat(BadBody):
    """The body is of another format, as far as its first bytes show: the API is up, and a retry
    helps only where an error page has come in place of rows."""


class UnexpectedPage(BadBody):
    """A body of the right format with another page than the one requested: the API is up."""


class ThrottledInBody(BadBody):
    """An error with status 200 that means too many requests."""


class ConversionCounts(Counter[str]):
    """How many cells of each column were converted.

    :ivar column: the column that is being decoded.
    :ivar naive_columns: those with times without an offset, whose zone nothing says.
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

    def replaced(self, characters: int) -> None:
        """Count characters that are no Unicode, in whatever column."""
        if characters:
            self[_NO_UNICODE] += characters


def in_utf8(body: Body, charset: str | None) -> Body:
    """The body in UTF-8, which JSON is (RFC 8259, 8.1): older APIs write another charset.

    Some APIs name another charset and write UTF-8 all the same, so valid UTF-8 is left as it is. A
    charset of two or four bytes a character is recognized by its mark, or believed.

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


def clean_utf8(body: Body, conversions: ConversionCounts) -> Body:
    """The body without a byte order mark, invalid UTF-8 replaced by U+FFFD and counted."""
    if body[:3] == BOM:
        body = body[3:]
    if not _is_utf8(body):
        text = str(body, "utf-8", "replace")
        conversions.replaced(text.count("\ufffd") - bytes(body).count("\ufffd".encode()))
        return text.encode()
    return body


def _is_utf8(data: Body) -> bool:
    """As ``bytes.decode`` has it, without making the text, and outside the GIL."""
    offsets = pa.py_buffer(array("i", (0, len(data))))
    one = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        one.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
