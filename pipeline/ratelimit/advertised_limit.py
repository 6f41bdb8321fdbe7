"""The limit that the API itself advertises: all users keep to it while it is the lower one. Pure.

An advertised limit never widens a configured one. It expires after ``ADVERTISED_TTL_S`` unless a
later response repeats it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.ratelimit.limits import MAX_REQUESTS, MAX_WINDOWS, Limits, RateWindow
from pipeline.ratelimit.state_layout import (
    ADVERTISED_PER_S,
    ADVERTISED_REQUESTS,
    ADVERTISED_UNTIL,
    LONG_AGO,
)

ADVERTISED_TTL_S = 600.0


def record(cells: memoryview[float], now: float, requests: int, per_s: float) -> None:
    """Record that the API allows so many requests in any so many seconds."""
    cells[ADVERTISED_UNTIL] = LONG_AGO  # killed in between, half of it must not hold
    cells[ADVERTISED_REQUESTS] = min(max(1, requests), MAX_REQUESTS)
    cells[ADVERTISED_PER_S] = per_s
    cells[ADVERTISED_UNTIL] = now + ADVERTISED_TTL_S


def effective(cells: memoryview[float], limits: Limits, now: float) -> Limits:
    """The limits that hold now: the configured ones, and the advertised one if it is lower.

    The rings remember as many sends as the configured windows need. An advertised limit of more
    requests is split into equal parts of its time.
    """
    requests, per_s = int(cells[ADVERTISED_REQUESTS]), cells[ADVERTISED_PER_S]
    if not now < cells[ADVERTISED_UNTIL] <= now + ADVERTISED_TTL_S or requests < 1 or per_s <= 0:
        return limits
    if any(math.ceil(per_s / w.per_s) * w.requests <= requests for w in limits.windows):
        return limits
    parts = -(-requests // max(w.requests for w in limits.windows))
    advertised = RateWindow(requests // parts, per_s / parts)
    return replace(limits, windows=(*limits.windows[: MAX_WINDOWS - 1], advertised))
