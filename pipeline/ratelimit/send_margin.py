"""How far the pace stays behind the limit: learned from the 429s, by AIMD. Pure.

A server that counts a sliding window sees requests when they arrive, not when they are sent: it
takes a margin of (peak-to-peak jitter ÷ window) to be free of 429s. That jitter is not known
beforehand, so each 429 adds to the margin, once a burst: the 429s of one burst have one cause. A
burst goes on until more requests have succeeded than can have been in flight: an API that refuses
every request for a while teaches nothing of the pace. A single 429 may be a hiccup: its step is
small, and is forgotten within minutes. A 429 within ``AGAIN_S`` of the last cut is jitter: the step
is larger, and the margin halves only every quarter of an hour. Each such 429 pauses all processes,
so forgetting early is dear.

The margin is a fraction of the shortest window. Jitter is seconds, not a fraction, so a longer
window of the same budget is stretched by the same seconds, or by ``LONG_PAD`` of it if that is
more.
"""

from __future__ import annotations

from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.state_layout import (
    ANSWERED,
    BLOCKED_UNTIL,
    CUT_AT,
    DECAYED_AT,
    MARGIN,
    MARGIN_MAX,
    MARGIN_MIN,
    STEP,
)

FIRST_STEP, STEP_AGAIN = 0.01, 0.02
AGAIN_S = 300.0
HICCUP_HALF_LIFE_S, HALF_LIFE_S = 120.0, 900.0
COOL_DOWN_MIN_S = 1.0
QUIET_S = 30.0
SURE_WAIT_S, FIRST_PART = 1.0, 0.25
LONG_PAD = 0.002


def cut(cells: memoryview[float], limits: Limits, now: float, wait_s: float) -> bool:
    """Add to the margin after a 429, once a burst. Returns whether it grew."""
    cool_down_s = max(COOL_DOWN_MIN_S, limits.shortest.per_s, min(wait_s, 60.0))
    if now < cells[CUT_AT] + cool_down_s or _goes_on(cells, limits, now):
        return False
    again = now < cells[CUT_AT] + cool_down_s + AGAIN_S
    cells[STEP] = STEP_AGAIN if again else FIRST_STEP
    cells[MARGIN] = min(MARGIN_MAX, cells[MARGIN] + cells[STEP])
    cells[CUT_AT] = cells[DECAYED_AT] = now
    cells[ANSWERED] = 0.0
    return True


def granted(cells: memoryview[float]) -> None:
    """Count a granted request as a success, until a 429 takes it back."""
    cells[ANSWERED] += 1


def refused(cells: memoryview[float]) -> None:
    cells[ANSWERED] = max(0.0, cells[ANSWERED] - 1)


def _goes_on(cells: memoryview[float], limits: Limits, now: float) -> bool:
    """True for a 429 of the same burst as the last: hardly any request has succeeded since."""
    under_way = min(limits.in_flight, limits.shortest.requests)
    quiet_at = max(cells[CUT_AT], cells[BLOCKED_UNTIL]) + QUIET_S
    return cells[ANSWERED] <= under_way and now < quiet_at


def default_wait_s(cells: memoryview[float], limits: Limits, now: float) -> float:
    """The pause of all processes, seconds, after a 429 where neither API nor YAML names one.

    The first 429 of a burst means that one request came a little early: a quarter of a short window
    makes up for it, and the margin grows. Others that follow at once mean more, and cost a second;
    those that come during a pause had left before it, and add nothing.
    """
    if now < cells[BLOCKED_UNTIL]:
        return 0.0
    soon = now < cells[CUT_AT] + max(COOL_DOWN_MIN_S, limits.shortest.per_s)
    first = not (soon or _goes_on(cells, limits, now))
    return min(SURE_WAIT_S, FIRST_PART * limits.shortest.per_s) if first else SURE_WAIT_S


def decay(cells: memoryview[float], now: float) -> None:
    """Let the excess go with time. Once a second is enough."""
    passed_s = now - cells[DECAYED_AT]
    if passed_s < 1.0:
        return
    excess = cells[MARGIN] - MARGIN_MIN
    half_life_s = HICCUP_HALF_LIFE_S if cells[STEP] <= FIRST_STEP else HALF_LIFE_S
    cells[MARGIN] = MARGIN_MIN + max(0.0, excess) * 0.5 ** (passed_s / half_life_s)
    cells[DECAYED_AT] = now


def stretched(limits: Limits, margin: float) -> list[tuple[int, float]]:
    """(requests, seconds) of each window as it is kept, the margin included."""
    pad_s = margin * limits.shortest.per_s
    return [(w.requests, w.per_s + max(pad_s, LONG_PAD * w.per_s)) for w in limits.windows]
