"""Cell by cell: from a parsed value to a cell of a declared type.

A value that can be kept without loss is converted and counted; any other is ``CellRefused``, never
changed in silence. JSON pages come here only if pyarrow's strict reader refuses them.

    declared       taken as it is       converted, counted           refused, among others
    bool           true, false          -                            "true", 0, 1
    int*, uint*    in range             3.0, 1e3, "5"                3.7, "5.0", "007", out of range
    float, double  a number             "12.5", "NaN", "-Infinity"   "", 2**53 + 1, 1e400
    string         text                 5 (as "5")                   1.5, true, [], {}
    date           "2024-02-29"         -                            a time of day, "29.2.2024"
    time           "12:30:59.5"         -                            a zone, "24:00", nanoseconds
    decimal(p, s)  a number, its text   -                            more digits than p or s
    binary         base64 text          -                            other text
    json           anything             -                            NaN, over 250 levels
    timestamp[s]…  a whole number       1.5, "5", "5.25", 5.0        years outside 1–9999
    timestamp[iso] text                 leap seconds, nanoseconds,   no date, years outside 1–9999
                                        "/Date(5)/"
    timestamp[%…]  text                 -                            another format
    several forms  what one form takes  as that form                 what no form takes
    list, struct   an array, an object  by member                    anything else

A fraction becomes the double nearest to it; a whole number must be held exactly. ``null`` fits all.
In the place of a time an empty text and MySQL's zero date (0000-00-00) are null, and counted.
"""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, time
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from math import isinf
from typing import Final

import pyarrow as pa

from pipeline import timestamps
from pipeline.decode import exact_json
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.exact_json import DuplicateMember, ExactFloat, NotJson
from pipeline.decode.types import INTEGERS, DeclaredType

_WHOLE_OR_PART: Final = "json, or that part of it "

EXACT: Final = {"float": 2**24, "double": 2**53}

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NO_NUMBERS: Final = frozenset(["NaN", "Infinity", "-Infinity", "+Inf", "-Inf"])
"""How JSON of protocol buffers (MLflow) writes what JSON has no number for; and Prometheus."""
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}\.[0-9]{1,30}", re.ASCII)
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,19}", re.ASCII)
_NO_TIME: Final = re.compile(r"\s*|0000-00-00(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?", re.ASCII)
"""How APIs write that there is no time: an empty text (PHP), the zero date (MySQL)."""
_NO: Final = frozenset({"false", "0", "0.0", "no", "n", "off", ""})
_INSTANTS: Final = frozenset(
    {*timestamps.UNITS, "timestamp[iso]", "timestamp[dotnet]", "strptime", "forms", "date"}
)
_ANY_DECIMAL: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII
)
_LONGEST_DECIMAL: Final = 400
_EXACTLY: Final = Context(prec=500, traps=[Inexact, InvalidOperation])
_URL_ALPHABET: Final = str.maketrans("-_", "+/")
_AS_IS: Final[Mapping[str, type]] = {
    "bool": bool,
    "double": float,
    "string": str,
    **dict.fromkeys(INTEGERS, int),
}


class CellRefused(Exception):
    """The value doesn't fit the type without loss. ``row`` is its index in the column."""

    def __init__(self, value: object, reason: str, remedy: str, row: int = -1) -> None:
        super().__init__(reason)
        self.value, self.reason, self.remedy, self.row = value, reason, remedy, row


def column(values: list[object], declared: DeclaredType, conversions: ConversionCounts) -> pa.Array:
    """The values as an array of the declared type.

    :raises CellRefused: names the row that doesn't fit.
    """
    plain = _AS_IS.get(declared.json)
    if plain is not None and {type(value) for value in values} <= {plain, type(None)}:
        try:
            return pa.array(values, declared.arrow)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            pass  # the loop below finds the cell
    cells: list[object] = []
    for row, value in enumerate(values):
        try:
            cells.append(cell(value, declared, conversions))
        except CellRefused as refused:
            refused.row = row
            raise
    return pa.array(cells, declared.arrow)


