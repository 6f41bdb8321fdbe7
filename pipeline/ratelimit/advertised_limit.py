"""The limit that the API itself says: it holds for everybody while it is lower. Pure.

It never widens what is configured. It is forgotten after ``TOLD_FOR_S`` without a word, so that
what an API said on a bad day does not stay; who hears it again says it again before that.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.ratelimit.limits import MAX_REQUESTS, MAX_WINDOWS, Limits, RateWindow
from pipeline.ratelimit.state_layout import LONG_AGO, TOLD_PER_S, TOLD_REQUESTS, TOLD_UNTIL

TOLD_FOR_S = 600.0


def tell(cells: memoryview[float], now: float, requests: int, per_s: float) -> None:
    """The API says that it allows so many requests in any so many seconds."""
    cells[TOLD_UNTIL] = LONG_AGO  # killed in between, half of it must not hold
    cells[TOLD_REQUESTS] = min(max(1, requests), MAX_REQUESTS)
    cells[TOLD_PER_S] = per_s
    cells[TOLD_UNTIL] = now + TOLD_FOR_S


def kept(cells: memoryview[float], limits: Limits, now: float) -> Limits:
    """The limits that hold now: those configured, and the one that was told if it says more.

    The rings remember as many sends as the configured windows need: a told limit of more requests
    is kept part by part.
    """
    requests, per_s = int(cells[TOLD_REQUESTS]), cells[TOLD_PER_S]
    if not now < cells[TOLD_UNTIL] <= now + TOLD_FOR_S or requests < 1 or per_s <= 0:
        return limits
    if any(math.ceil(per_s / w.per_s) * w.requests <= requests for w in limits.windows):
        return limits
    parts = -(-requests // max(w.requests for w in limits.windows))
    told = RateWindow(requests // parts, per_s / parts)
    return replace(limits, windows=(*limits.windows[: MAX_WINDOWS - 1], told))
