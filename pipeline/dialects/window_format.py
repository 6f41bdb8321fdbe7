"""The window in an API's own words: format, and open or closed ends. Pure."""

from datetime import UTC, datetime, timedelta

from pipeline.config.request import DAY_S, WindowFormat
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window, ceil, floor
from pipeline.timestamps import EPOCH, as_iso, doubled_hour, says_utc, says_zone


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
    arrival. So are bounds in the hour that the clocks of ``timezone`` show twice, where the format
    has no offset: which of the two an API takes for the one written is not known.
    """
    moved = _upper(form, instant) if is_end else _lower(form, instant)
    if is_end and form.end == "inclusive" and form.resolution_s >= DAY_S:
        moved = _step_before(form, moved)
    return _written(form, moved)


def _lower(form: WindowFormat, start: datetime) -> datetime:
    """The lower bound that is requested."""
    low = floor(start, form.resolution_s, form.zone)
    if not _says_offset(form) and (twice := doubled_hour(low, form.zone)):
        low = _step_before(form, twice[0])
    return _step_before(form, low) if form.start == "exclusive" else low


def _upper(form: WindowFormat, end: datetime) -> datetime:
    """The upper bound that is requested, before an inclusive day is taken from it."""
    up = ceil(end, form.resolution_s, form.zone)
    if not _says_offset(form) and (twice := doubled_hour(up, form.zone)):
        up = ceil(twice[1], form.resolution_s, form.zone)
    return up


def _step_before(form: WindowFormat, instant: datetime) -> datetime:
    return floor(instant - timedelta(microseconds=1), form.resolution_s, form.zone)


def _says_offset(form: WindowFormat) -> bool:
    return "%" not in form.format or says_zone(form.format)


def floor_of(form: WindowFormat) -> str | int | None:
    """The lower bound of a baseline, where the API wants one, written as all bounds are."""
    return form.floor if form.floor_at is None else _written(form, form.floor_at)


def instant_of(form: WindowFormat, instant: datetime) -> str | int:
    """An instant that bounds nothing, written as the bounds are."""
    return _written(form, instant)


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
    latest = _upper(form, end) + max(slack, until) if has_end(form, start) else None
    if start is None or form.start == "none":
        return None, latest
    earliest = _lower(form, start)
    if twice := doubled_hour(earliest, form.zone):
        earliest = twice[0]  # rows of that hour are read as of its first time
    return earliest - slack, latest


def _written(form: WindowFormat, instant: datetime) -> str | int:
    if form.format == "epoch_s":
        return int(instant.timestamp())
    if form.format == "epoch_ms":
        return (instant - EPOCH) // timedelta(milliseconds=1)
    local = instant.astimezone(UTC if says_utc(form.format) else form.zone)
    if form.format == "iso":
        return as_iso(instant) if form.zone is UTC else local.isoformat()
    return local.strftime(form.format)
