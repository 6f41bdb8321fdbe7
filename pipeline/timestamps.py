"""Instants and dates as APIs write them, in whole microseconds since 1970 UTC. Pure functions.

Each raises ValueError if what it gets is not what it reads; the caller says what to do about it.
"""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = {"timestamp[s]": 1_000_000, "timestamp[ms]": 1_000, "timestamp[us]": 1}
_MICROSECOND: Final = timedelta(microseconds=1)
FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND

_DAY_US: Final = 86_400_000_000
_MIDNIGHT: Final = re.compile(r"24(?::?00(?::?00)?)?", re.ASCII)
_LEAP: Final = re.compile(r"(?P<minute>[0-9]{2}:?[0-9]{2}:?)60", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(
    r"(?P<h>[0-9]{2}):(?P<m>[0-9]{2})(?::(?P<s>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?", re.ASCII
)
_ISO: Final = re.compile(
    r"(?P<day>[0-9]{4}-?[0-9]{2}-?[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?)(?:[.,](?P<fraction>[0-9]+))?)?"
    r" ?(?:(?P<offset>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?(?: [A-Z]{2,5})?)(?:\[[\w+/-]+\])?)?",
    re.ASCII | re.IGNORECASE,
)
_DOTNET: Final = re.compile(r"/Date\((?P<ms>-?[0-9]{1,15})(?:[+-][0-9]{4})?\)/", re.ASCII)
_HOURS: Final = {
    **dict.fromkeys(("Z", "UT", "UTC", "GMT", "WET"), 0),
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "AKST": -9,
    "AKDT": -8,
    "HST": -10,
    "WEST": 1,
    "CET": 1,
    "CEST": 2,
    "EET": 2,
    "EEST": 3,
    "MSK": 3,
    "SGT": 8,
    "HKT": 8,
    "AWST": 8,
    "JST": 9,
    "KST": 9,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
}
"""The offset of an abbreviation, hours; those of America are RFC 5322's. BST, IST and others mean
several zones."""
_ABBREVIATION: Final = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,5}(?![A-Za-z])")
_UTC_WORDS: Final = re.compile(
    r"(?<![%A-Za-z])(?:Z|UTC|GMT)(?![A-Za-z])|%[STfRMHd]Z|[+-]00:?00(?!\d)"
)
_ZONE_NAME: Final = re.compile(r"%(?:%|(Z))")


def from_number(text: str, unit_us: int) -> int:
    """A decimal number of units."""
    return in_years(round(Decimal(text) * unit_us))


def from_dotnet(text: str) -> int:
    """``/Date(1795132800000+0100)/``: milliseconds since 1970 UTC; the offset is for display."""
    match = _DOTNET.fullmatch(text)
    if match is None:
        raise ValueError("no date of .NET")
    return in_years(int(match["ms"]) * 1_000)


def has_offset(text: str) -> bool:
    """Whether an ISO 8601 text says its offset from UTC."""
    match = _ISO.fullmatch(text)
    return match is not None and match["offset"] is not None


