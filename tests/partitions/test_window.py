"""No instant between the baseline and the latest watermark is left out, whatever is run."""

import itertools
import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import WindowRefused
from pipeline.partitions import SCHEMES, Calendar
from pipeline.partitions.window import (
    Window,
    falls_short,
    gap,
    incremental,
    newest_snapshot,
    snapshot,
)
from tests.support.thorough import THOROUGH

# With skipped and doubled hours, at midnight too (Beirut, Cairo), half hours, and a day that
# Samoa has never had (2011-12-30).
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo",
    "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati",
]  # fmt: skip
STARTS = [date(2011, 12, 28), date(2024, 3, 28), date(2018, 11, 2), date(2026, 10, 23)]
BEGINNING = datetime.min.replace(tzinfo=UTC)


def calendar_of(start: date, zone: str) -> Calendar:
    """Days of a source."""
    return Calendar(SCHEMES["days"](kind="days"), start, ZoneInfo(zone))


def today(calendar: Calendar, now: datetime) -> date:
    return date.fromisoformat(calendar.of(now))


@pytest.mark.slow
@settings(max_examples=200 * THOROUGH)
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
    calendar = calendar_of(start, zone)
    now = calendar.begins(start.isoformat())
    done: dict[date, Window] = {}
    for back, later_s in acts:
        now += timedelta(seconds=later_s)
        day = max(start, today(calendar, now) - timedelta(days=back))
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
        begins = calendar.begins(day.isoformat())
        assert window.end == min(calendar.ends(day.isoformat()), now)
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


class Runs:
    """Runs of one day or two, under way at the same time, over one lake; as the engine has them.

    A try goes on with what an earlier one of its day has staged, and takes it away from it. Once a
    day is committed, the day before is looked at, and the day after, if it is not this run's.
    """

    def __init__(self, calendar: Calendar, margin_s: float, step_s: float) -> None:
        self.calendar, self.margin_s, self.step_s = calendar, margin_s, step_s
        self.done: dict[date, Window] = {}
        self.done_by: dict[date, int] = {}
        self.staged: dict[date, tuple[int, Window]] = {}
        self.days: dict[int, list[date]] = {}
        self.left: dict[int, list[date]] = {}
        self.opened: dict[int, set[date]] = {}
        self.told: dict[int, int] = {}

    def begin(self, run: int, days: list[date], now: datetime) -> None:
        self.days[run], self.left[run], self.opened[run] = days, list(days), set()
        for day in days:
            wanted = self.window(day, days, now)
            if self.done_by.get(day) == run and not falls_short(self.done[day], wanted):
                continue
            self.opened[run].add(day)
            _, earlier = self.staged.get(day, (run, wanted))
            self.staged[day] = run, wanted if falls_short(earlier, wanted) else earlier

    def window(self, day: date, beside: list[date], now: datetime) -> Window:
        day_before = day - timedelta(days=1)
        before = None if day_before in beside else self.done.get(day_before)
        return incremental(
            self.calendar,
            day.isoformat(),
            now=now,
            safety_margin_s=self.margin_s,
            watermark_before=before.end if before else None,
            step_s=self.step_s,
        )

    def commit(self, run: int, *, killed: bool = False) -> bool:
        """The next day of a run. False: the run ends here, and has to be begun again."""
        day = self.left[run].pop(0)
        owner, window = self.staged.get(day, (None, None))
        if window is not None and owner == run:
            del self.staged[day]
            self.done[day], self.done_by[day] = window, run
            self.told[run] = self.told.get(run, 0) + (not killed)
        elif day in self.opened[run] and self.done_by.get(day) in (None, run):
            return False  # another run took it over, and has not committed it
        well = not killed and self.joined(day, self.days[run])
        if well:
            self.told.pop(run, None)
        return well

    def joined(self, day: date, days: list[date]) -> bool:
        mine, after = self.done[day], day + timedelta(days=1)
        pairs = [(self.done.get(day - timedelta(days=1)), mine)]
        ended_early = mine.end < self.calendar.ends(day.isoformat())
        if after in self.done and after not in days and ended_early:
            pairs.append((mine, self.done[after]))
        return not any(first is not None and gap(first, second) for first, second in pairs)


