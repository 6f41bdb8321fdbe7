"""Windows with bounds that an API does not know, or wants together, and how they are cut."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.request import WindowFormat
from pipeline.dialects.http_request import values_of
from pipeline.dialects.placeholders import bound, has_end, may_come
from pipeline.extract.window_cuts import window_slices
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 11, 2, tzinfo=UTC)
BASELINE = Window("baseline", None, END, 0.0)
DAY_WINDOW = Window("incremental", END - timedelta(days=1), END, 0.0)


def test_an_upper_bound_that_the_api_does_not_know() -> None:
    form = WindowFormat(end="none")
    assert values_of(form, DAY_WINDOW, PageRequest(10)) == {
        "start": "2026-11-01T00:00:00Z",
        "limit": 10,
    }
    assert may_come(form, DAY_WINDOW.start, END)[1] is None


def test_both_bounds_or_neither() -> None:
    form = WindowFormat(together=True)
    assert values_of(form, BASELINE, PageRequest(10)) == {"limit": 10}
    assert set(values_of(form, DAY_WINDOW, PageRequest(10))) == {"start", "end", "limit"}
    assert may_come(form, None, END) == (None, None)
    assert has_end(WindowFormat(together=True, floor="2020-01-01"), None)


ZONES = ["UTC", "America/Chicago", "Europe/Berlin", "Asia/Kolkata", "Africa/Cairo"]
FORMATS = {"%Y-%m-%d": 86_400, "%Y-%m-%dT%H:00": 3600, "%Y-%m-%dT%H:%M": 60, "iso": 1}


def read(form: WindowFormat, written: str | int) -> datetime:
    """A bound by the wall clock of the zone that it is written in."""
    if form.format == "iso":
        return datetime.fromisoformat(str(written)).astimezone(form.zone).replace(tzinfo=None)
    return datetime.strptime(str(written), form.format)  # noqa: DTZ007 - a wall clock


@given(
    seconds=st.integers(1, 400 * 86_400),
    until=st.integers(0, 400 * 86_400),
    steps=st.integers(1, 60),
    parts=st.integers(1, 5),
    kind=st.sampled_from(sorted(FORMATS)),
    zone=st.sampled_from(ZONES),
    baseline=st.booleans(),
    start=st.sampled_from(["inclusive", "exclusive"]),
)
def test_slices_cover_the_window_and_none_is_too_long_as_it_is_written(
    seconds: int,
    until: int,
    steps: int,
    parts: int,
    kind: str,
    zone: str,
    baseline: bool,
    start: str,
) -> None:
    step_s = FORMATS[kind]
    max_s = max(step_s * (steps + (start == "exclusive")), 86_400 if kind == "iso" else 0)
    if kind in ("iso", "%Y-%m-%dT%H:%M"):
        seconds %= 40 * max_s
    end = END + timedelta(seconds=until)
    begins = (end - timedelta(seconds=seconds + 1)).replace(microsecond=0)
    form = WindowFormat(
        format=kind,
        resolution_s=step_s,
        max_s=max_s,
        timezone=zone,
        start=start,
        floor=begins.isoformat(),
    )
    window = Window("baseline" if baseline else "incremental", begins, end, 0.0)
    window = replace(window, start=None) if baseline else window
    slices = window_slices(window, form, parts) or (window.as_text,)
    starts = [begins, *(datetime.fromisoformat(str(start)) for start, _ in slices[1:])]
    ends = [datetime.fromisoformat(end) for _, end in slices]
    assert starts[1:] == ends[:-1]
    assert ends[-1] == end
    assert all(a < b for a, b in zip(starts, ends, strict=True))
    assert (slices[0][0] is None) == baseline
    for low, high in zip(starts, ends, strict=True):
        asked = [bound(form, low, is_end=False), bound(form, high, is_end=True)]
        length = read(form, asked[1]) - read(form, asked[0])
        later = high + timedelta(hours=2)
        offsets = (at.astimezone(form.zone).utcoffset() or timedelta() for at in (low, later))
        twice = step_s < 86_400 and next(offsets) > next(offsets)  # an hour that can't be cut
        assert twice or length <= timedelta(seconds=max_s)


def test_a_window_that_is_read_at_once_is_not_cut() -> None:
    assert window_slices(DAY_WINDOW, WindowFormat(max_s=86_400)) == ()
    assert len(window_slices(DAY_WINDOW, WindowFormat(), 4)) == 4
    assert len(window_slices(DAY_WINDOW, WindowFormat(max_s=86_399))) == 2
    assert window_slices(BASELINE, WindowFormat(max_s=3600)) == (), "it begins nowhere"


def test_parts_are_of_one_length_and_cut_at_midnights() -> None:
    form = WindowFormat(format="%Y-%m-%d", resolution_s=86_400, max_s=604_800, timezone="UTC")
    window = Window("incremental", END - timedelta(days=25), END, 0.0)
    starts = [str(start) for start, _ in window_slices(window, form)]
    assert [start[:10] for start in starts] == [
        "2026-10-08", "2026-10-15", "2026-10-22", "2026-10-29",
    ]  # fmt: skip
    assert all("T00:00:00" in start for start in starts)
