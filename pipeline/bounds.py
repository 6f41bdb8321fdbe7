"""The window in an API's own words: format, and open or closed ends. Pure."""

from datetime import UTC, datetime, timedelta

from pipeline.errors import ConfigError
from pipeline.paging import Ask
from pipeline.spec.request import WindowFormat
from pipeline.window import Window


def slice_of(window: Window, ask: Ask) -> tuple[datetime | None, datetime]:
    """The interval that this page is asked for: the window, or a slice of it."""
    if ask.window is None:
        return window.start, window.end
    start, end = ask.window
    return (None if start is None else datetime.fromisoformat(start)), datetime.fromisoformat(end)


def bound(form: WindowFormat, instant: datetime, *, is_end: bool) -> str:
    """A bound of a half-open window in the API's own format and meaning.

    ``>`` for a start asks one step earlier; ``<=`` for an end stops one step earlier. Bounds that
    the format can't express are moved outwards: rows outside the window are dropped on arrival.
    """
    step = timedelta(seconds=form.resolution_s)
    floor = _floor(instant, form.resolution_s)
    if is_end:
        up = floor if floor == instant else floor + step
        asked = up - step if form.end == "inclusive" else up
    else:
        asked = floor - step if form.start == "exclusive" else floor
    return _written(form.format, asked)


def _floor(instant: datetime, resolution_s: float) -> datetime:
    since = instant.astimezone(UTC) - _EPOCH
    micros = round(resolution_s * 1_000_000)
    whole = (since // timedelta(microseconds=1)) // micros * micros
    return _EPOCH + timedelta(microseconds=whole)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _written(form: str, instant: datetime) -> str:
    if form == "epoch_s":
        return str(int(instant.timestamp()))
    if form == "epoch_ms":
        return str((instant - _EPOCH) // timedelta(milliseconds=1))
    if form == "iso":
        return instant.isoformat().replace("+00:00", "Z")
    if "%" in form:
        return instant.strftime(form)
    raise ConfigError(
        f"window.format {form!r} is not known: expected epoch_s, epoch_ms, iso or a strftime "
        f"pattern"
    )
