"""Windows with bounds that an API does not know, or wants together, and how they are cut."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.request import WindowFormat
from pipeline.dialects.http_request import values_of
from pipeline.dialects.placeholders import has_end, may_come
from pipeline.extract.plan import window_slices
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


@given(st.integers(1, 400), st.integers(1, 50), st.booleans())
def test_slices_cover_the_window_and_none_is_too_long(
    days: int, most_days: int, baseline: bool
) -> None:
    begins = END - timedelta(days=days)
    window = BASELINE if baseline else Window("incremental", begins, END, 0.0)
    max_s = most_days * 86_400.0
    slices = window_slices(window, 1, max_s, begins if baseline else None)
    if not slices:
        assert days <= most_days
        return
    starts = [begins, *(datetime.fromisoformat(str(start)) for start, _ in slices[1:])]
    ends = [datetime.fromisoformat(end) for _, end in slices]
    assert starts[1:] == ends[:-1]
    assert ends[-1] == END
    assert (slices[0][0] is None) == baseline
    assert all((b - a).total_seconds() <= max_s + 1 for a, b in zip(starts, ends, strict=True))
