"""ISO 8601 durations."""

import re
from typing import Any

_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$"
)
_UNITS_S = (365 * 86_400, 28 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1)


def seconds(duration: Any) -> int | None:
    """An ISO 8601 duration; None if it is none, or has a setting in it. A month has 28 days."""
    match = _DURATION.match(str(duration or ""))
    if match is None or not any(match.groups()):
        return None
    return int(sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS_S, strict=True) if n))