@pytest.mark.slow
@settings(max_examples=300 * THOROUGH)
@given(
    zone=st.sampled_from(ZONES[:4]),
    start=st.sampled_from(STARTS),
    margin_s=st.sampled_from([0.0, 1.0, 3600.0, 200_000.0]),
    step_s=st.sampled_from([1.0, 86_400.0]),
    seed=st.integers(0, 2**32),
)
def test_days_that_are_read_at_the_same_time_join(
    zone: str, start: date, margin_s: float, step_s: float, seed: int
) -> None:
    """However runs interleave, and wherever they are killed: once those have tried again that were
    told to, or were killed, no instant between two days is left out.
    """
    calendar, chance = calendar_of(start, zone), random.Random(seed)
    now = calendar.begins((start + timedelta(days=3)).isoformat())
    runs = Runs(calendar, margin_s, step_s)
    told: set[int] = set()
    for number in range(120):
        now += timedelta(seconds=chance.choice([0, 600, 40_000]))
        under_way = [run for run, left in runs.left.items() if left]
        if not under_way or (len(under_way) < 4 and chance.random() < 0.5):
            day = today(calendar, now) - timedelta(days=chance.choice([0] * 6 + [1]))
            days = [day - timedelta(days=1), day][chance.random() < 0.9 :]
            runs.begin(number, days, now)
            continue
        run = chance.choice(under_way)
        if not runs.commit(run, killed=chance.random() < 0.1):
            told.add(run)
            assert runs.told.get(run, 0) <= 2, "a retry must mend it, and not go on for ever"
            runs.begin(run, runs.days[run], now)
    for run in told:
        tries = 1
        while tries <= 4 and not all(runs.commit(run) for _ in [*runs.left[run]]):
            runs.begin(run, runs.days[run], now)
            tries += 1
        assert tries <= 4, "a retry must mend it, and not go on for ever"
    for day, window in runs.done.items():
        after = runs.done.get(day + timedelta(days=1))
        assert (
            after is None
            or after.boundary is None
            or ((after.start or BEGINNING) + timedelta(seconds=margin_s) <= window.end)
        )


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2040, 1, 1)))
def test_days_follow_each_other_without_a_gap(zone: str, day: date) -> None:
    calendar = calendar_of(date(1980, 1, 1), zone)
    begins, ends = calendar.begins(day.isoformat()), calendar.ends(day.isoformat())
    assert ends == calendar.begins((day + timedelta(days=1)).isoformat())
    assert timedelta(0) <= ends - begins <= timedelta(hours=25)
    if begins < ends:
        assert today(calendar, begins) == day
        assert today(calendar, ends - timedelta(microseconds=1)) == day


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
    calendar = calendar_of(date(2000, 1, 1), zone)
    key = day.isoformat()
    assert calendar.ends(key) - calendar.begins(key) == timedelta(hours=hours)


CALENDAR = calendar_of(date(2026, 11, 1), "UTC")
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
        "Partition `2026-10-31` lies before the source's start 2026-11-01. Request `2026-11-01` or "
        "later, or set an earlier `start`"
    )
    assert refused("2026-11-06", of_snapshot) == (
        "Partition `2026-11-06` lies in the future: it begins at 2026-11-06T00:00:00Z, now it is "
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
        assert refused(odd, of_snapshot) == (
            f"Partition `{odd}` is not one of a source with partitions by day: expected a key such "
            "as `2026-11-01`"
        )


def test_a_snapshot_can_be_had_of_today_and_of_yesterday() -> None:
    today = snapshot(CALENDAR, "2026-11-05", now=NOON)
    assert (today.kind, today.start, today.end) == ("snapshot", None, NOON)
    yesterday = snapshot(CALENDAR, "2026-11-04", now=NOON)
    assert yesterday.end == datetime(2026, 11, 5, tzinfo=UTC)
    assert refused("2026-11-03", of_snapshot=True) == (
        "Partition `2026-11-03` of a snapshot is past: the API only shows how things are now. "
        "Request the newest partition, `2026-11-05`"
    )


def test_the_newest_of_many_days_is_the_snapshot_s() -> None:
    days = ["2026-11-03", "2026-11-05", "2026-11-04"]
    for order in itertools.permutations(days):
        assert newest_snapshot(CALENDAR, order) == "2026-11-05"


def test_today_is_a_day_of_the_source() -> None:
    auckland = calendar_of(date(2026, 11, 1), "Pacific/Auckland")
    evening = datetime(2026, 11, 4, 18, tzinfo=UTC)
    assert snapshot(auckland, "2026-11-05", now=evening).end == evening
    with pytest.raises(WindowRefused, match="is past"):
        snapshot(auckland, "2026-11-03", now=evening)


def test_the_partitions_beside_one_are_the_calendar_s_to_say() -> None:
    assert CALENDAR.first == "2026-11-01"
    assert CALENDAR.previous("2026-11-01") is None
    assert CALENDAR.previous("2026-12-01") == "2026-11-30"
    assert CALENDAR.next("2028-02-28") == "2028-02-29"
    assert CALENDAR.between("2026-12-30", "2027-01-01") == [
        "2026-12-30",
        "2026-12-31",
        "2027-01-01",
    ]
    assert CALENDAR.between("2026-12-30", "2026-12-29") == []
    assert CALENDAR.has("2020-01-01"), "written as a key, though it lies before the start"
    assert not CALENDAR.has("2026-11-05-13")
