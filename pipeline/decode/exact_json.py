"""JSON to Python and back with nothing lost, for pages that pyarrow's strict reader refuses.

    in the body                           ``parse`` makes of it
    lone surrogates                       U+FFFD, counted as converted
    raw control characters in text        kept as they are
    whole numbers of any size             int, exact
    1e400, 0.12345678901234567890         ExactFloat: the nearest double, and the text
    NaN, Infinity, -Infinity              NotJson: a float; fits float and double only
    a key twice in one object             the value if both are the same, else ``DuplicateMember``
    more levels than Python recurses      TooDeep (1,000 and more)

``dump`` writes what ``parse`` read: numbers keep their text, objects their order.
"""

import json
import re
from dataclasses import dataclass
from math import isinf
from typing import Final

import orjson

from pipeline.decode.body_checks import ConversionCounts, CutShort, Malformed
from pipeline.errors import cut
from pipeline.messages import Body

_LONE: Final = re.compile("[\ud800-\udfff]")
_MAX_DIGITS: Final = 4_000


class TooDeep(Exception):
    """Nested deeper than the parser goes."""


class ExactFloat(float):
    """A number whose text says more than the double nearest to it."""

    text: str

    def __new__(cls, text: str) -> "ExactFloat":
        self = super().__new__(cls, text)
        self.text = text
        return self


class NotJson(float):
    """NaN or an infinity: Python and JavaScript write them, JSON has no such number."""


@dataclass(frozen=True)
class DuplicateMember:
    """A mark in place of the values of a key that one object holds twice, with different values."""

    first: object
    second: object

    @property
    def reason(self) -> str:
        return f"the key occurs twice in its object, also with {shorten(self.second)}"


def parse(body: Body, conversions: ConversionCounts) -> object:
    """The body's value, exactly, as the table above says. BadBody if it is not JSON, TooDeep."""
    text = str(body, "utf-8")
    try:
        try:
            value = _DECODER.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a whole number of more digits than Python's int() takes
            value = _LONG_DECODER.decode(text)
        return _scrub(value, conversions) if r"\ud" in text or r"\uD" in text else value
    except json.JSONDecodeError as error:
        nearby = error.doc[max(0, error.pos - 20) : error.pos + 20]
        kind = CutShort if error.pos >= len(error.doc.rstrip()) else Malformed
        raise kind(f"not JSON: {error.msg} at character {error.pos:,}, near {nearby!r}") from None
    except RecursionError:
        raise TooDeep from None


def spelled(body: Body) -> object:
    """The value of a body that ``parse`` reads, in which each number with a point has its text."""
    return _SPELLING.decode(str(body, "utf-8"))


def dump(value: object) -> str:
    """The JSON text of a parsed value. ValueError(part, reason) if JSON can't say it."""
    try:
        return orjson.dumps(value, default=_verbatim).decode()
    except orjson.JSONEncodeError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
    try:
        return orjson.dumps(_big_as_text(value), default=_verbatim).decode()
    except orjson.JSONEncodeError:
        raise RecursionError from None


def shorten(value: object, limit: int = 80) -> str:
    """A value for an error's text: its JSON, cut."""
    if isinstance(value, DuplicateMember):
        value = value.first
    if isinstance(value, ExactFloat):
        text = value.text
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, RecursionError):
            text = f"a large {type(value).__name__}"
    text = _LONE.sub("\ufffd", text)
    return cut(text, limit)


def _verbatim(value: object) -> orjson.Fragment:
    if isinstance(value, ExactFloat):
        return orjson.Fragment(value.text)
    if isinstance(value, DuplicateMember):
        raise ValueError(value.first, value.reason)
    raise ValueError(value, "JSON has no such number")


def _big_as_text(value: object) -> object:
    """orjson writes whole numbers of up to 64 bits."""
    if isinstance(value, list):
        return [_big_as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: _big_as_text(item) for key, item in value.items()}
    big = isinstance(value, int) and not -(2**63) <= value < 2**64
    return orjson.Fragment(str(value)) if big else value


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        members = {}
        for key, value in pairs:
            same = key not in members or repr(members[key]) == repr(value)
            members[key] = value if same else DuplicateMember(members[key], value)
    return members


def _float(text: str) -> float:
    number = float(text)
    if isinf(number) or (len(text) > 16 and repr(number) != text):
        return ExactFloat(text)
    return number


def _int(text: str) -> float | int:
    return int(text) if len(text) < _MAX_DIGITS else ExactFloat(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_float, parse_constant=NotJson, strict=False
)
_LONG_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_float,
    parse_int=_int,
    parse_constant=NotJson,
    strict=False,
)
_SPELLING: Final = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=ExactFloat,
    parse_int=_int,
    parse_constant=NotJson,
    strict=False,
)


def _scrub(value: object, conversions: ConversionCounts) -> object:
    if isinstance(value, str):
        clean, lone = _LONE.subn("\ufffd", value)
        conversions.replaced(lone)
        return clean
    if isinstance(value, list):
        return [_scrub(item, conversions) for item in value]
    if isinstance(value, dict):
        return _pairs(
            [(str(_scrub(k, conversions)), _scrub(v, conversions)) for k, v in value.items()]
        )
    return value
