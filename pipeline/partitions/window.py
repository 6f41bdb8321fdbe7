"""From a partition and the watermarks before it to the half-open interval that is asked for.

Pure functions of plain values; every instant is timezone-aware. The rules:

- ``end(D) = min(end of day D, now)``;
- the first partition is the *baseline*: no lower bound;
- ``start(D) = min(start of day D, watermark of D−1 if D−1 is committed) − safety margin``;
- the watermark recorded on commit is ``end(D)``;
- other runs may commit D−1 and D while either is being read, so each looks at the other once it is
  committed itself (``gap``); a try that then begins too late or ends too early is not gone on with
  (``falls_short``);
- a *snapshot* (no cursor) is the whole collection now, and only the newest day can be taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pipeline.errors import WindowRefused
from pipeline.timestamps import EPOCH, as_iso

WindowKind = Literal["incremental", "baseline", "snapshot"]


@dataclass(frozen=True)
class Window:
    """Half-open interval of the cursor, ``[start, end)``.

    :ivar start: None in a baseline and a snapshot: no lower bound.
    :ivar end: also the watermark that a commit records.
    :ivar safety_margin_s: by how many seconds ``start`` reaches back.
    :ivar boundary: where the margin ends: rows before it may be in the partition before.
    :ivar complete: the day of an incremental window had ended when it was made.
    """

    kind: WindowKind
    start: datetime | None
    end: datetime
    safety_margin_s: float
    boundary: datetime | None = None
    complete: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "start": _iso(self.start),
            "end": _iso(self.end),
            "safety_margin_s": self.safety_margin_s,
            "boundary": _iso(self.boundary),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Window":
        return cls(
            kind=data["kind"],
            start=_instant(data["start"]),
            end=datetime.fromisoformat(data["end"]),
            safety_margin_s=data["safety_margin_s"],
            boundary=_instant(data["boundary"]),
        )


@dataclass(frozen=True)
class Calendar:
    """The days of a source: the first partition and the time zone in which days begin."""

    start: date
    zone: ZoneInfo

    def day(self, partition: str) -> date:
        """The day of a partition.

        :raises WindowRefused: not a date, or before the first partition.
        """
        try:
            day = date.fromisoformat(partition)
        except ValueError:
            day = date.min
        if day.isoformat() != partition:  # Python reads 20260131 and 2026-W05-6 as well
            raise WindowRefused(f"partition {partition!r} is not a day: expected YYYY-MM-DD")
        if day < self.start:
            raise WindowRefused(
                f"partition {partition} lies before the source's start {self.start}: "
                f"ask for {self.start} or later, or set an earlier start"
            )
        return day

    def begins(self, day: date) -> datetime:
        """The first instant of a day, UTC."""
        return datetime.combine(day, time.min, tzinfo=self.zone).astimezone(UTC)

    def ends(self, day: date) -> datetime:
        """The first instant of the next day, UTC."""
        return self.begins(day + timedelta(days=1))

    def today(self, now: datetime) -> date:
        return now.astimezone(self.zone).date()


def incremental(
    calendar: Calendar,
    partition: str,
    *,
    now: datetime,
    safety_margin_s: float,
    watermark_before: datetime | None,
    step_s: float = 1.0,
) -> Window:
    """The window of an endpoint with a cursor.

    :param watermark_before: the watermark of the partition before, if that one is committed.
    :param step_s: the step of the cursor: a day that was read at noon may get more rows of that
        day, so that a window begins on a whole step.
    :raises WindowRefused: the day lies before ``start`` or in the future.
    """
    day = calendar.day(partition)
    begins = calendar.begins(day)
    _not_future(partition, begins, now)
    end, complete = min(calendar.ends(day), now), calendar.ends(day) <= now
    if day == calendar.start:
        return Window("baseline", None, end, safety_margin_s, complete=complete)
    boundary = begins if watermark_before is None else min(begins, watermark_before)
    start = floor(boundary - timedelta(seconds=safety_margin_s), step_s)
    edge = ceil(boundary, step_s)
    return Window("incremental", start, end, safety_margin_s, edge, complete=complete)


def falls_short(earlier: Window, window: Window) -> bool:
    """True if what an earlier try has read, or began to read, leaves out what is wanted now.

    It began before its day had ended, and the day has ended since; or before the day before was
    committed, which then ended early. The days beside it count on all of the window.
    """
    if window.start is not None and earlier.start is not None and window.start < earlier.start:
        return True
    return window.complete and earlier.end < window.end


def gap(before: Window, after: Window) -> tuple[datetime, datetime] | None:
    """What lies between two days that follow each other: up to where the first one was read, and
    from where on the next one counts on its own rows; None if they join.
    """
    if after.start is None:
        return None
    counts_from = after.start + timedelta(seconds=after.safety_margin_s)
    return (before.end, counts_from) if before.end < counts_from else None


def snapshot(calendar: Calendar, partition: str, *, now: datetime) -> Window:
    """The window of an endpoint without a cursor: all of it, now.

    Today can be taken, and yesterday while today is running: a daily run comes after midnight,
    and what it sees then is how yesterday ended.

    :raises WindowRefused: the day lies before ``start``, in the future, or is too old.
    """
    day = calendar.day(partition)
    _not_future(partition, calendar.begins(day), now)
    today = calendar.today(now)
    if day < today - timedelta(days=1):
        raise WindowRefused(
            f"partition {partition} of a snapshot is past: the API only shows how things are now. "
            f"Ask for the newest partition, {today}"
        )
    return Window("snapshot", None, min(calendar.ends(day), now), 0.0)


def newest_snapshot(calendar: Calendar, partitions: Iterable[str]) -> str:
    """The one partition of a run that a snapshot is taken for; the others are skipped."""
    return max(partitions, key=calendar.day)


def floor(instant: datetime, step_s: float) -> datetime:
    """The last whole step, counted from 1970 UTC, at or before an instant."""
    micros = round(step_s * 1_000_000)
    whole = (instant.astimezone(UTC) - EPOCH) // timedelta(microseconds=1) // micros * micros
    return EPOCH + timedelta(microseconds=whole)


def ceil(instant: datetime, step_s: float) -> datetime:
    """The first whole step at or after an instant."""
    below = floor(instant, step_s)
    return below if below == instant else below + timedelta(seconds=step_s)


def _not_future(partition: str, begins: datetime, now: datetime) -> None:
    if begins > now:
        raise WindowRefused(
            f"partition {partition} lies in the future: it begins at {as_iso(begins)}, "
            f"now it is {as_iso(now)}"
        )


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else as_iso(instant)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