def from_iso(text: str, zone: tzinfo = UTC) -> tuple[int, bool]:
    """ISO 8601, and whether it had to be changed: digits beyond microseconds are cut, a leap second
    (RFC 3339, 5.7) is the second after it, as in POSIX, and 24:00 the next day's 00:00.

    :param zone: of a text without an offset.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError("not ISO 8601")
    time, fraction = match["time"] or "00", match["fraction"] or ""
    if fraction and len(time.replace(":", "")) < 6:
        raise ValueError("a fraction of an hour or a minute")
    midnight = _MIDNIGHT.fullmatch(time) is not None and not fraction.strip("0")
    time = "00" if midnight else time
    leap = _LEAP.fullmatch(time)
    time = f"{leap['minute']}59" if leap else time
    local = datetime.fromisoformat(f"{match['day']}T{time}").replace(tzinfo=UTC)
    if match["offset"] is None:
        away = local.replace(tzinfo=zone).utcoffset() or timedelta()
    else:
        offset = match["offset"].upper().partition(" ")[0]  # Go: +0000 UTC
        offset = "Z" if offset in ("UTC", "GMT") else offset
        away = datetime.fromisoformat(f"2000-01-01T00:00{offset}").utcoffset() or timedelta()
    micros = (local - EPOCH - away) // _MICROSECOND + int(fraction[:6].ljust(6, "0"))
    if leap and (micros := micros + 1_000_000) % _DAY_US >= 1_000_000:
        raise ValueError("a leap second that does not end a day of UTC")
    micros += _DAY_US if midnight else 0
    return in_years(micros), bool(leap or midnight or fraction[6:].strip("0"))


def says_zone(form: str) -> bool:
    """Whether a format of strptime or strftime has the offset or the zone of its times."""
    return says_utc(form) or bool(re.search(r"(?<!%)(?:%%)*%[zZ]", form))


def says_utc(form: str) -> bool:
    """Whether a format has the words that its times are in UTC: ``%H:%M:%SZ``, ``%H:%M GMT``."""
    return bool(_UTC_WORDS.search(form))


def from_format(text: str, form: str, zone: tzinfo = UTC) -> int:
    """Text in a strptime format.

    :param zone: of a text without an offset (%z) or a zone's abbreviation (%Z).
    """
    zone = UTC if says_utc(form) else zone
    text, form = _with_offset(text, form)
    try:
        parsed = datetime.strptime(text, form)  # noqa: DTZ007 - made aware below
    except re.error:
        raise ValueError("not a strptime format") from None
    away = (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).utcoffset() or timedelta()
    return in_years((parsed.replace(tzinfo=UTC) - EPOCH - away) // _MICROSECOND)


def _with_offset(text: str, form: str) -> tuple[str, str]:
    """The offset in place of an abbreviation: strptime knows those of the machine's zone only.

    :raises ValueError: no abbreviation is known.
    """
    if not any(_ZONE_NAME.findall(form)):
        return text, form
    beside_offset = "%z" in form

    def spelt(directive: re.Match[str]) -> str:
        return directive[0] if not directive[1] else "" if beside_offset else "%z"

    known = [m for m in _ABBREVIATION.finditer(text) if m[0].upper() in _HOURS]
    if not known:
        raise ValueError("no time zone that is known")
    last = known[-1]
    hours = _HOURS[last[0].upper()]
    offset = "" if beside_offset else f"{'-' if hours < 0 else '+'}{abs(hours):02}00"
    return text[: last.start()] + offset + text[last.end() :], _ZONE_NAME.sub(spelt, form)


def read_local(wall: datetime, zone: tzinfo) -> datetime:
    """The instant of a wall-clock time: the first of two, where clocks are set back."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def doubled_hour(instant: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """From when to when the wall clock of a zone shows each time twice, if the instant lies there.

    >>> doubled_hour(datetime(2026, 11, 1, 6, 30, tzinfo=UTC), ZoneInfo("America/Chicago"))
    (datetime(2026, 11, 1, 6, 0, tzinfo=UTC), datetime(2026, 11, 1, 8, 0, tzinfo=UTC))
    """
    wall = instant.astimezone(zone).replace(tzinfo=None)
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    by = (first.utcoffset() or timedelta()) - (second.utcoffset() or timedelta())
    if by <= timedelta(0):
        return None
    low, high = first.astimezone(UTC), second.astimezone(UTC)
    while high - low > _MICROSECOND:
        middle = low + (high - low) // 2
        if middle.astimezone(zone).utcoffset() == first.utcoffset():
            low = middle
        else:
            high = middle
    return high - by, high + by


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
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time of day")
    micros = (match["fraction"] or "").rstrip("0")
    if len(micros) > 6:
        raise ValueError("finer than a microsecond")
    hour, minute, second = int(match["h"]), int(match["m"]), int(match["s"] or 0)
    return time(hour, minute, second, int(micros.ljust(6, "0")))


def in_years(micros: int) -> int:
    """The instant itself, if Python has a datetime for it."""
    if not FIRST_US <= micros <= LAST_US:
        raise OverflowError("its year lies outside 1 to 9999")
    return micros
