"""Instants and dates as APIs write them, in whole microseconds since 1970 UTC. Pure functions.

Each raises ValueError if what it gets is not what it reads; the caller says what to do about it.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = {"timestamp[s]": 1_000_000, "timestamp[ms]": 1_000, "timestamp[us]": 1}
_MICROSECOND: Final = timedelta(microseconds=1)
FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND

_DAY_US: Final = 86_400_000_000
_LEAP: Final = re.compile(r"(?P<minute>[0-9]{2}:?[0-9]{2}:?)60", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(
    r"(?P<h>[0-9]{2}):(?P<m>[0-9]{2})(?::(?P<s>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?", re.ASCII
)
_ISO: Final = re.compile(
    r"(?P<day>[0-9]{4}-?[0-9]{2}-?[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?)(?:[.,](?P<fraction>[0-9]+))?)?"
    r" ?(?P<offset>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII | re.IGNORECASE,
)


def from_number(text: str, unit_us: int) -> int:
    """A decimal number of units."""
    return in_years(round(Decimal(text) * unit_us))


def from_iso(text: str) -> tuple[int, bool]:
    """ISO 8601, and whether it had to be changed: digits beyond microseconds are cut, and a leap
    second (RFC 3339, 5.7) is the second after it, as in POSIX. Without an offset it is UTC.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError("not ISO 8601")
    time, fraction = found["time"] or "00", found["fraction"] or ""
    if fraction and len(time.replace(":", "")) < 6:
        raise ValueError("a fraction of an hour or a minute")
    leap = _LEAP.fullmatch(time)
    time = f"{leap['minute']}59" if leap else time
    local = datetime.fromisoformat(f"{found['day']}T{time}").replace(tzinfo=UTC)
    offset = (found["offset"] or "Z").upper()
    away = datetime.fromisoformat(f"2000-01-01T00:00{offset}").utcoffset() or timedelta()
    micros = (local - EPOCH - away) // _MICROSECOND + int(fraction[:6].ljust(6, "0"))
    if leap and (micros := micros + 1_000_000) % _DAY_US >= 1_000_000:
        raise ValueError("a leap second that does not end a day of UTC")
    return in_years(micros), bool(leap or fraction[6:].strip("0"))


def from_format(text: str, form: str) -> int:
    """Text in a strptime format. Without %z it is UTC."""
    try:
        parsed = datetime.strptime(text, form)  # noqa: DTZ007 - made aware below
    except re.error:
        raise ValueError("not a strptime format") from None
    away = parsed.utcoffset() or timedelta()
    return in_years((parsed.replace(tzinfo=UTC) - EPOCH - away) // _MICROSECOND)


def as_iso(instant: datetime) -> str:
    """An aware instant as ISO 8601 in UTC, with a Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def from_day(text: str) -> date:
    """A day, like 2024-02-29."""
    if _DATE.fullmatch(text) is None:
        raise ValueError("not a day")
    return date.fromisoformat(text)


def from_time(text: str) -> time:
    """A time of day, to the microsecond and without a zone, like 12:30 or 12:30:59.25."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time of day")
    micros = (found["fraction"] or "").rstrip("0")
    if len(micros) > 6:
        raise ValueError("finer than a microsecond")
    hour, minute, second = int(found["h"]), int(found["m"]), int(found["s"] or 0)
    return time(hour, minute, second, int(micros.ljust(6, "0")))


def in_years(micros: int) -> int:
    """The instant itself, if Python has a datetime for it."""
    if not FIRST_US <= micros <= LAST_US:
        raise OverflowError("its year lies outside 1 to 9999")
    return micros
