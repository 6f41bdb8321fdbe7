"""No instant between the baseline and the latest watermark is left out, whatever is run."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import WindowRefused
from pipeline.window import Calendar, Window, incremental, newest_snapshot, snapshot
from tests.engine.moving import THOROUGH

# With skipped and doubled hours, at midnight too (Beirut, Cairo), half hours, and a day that
# Samoa has never had (2011-12-30).
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo",
    "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati",
]  # fmt: skip
STARTS = [date(2011, 12, 28), date(2024, 3, 28), date(2018, 11, 2), date(2026, 10, 23)]
BEGINNING = datetime.min.replace(tzinfo=UTC)


@settings(max_examples=200 * THOROUGH, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    start=st.sampled_from(STARTS),
    margin_s=st.sampled_from([0.0, 1.0, 3600.0, 7200.5, 200_000.0]),
    step_s=st.sampled_from([0.001, 1.0, 60.0, 86_400.0]),
    acts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100_000)), min_size=1, max_size=25),
)
def test_no_instant_between_two_watermarks_is_left_out(
    zone: str, start: date, margin_s: float, step_s: float, acts: list[tuple[int, int]]
) -> None:
    calendar = Calendar(start, ZoneInfo(zone))
    now = calendar.begins(start)
    done: dict[date, Window] = {}
    for back, later_s in acts:
        now += timedelta(seconds=later_s)
        day = max(start, calendar.today(now) - timedelta(days=back))
        before = done.get(day - timedelta(days=1))
        watermark = before.end if before else None
        window = incremental(
            calendar,
            day.isoformat(),
            now=now,
            safety_margin_s=margin_s,
            watermark_before=watermark,
            step_s=step_s,
        )
        begins = calendar.begins(day)
        assert window.end == min(calendar.ends(day), now)
        if day == start:
            assert (window.kind, window.start) == ("baseline", None)
        else:
            assert window.start is not None
            assert window.start <= min(begins, watermark or begins) - timedelta(seconds=margin_s)
            assert window.start > min(begins, watermark or begins) - timedelta(
                seconds=margin_s + step_s
            )
            assert window.boundary is not None
            assert window.start <= window.boundary
        done[day] = window
        check_covered(done)
        assert Window.from_json(window.to_json()) == window


def check_covered(done: dict[date, Window]) -> None:
    """Consecutive days join: what one has not reached, the next begins at or before."""
    for day, window in done.items():
        after = done.get(day + timedelta(days=1))
        if after is not None:
            assert (after.start or BEGINNING) <= window.end


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2040, 1, 1)))
def test_days_follow_each_other_without_a_gap(zone: str, day: date) -> None:
    calendar = Calendar(date(1980, 1, 1), ZoneInfo(zone))
    begins, ends = calendar.begins(day), calendar.ends(day)
    assert ends == calendar.begins(day + timedelta(days=1))
    assert timedelta(0) <= ends - begins <= timedelta(hours=25)
    if begins < ends:
        assert calendar.today(begins) == day
        assert calendar.today(ends - timedelta(microseconds=1)) == day


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 3, 29), 24),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Africa/Cairo", date(2026, 4, 24), 23),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(zone: str, day: date, hours: int) -> None:
    calendar = Calendar(date(2000, 1, 1), ZoneInfo(zone))
    assert calendar.ends(day) - calendar.begins(day) == timedelta(hours=hours)


CALENDAR = Calendar(date(2026, 11, 1), ZoneInfo("UTC"))
NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)


def window_of(partition: str, before: datetime | None = None) -> Window:
    return incremental(CALENDAR, partition, now=NOON, safety_margin_s=3600, watermark_before=before)


def test_a_day_that_was_read_early_is_gone_on_with_the_day_after() -> None:
    early = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    window = window_of("2026-11-04", early)
    assert window.start == datetime(2026, 11, 3, 8, 30, tzinfo=UTC)
    assert window.end == datetime(2026, 11, 5, tzinfo=UTC)
    assert window.boundary == early
    assert window_of("2026-11-05").end == NOON


def test_a_watermark_of_the_future_does_not_move_a_start_up() -> None:
    window = window_of("2026-11-04", datetime(2026, 11, 9, tzinfo=UTC))
    assert window.start == datetime(2026, 11, 3, 23, tzinfo=UTC)


def refused(partition: str, of_snapshot: bool = False) -> str:
    def ask() -> Window:
        return snapshot(CALENDAR, partition, now=NOON) if of_snapshot else window_of(partition)

    with pytest.raises(WindowRefused) as caught:
        ask()
    return str(caught.value)


@pytest.mark.parametrize("of_snapshot", [True, False])
def test_days_that_can_not_be_asked_for(of_snapshot: bool) -> None:
    assert refused("2026-10-31", of_snapshot) == (
        "partition 2026-10-31 lies before the source's start 2026-11-01: ask for 2026-11-01 or "
        "later, or set an earlier start"
    )
    assert refused("2026-11-06", of_snapshot) == (
        "partition 2026-11-06 lies in the future: it begins at 2026-11-06T00:00:00Z, now it is "
        "2026-11-05T12:00:00Z"
    )
    assert "lies in the future" in refused("9999-12-31", of_snapshot)
    for odd in (
        "",
        "today",
        "20261105",
        "2026-W45-4",
        "2026-11-31",
        "2026-11-05T00:00",
        "0001-01-01 ",
    ):
        assert refused(odd, of_snapshot) == (f"partition {odd!r} is not a day: expected YYYY-MM-DD")


def test_a_snapshot_can_be_had_of_today_and_of_yesterday() -> None:
    today = snapshot(CALENDAR, "2026-11-05", now=NOON)
    assert (today.kind, today.start, today.end) == ("snapshot", None, NOON)
    yesterday = snapshot(CALENDAR, "2026-11-04", now=NOON)
    assert yesterday.end == datetime(2026, 11, 5, tzinfo=UTC)
    assert refused("2026-11-03", of_snapshot=True) == (
        "partition 2026-11-03 of a snapshot is past: the API only shows how things are now. Ask "
        "for the newest partition, 2026-11-05"
    )


def test_the_newest_of_many_days_is_the_snapshot_s() -> None:
    days = ["2026-11-03", "2026-11-05", "2026-11-04"]
    for order in itertools.permutations(days):
        assert newest_snapshot(CALENDAR, order) == "2026-11-05"


def test_today_is_a_day_of_the_source() -> None:
    auckland = Calendar(date(2026, 11, 1), ZoneInfo("Pacific/Auckland"))
    evening = datetime(2026, 11, 4, 18, tzinfo=UTC)
    assert snapshot(auckland, "2026-11-05", now=evening).end == evening
    with pytest.raises(WindowRefused, match="is past"):
        snapshot(auckland, "2026-11-03", now=evening)