def cell(value: object, declared: DeclaredType, conversions: ConversionCounts) -> object:
    """The value as pyarrow takes it for the declared type (instants: microseconds since 1970)."""
    if value is None:
        return None
    if isinstance(value, DuplicateMember):
        raise CellRefused(value.first, value.reason, "")
    if isinstance(value, str) and declared.json in _INSTANTS and _NO_TIME.fullmatch(value):
        conversions.converted()
        return None
    return _RULES[declared.json](value, declared, conversions)


def says_no(value: object) -> bool:
    """Whether a value that is there says no, in one of the ways in which APIs write false.

    ``false``, 0, ``"false"``, ``"0"``, ``"no"``, ``"N"``, ``"off"``, ``""``, and the time of what
    has not happened (``"0000-00-00"``).
    """
    if isinstance(value, str) and _NO_TIME.fullmatch(value):
        return True
    return isinstance(value, bool | int | float | str) and str(value).strip().lower() in _NO


def _null(value: object, declared: DeclaredType, conversions: ConversionCounts) -> object:
    raise CellRefused(value, "expected no value", "its type")


def _bool(value: object, declared: DeclaredType, conversions: ConversionCounts) -> bool:
    if isinstance(value, bool):
        return value
    raise CellRefused(value, "expected true or false", _fits(value))


def _mark(value: object, declared: DeclaredType, conversions: ConversionCounts) -> bool:
    if not declared.marks:
        return not says_no(value)
    text = str(value).lower()
    return any(text == str(mark).lower() for mark in declared.marks)


