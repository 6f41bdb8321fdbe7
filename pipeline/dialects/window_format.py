"""The window in an API's own words: format, and open or closed ends. Pure."""

from datetime import datetime, timedelta

from pipeline.config.request import DAY_S, WindowFormat
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window, ceil, floor
from pipeline.timestamps import EPOCH, as_iso


def slice_of(window: Window, request: PageRequest) -> tuple[datetime | None, datetime]:
    """The interval that this page requests: the window, or a slice of it."""
    if request.window is None:
        return window.start, window.end
    start, end = request.window
    return (None if start is None else datetime.fromisoformat(start)), datetime.fromisoformat(end)


def bound(form: WindowFormat, instant: datetime, *, is_end: bool) -> str | int:
    """A bound of a half-open window in the API's own format and meaning.

    ``>`` requests from one step earlier on. ``<=`` requests up to the end itself: cursors may
    be finer than the step. Only of an API that takes whole days the day before it is requested.
    Bounds that the format can't express are moved outwards: rows outside the window are dropped on
    arrival.
    """
    step = timedelta(seconds=form.resolution_s)
    if is_end:
        up = ceil(instant, form.resolution_s)
        moved = up - step if form.end == "inclusive" and form.resolution_s >= DAY_S else up
    else:
        low = floor(instant, form.resolution_s)
        moved = low - step if form.start == "exclusive" else low
    return _written(form.format, moved)


def floor_of(form: WindowFormat) -> str | int | None:
    """The lower bound of a baseline, where the API wants one, written as all bounds are."""
    return form.floor if form.floor_at is None else _written(form.format, form.floor_at)


def has_end(form: WindowFormat, start: datetime | None) -> bool:
    """True if the upper bound goes into the request."""
    alone = form.together and start is None and form.floor is None
    return form.end != "none" and not alone


def may_come(
    form: WindowFormat, start: datetime | None, end: datetime
) -> tuple[datetime | None, datetime | None]:
    """Between which instants, both included, rows may lie that an API gives for these bounds.

    It is more than the window where ``bound`` had to request more, and by a second, since some APIs
    round. A row beyond means that the filter was ignored.
    """
    step_s = form.resolution_s
    slack = timedelta(seconds=min(step_s, 1.0))
    until = timedelta(seconds=step_s if form.end == "inclusive" and step_s < DAY_S else 0.0)
    latest = ceil(end, step_s) + max(slack, until) if has_end(form, start) else None
    if start is None or form.start == "none":
        return None, latest
    wider = timedelta(seconds=step_s if form.start == "exclusive" else 0.0)
    return floor(start, step_s) - wider - slack, latest


def _written(form: str, instant: datetime) -> str | int:
    if form == "epoch_s":
        return int(instant.timestamp())
    if form == "epoch_ms":
        return (instant - EPOCH) // timedelta(milliseconds=1)
    if form == "iso":
        return as_iso(instant)
    return instant.strftime(form)
