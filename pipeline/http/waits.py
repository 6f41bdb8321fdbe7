"""How long a header says to wait: seconds, a duration, or an instant, in any common form. Pure.

================================  ==============================================================
form                              e.g.
================================  ==============================================================
seconds                           ``30``, ``0.5``
epoch, in s, ms, µs or ns         ``1795132800``: no quota takes thirty years
duration                          ``17s``, ``6m0s``, ``1.5 min``, ``0:01:30``, ISO 8601's ``PT17S``
date (RFC 9110) or ISO 8601       ``Thu, 05 Nov 2026 13:01:30 GMT``, ``2026-11-05T13:01:30Z``
================================  ==============================================================

An instant is read by the clock of the API, which the ``Date`` of the same response shows: the two
clocks may be hours apart.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

AGREE_S: Final = 2.0
"""Clocks that differ by less agree: ``Date`` has whole seconds, and took its time to come."""
WHOLE_S: Final = 1.0
"""What an instant without a fraction may lack: the API has cut it off."""
_PIECE: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
    r"(?![a-zA-Z])[\s,]*",
    re.IGNORECASE,
)
_ISO: Final = re.compile(r"P(?=[\dT])(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_CLOCK: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d\d(?:\.\d+)?)")
_EPOCHS: Final = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From which number on an epoch has so many units a second."""
_UNIT_S: Final = {"ms": 0.001, "mi": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def wait_in(
    text: str, headers: Mapping[str, str], now: Callable[[], datetime], *, surely: bool = False
) -> float | None:
    """Seconds from now that a header names, also if they are over; None: it names none.

    :param headers: of the same response, names in lower case.
    :param surely: an instant has come only when the second after it has.
    """
    number = number_in(text)
    if number is not None and (abs(number) < 1e9 or math.isinf(number)):
        return number
    if number is not None:
        unit = next((unit for least, unit in _EPOCHS if number > least), 1.0)
        return _until(number / unit, headers, now, surely)
    if (seconds := duration_in(text)) is not None:
        return seconds
    at = instant_in(text)
    return None if at is None else _until(at.timestamp(), headers, now, surely)


def number_in(text: str) -> float | None:
    """A number by itself, or before the parameters of a structured header: ``100;w=60``."""
    try:
        number = float(re.split(r"[;,]", text, maxsplit=1)[0])
    except ValueError:
        return None
    return None if math.isnan(number) else number


def duration_in(text: str) -> float | None:
    """Seconds of a duration with units."""
    text = text.strip()[:100]
    if iso := _ISO.fullmatch(text.upper()):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return days * 86_400 + hours * 3600 + minutes * 60 + seconds
    if by_clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in by_clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    pieces = list(_PIECE.finditer(text))
    if not pieces or "".join(piece[0] for piece in pieces) != text:
        return None
    return sum(float(piece[1]) * _unit_s(piece[2].lower()) for piece in pieces)


def _unit_s(unit: str) -> float:
    if unit.startswith("mil"):
        return _UNIT_S["ms"]
    return _UNIT_S.get(unit[:2]) or _UNIT_S[unit[:1]]


def instant_in(text: str) -> datetime | None:
    """An instant as a date of HTTP or of ISO 8601; without a zone it is UTC."""
    text = text.strip()
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def clock_of(headers: Mapping[str, str]) -> datetime | None:
    """What the API's clock showed when it responded."""
    try:
        found = parsedate_to_datetime(headers.get("date", ""))
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _until(
    at_s: float, headers: Mapping[str, str], now: Callable[[], datetime], surely: bool
) -> float:
    """Seconds until an instant, by the API's clock if it is not ours."""
    here = now()
    there = clock_of(headers)
    differs = there is not None and abs((there - here).total_seconds()) > AGREE_S
    clock_s = (there if there is not None and differs else here).timestamp()
    cut_off = (surely or differs) and at_s == int(at_s)
    return at_s - clock_s + (WHOLE_S if cut_off else 0.0)