def _int(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    number = _whole(value, conversions)
    if number is None:
        raise CellRefused(value, "expected a whole number", _fits(value))
    bits = int(declared.json.lstrip("uint"))
    low, high = (0, 2**bits) if declared.json[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if not low <= number < high:
        wider = "int64, " if -(2**63) <= number < 2**63 else ""
        wider += "uint64, " if 0 <= number < 2**64 else ""
        raise CellRefused(value, f"{declared.text} goes from {low} to {high - 1}", wider + "string")
    return number


def _whole(value: object, conversions: ConversionCounts) -> int | None:
    """The whole number that a value is, or writes; None if it isn't one."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, str):
        conversions.converted()
        return int(value) if _WHOLE.fullmatch(value) else None
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        conversions.converted()
        return int(value)
    return None


def _real(value: object, declared: DeclaredType, conversions: ConversionCounts) -> float:
    original = value
    if isinstance(value, str) and value in _NO_NUMBERS:
        conversions.converted()
        value = NotJson(value)
    elif isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise CellRefused(original, "expected a number", "string")
        value = int(value) if _WHOLE.fullmatch(value) else ExactFloat(value)
        conversions.converted()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CellRefused(original, "expected a number", _fits(value))
    number = float(pa.scalar(float(value), declared.arrow).as_py()) if _finite(value) else value
    if isinstance(number, int) or (isinf(number) and not isinstance(value, NotJson)):
        raise CellRefused(original, f"the value is beyond the range of {declared.text}", "string")
    if isinstance(value, int) and int(number) != value:
        reason = f"the nearest {declared.text} is {int(number)}"
        raise CellRefused(original, reason, "int64, uint64 or string")
    return number


def _finite(value: float) -> bool:
    try:
        return not isinf(float(value))
    except OverflowError:
        return False


def _string(value: object, declared: DeclaredType, conversions: ConversionCounts) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int and abs(value) < 10**4_000:
        conversions.converted()
        return str(value)
    raise CellRefused(value, "expected text", _fits(value))


def _date(value: object, declared: DeclaredType, conversions: ConversionCounts) -> date:
    try:
        return timestamps.from_day(_as_text(value))
    except ValueError:
        reason = "expected a date like 2024-02-29"
        raise CellRefused(value, reason, "timestamp[iso] or string") from None


def _time(value: object, declared: DeclaredType, conversions: ConversionCounts) -> time:
    try:
        return timestamps.from_time(_as_text(value))
    except ValueError:
        reason = "expected a time of day like 12:30:59, without a zone"
        raise CellRefused(value, reason, "string") from None


def _decimal(value: object, declared: DeclaredType, conversions: ConversionCounts) -> Decimal:
    if isinstance(value, NotJson | bool) or not isinstance(value, str | int | float):
        raise CellRefused(value, "expected a number", _fits(value))
    text = value.text if isinstance(value, ExactFloat) else str(value)
    if len(text) > _LONGEST_DECIMAL or not _ANY_DECIMAL.fullmatch(text):
        raise CellRefused(value, "expected a number", "string")
    number, of = Decimal(text), declared.arrow
    with localcontext(_EXACTLY):
        try:
            exact = number.quantize(Decimal(1).scaleb(-of.scale))
        except (Inexact, InvalidOperation):
            exact = None
    if exact is None or len(exact.as_tuple().digits) > max(of.precision, 1):
        reason = f"expected at most {of.precision} digits, {of.scale} of them behind the point"
        raise CellRefused(value, reason, "decimal with more digits, or string")
    return exact


def _binary(value: object, declared: DeclaredType, conversions: ConversionCounts) -> bytes:
    """Base64 of either alphabet, with or without padding, and without a bit to spare."""
    try:
        text = _as_text(value).translate(_URL_ALPHABET)
        whole = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        decoded = base64.b64decode(whole, validate=True)
        if text not in (whole, whole.rstrip("=")) or base64.b64encode(decoded).decode() != whole:
            raise ValueError("bits that are lost")
    except ValueError:  # binascii.Error is one
        raise CellRefused(value, "expected base64 text", "string") from None
    return decoded


def _json(value: object, declared: DeclaredType, conversions: ConversionCounts) -> str:
    try:
        return exact_json.dump(value)
    except RecursionError:
        raise CellRefused(
            value, "the value is nested too deep to be kept as JSON", "its parts"
        ) from None
    except ValueError as error:
        raise CellRefused(error.args[0], error.args[1], "") from None


def _epoch(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    whole = _whole(value, conversions)
    if whole is None and isinstance(value, float) and abs(value) < 2**53:
        conversions.converted()
        text = value.text if isinstance(value, ExactFloat) else repr(value)
    elif whole is None and isinstance(value, str) and _DECIMAL.fullmatch(value):
        text = value  # _whole has counted it
    elif whole is None or abs(whole) >= 2**64:
        raise CellRefused(value, "expected a number since 1970", _time_that_fits(value, declared))
    else:
        text = str(whole)
    try:
        return timestamps.from_number(text, timestamps.UNITS[declared.json])
    except OverflowError as error:
        raise CellRefused(value, str(error), "timestamp[ms] or timestamp[us]") from None


def _iso(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    try:
        text = _as_text(value)
        if text.startswith("/Date("):
            micros, changed = timestamps.from_dotnet(text), True
        else:
            micros, changed = timestamps.from_iso(text, declared.zone or UTC)
            conversions.naive(not timestamps.has_offset(text))
    except OverflowError as error:
        raise CellRefused(value, str(error), "string") from None
    except ValueError:
        reason = "expected a time like 2024-02-29T12:00:00Z"
        raise CellRefused(value, reason, _time_that_fits(value, declared)) from None
    conversions.converted(changed)
    return micros


def _dotnet(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    try:
        return timestamps.from_dotnet(_as_text(value))
    except OverflowError as error:
        raise CellRefused(value, str(error), "string") from None
    except ValueError:
        reason = "expected a time like /Date(1795132800000+0000)/"
        raise CellRefused(value, reason, _time_that_fits(value, declared)) from None


def _forms(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    """The first form that takes the value; only what that one converts is counted."""
    for _, form in declared.members:
        tried = ConversionCounts()
        tried.column = conversions.column
        try:
            instant = _RULES[form.json](value, form, tried)
        except CellRefused:
            continue
        conversions.update(tried)
        conversions.naive_columns |= tried.naive_columns
        return int(str(instant))
    fitting = _time_that_fits(value, declared).split(",")[0].split(" ")[0]
    forms = [text for text, _ in declared.members]
    remedy = f"[{', '.join([*forms, fitting])}]" if fitting.startswith("timestamp") else "string"
    raise CellRefused(value, "expected one of these forms", remedy)


def _time_that_fits(value: object, declared: DeclaredType) -> str:
    """A type of times that takes the value; all others that a column may have come after it."""
    if isinstance(value, str):
        for kind, reads in _TIMES:
            if kind != declared.json and reads(value):
                return f"{kind}, or string"
        return "timestamp[%…] in the pattern of the values, or string"
    if isinstance(value, int | float) and not isinstance(value, bool):
        too_large = declared.json in timestamps.UNITS
        return "string" if too_large else "timestamp[s] or timestamp[ms], or double"
    return "json"


def _reads(read: Callable[[str], object]) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        try:
            read(value)
        except (ValueError, OverflowError):
            return False
        return True

    return fits


_TIMES: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("timestamp[dotnet]", _reads(timestamps.from_dotnet)),
    ("timestamp[ms]", lambda text: re.fullmatch(r"[0-9]{12,14}(\.[0-9]+)?", text) is not None),
    ("timestamp[s]", lambda text: re.fullmatch(r"-?[0-9]{1,11}(\.[0-9]+)?", text) is not None),
    ("timestamp[iso]", _reads(timestamps.from_iso)),
)
"""Types of times, and whether a text is one of theirs."""


def _strptime(value: object, declared: DeclaredType, conversions: ConversionCounts) -> int:
    try:
        micros = timestamps.from_format(_as_text(value), declared.format, declared.zone or UTC)
        conversions.naive(not timestamps.says_zone(declared.format))
        return micros
    except OverflowError as error:
        raise CellRefused(value, str(error), "string") from None
    except ValueError:
        reason = "expected text in that format"
        if "%Z" in declared.format:
            reason += " (of zones UTC, GMT and abbreviations that mean one zone are known; "
            reason += "else write %z for an offset)"
        raise CellRefused(value, reason, _time_that_fits(value, declared)) from None


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _list(value: object, declared: DeclaredType, conversions: ConversionCounts) -> list[object]:
    if not isinstance(value, list):
        raise CellRefused(value, "expected an array", _fits(value))
    item = declared.members[0][1]
    return [_part(each, item, conversions) for each in value]


def _struct(
    value: object, declared: DeclaredType, conversions: ConversionCounts
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise CellRefused(value, "expected an object", _fits(value))
    return {name: _part(value.get(name), of, conversions) for name, of in declared.members}


def _part(value: object, declared: DeclaredType, conversions: ConversionCounts) -> object:
    """A member of a nested value: what would take it is no type for the whole column."""
    try:
        return cell(value, declared, conversions)
    except CellRefused as refused:
        if refused.remedy and not refused.remedy.startswith(_WHOLE_OR_PART):
            refused.remedy = _WHOLE_OR_PART + refused.remedy
        raise


def _fits(value: object) -> str:
    """Types that would take the value, for the remedy."""
    if isinstance(value, bool):
        return "bool or json"
    if isinstance(value, float):
        return "double or json"
    if isinstance(value, int):
        return "int64 or json"
    return "string or json" if isinstance(value, str) else "json"


_RULES: Final[Mapping[str, Callable[[object, DeclaredType, ConversionCounts], object]]] = {
    "null": _null,
    "bool": _bool,
    "mark": _mark,
    **dict.fromkeys(INTEGERS, _int),
    "float": _real,
    "double": _real,
    "string": _string,
    "date": _date,
    "time": _time,
    "decimal": _decimal,
    "binary": _binary,
    "json": _json,
    **dict.fromkeys(timestamps.UNITS, _epoch),
    "timestamp[iso]": _iso,
    "timestamp[dotnet]": _dotnet,
    "strptime": _strptime,
    "forms": _forms,
    "list": _list,
    "struct": _struct,
}
