"""Times in a manifest: ISO 8601 durations, and the instant of a run in its Jinja, ``now_utc()``,
``day_delta(-7)`` and the like."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sourcetool.importers.values import Applied, Formatted, Literal, Now, Value

NOW = frozenset({"now_utc", "today_utc", "day_delta", "today_with_timezone", "now_local"})
_DAY_M = 1440
_AS_TEXT = "%Y-%m-%d %H:%M:%S.%f+00:00"
_DAY = "%Y-%m-%d"
_OF_DELTA = "%Y-%m-%dT%H:%M:%S.%f+0000"
_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$"
)
_UNITS_S = (365 * 86_400, 28 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1)


@dataclass(frozen=True)
class Duration:
    """A literal of ``duration``.

    :ivar seconds: None = not known.
    """

    seconds: int | None


def seconds(duration: Any) -> int | None:
    """An ISO 8601 duration; None if it is none, or has a setting in it. A month has 28 days."""
    match = _DURATION.match(str(duration or ""))
    if match is None or not any(match.groups()):
        return None
    return int(sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS_S, strict=True) if n))


def moment(name: str, values: list[Value], named: Mapping[str, Value]) -> Value:
    """The result of a function of time: the instant, or a text of it."""
    if name == "today_utc":
        return Formatted(Now(), _DAY)
    if name == "day_delta":
        days = values[0] if values else named.get("num_days", Literal(0))
        known = isinstance(days, Literal) and isinstance(days.value, int) and days.value <= 0
        pattern = named.get("format") or (values[1] if len(values) > 1 else Literal(_OF_DELTA))
        now = Now(-days.value * _DAY_M if known and isinstance(days, Literal) else None)
        return Formatted(now, str(pattern.value)) if isinstance(pattern, Literal) else Now(None)
    return Now() if name == "now_utc" else Now(None)


def moved(operator: str, first: Value, second: Value) -> Value:
    """An instant less a duration."""
    by = second.value if isinstance(second, Literal) else None
    by_s = by.seconds if isinstance(by, Duration) else None
    if operator != "-" or not isinstance(first, Now) or by_s is None or by_s % 60:
        return Now(None)
    return Now(None if first.before_m is None else first.before_m + by_s // 60)


def placeholder(now: Now) -> str | None:
    """The placeholder of an instant in a request: ``{now}``, ``{now-7d}``."""
    before_m = now.before_m
    if before_m is None:
        return None
    if before_m == 0:
        return "{now}"
    if before_m % _DAY_M == 0:
        return f"{{now-{before_m // _DAY_M}d}}"
    return f"{{now-{before_m // 60}h}}" if before_m % 60 == 0 else f"{{now-{before_m}m}}"


def written_moment(value: Value) -> tuple[Now, str] | None:
    """An instant and its format; None if the value is more than that."""
    if isinstance(value, Now):
        return value, _AS_TEXT
    if isinstance(value, Formatted):
        inner = value.value
        if isinstance(inner, Now):
            return inner, value.format
        if isinstance(inner, Formatted) and isinstance(inner.value, Now):
            return inner.value, value.format
    return _first_part(value)


def _first_part(value: Value) -> tuple[Now, str] | None:
    """``….split('T')[0]``: the day of a time."""
    if not (isinstance(value, Applied) and value.name == "item" and value.values[1] == Literal(0)):
        return None
    cut = value.values[0]
    if not (isinstance(cut, Applied) and cut.name == ".split" and len(cut.values) == 2):
        return None
    mark, whole = cut.values[1], written_moment(cut.values[0])
    if whole is None or not isinstance(mark, Literal):
        return None
    return whole[0], whole[1].split(str(mark.value))[0]
