"""From a partition and the watermarks before it to the half-open interval that is requested.

Pure functions of plain values; every instant is timezone-aware. The rules, for a partition P:

- ``end(P) = min(end of P, now)``;
- the first partition is the *baseline*: no lower bound;
- ``start(P) = min(begin of P, watermark of the previous partition if that is committed) − safety
  margin``;
- the watermark recorded on commit is ``end(P)``;
- other runs may commit a partition and the previous one while either is being read, so each looks
  at the other once it is committed itself (``gap``); an attempt that then begins too late or ends
  too early is not resumed (``falls_short``);
- a *snapshot* (no cursor) is the whole collection now, and only the newest partition can be taken;
- a *sweep* reads the keys of all rows, whatever their cursor, and is no partition.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

from pipeline.errors import WindowRefused
from pipeline.partitions.bookmark import BookmarkSpan
from pipeline.partitions.calendar import Calendar
from pipeline.timestamps import EPOCH, as_iso, doubled_hour, read_local

WindowKind = Literal["incremental", "baseline", "snapshot", "sweep"]


@dataclass(frozen=True)
class Window:
    """Half-open interval of the cursor, ``[start, end)``.

    :ivar start: None in a baseline and a snapshot: no lower bound.
    :ivar end: also the watermark that a commit records.
    :ivar safety_margin_s: by how many seconds ``start`` reaches back.
    :ivar boundary: where the margin ends: rows before it may be in the previous partition.
    :ivar complete: the partition of an incremental window had ended when it was made.
    :ivar bookmarks: of an endpoint whose cursor is a bookmark, where it is read from.
    """

    kind: WindowKind
    start: datetime | None
    end: datetime
    safety_margin_s: float
    boundary: datetime | None = None
    complete: bool = field(default=False, compare=False)
    bookmarks: BookmarkSpan | None = None

    @property
    def as_text(self) -> tuple[str | None, str]:
        """The bounds as the request of a page has them: ISO 8601."""
        return self.start.isoformat() if self.start else None, self.end.isoformat()

    @property
    def length_s(self) -> float:
        """Seconds; without a lower bound without end."""
        return (self.end - self.start).total_seconds() if self.start else float("inf")

    @property
    def rereads_all(self) -> bool:
        """Whether all is read, since the API does not know the bookmark any more."""
        return self.bookmarks is not None and self.bookmarks.expired

    def reread(self, at: datetime) -> "Window":
        """The window of a reading that begins now, from the first page."""
        if self.bookmarks is None or not self.bookmarks.expired:
            return self
        return replace(self, bookmarks=replace(self.bookmarks, reread_at=at))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "start": _iso(self.start),
            "end": _iso(self.end),
            "safety_margin_s": self.safety_margin_s,
            "boundary": _iso(self.boundary),
            **({"bookmarks": self.bookmarks.to_json()} if self.bookmarks else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Window":
        return cls(
            kind=data["kind"],
            start=_instant(data["start"]),
            end=datetime.fromisoformat(data["end"]),
            safety_margin_s=data["safety_margin_s"],
            boundary=_instant(data["boundary"]),
            bookmarks=BookmarkSpan.from_json(spans) if (spans := data.get("bookmarks")) else None,
        )


def incremental(
    calendar: Calendar,
    partition: str,
    *,
    now: datetime,
    safety_margin_s: float,
    watermark_before: datetime | None,
    step_s: float = 1.0,
    zone: tzinfo = UTC,
) -> Window:
    """The window of an endpoint with a cursor.

    :param watermark_before: the watermark of the previous partition, if that one is committed.
    :param step_s: the step of the cursor, seconds: a cursor of whole days that was read at noon may
        get more rows of that day, so a window begins on a whole step.
    :param zone: of the API's times without an offset. In the hour that its clocks show twice, a row
        is read as of the first time, so a window that begins there begins with that hour.
    :raises WindowRefused: the partition lies before ``start`` or in the future.
    """
    begins = _begins(calendar, partition, now)
    end, complete = min(calendar.ends(partition), now), calendar.ends(partition) <= now
    if partition == calendar.first:
        return Window("baseline", None, end, safety_margin_s, complete=complete)
    boundary = begins if watermark_before is None else min(begins, watermark_before)
    start = begin_of(boundary, safety_margin_s, step_s, zone)
    edge = ceil(boundary, step_s, zone)
    return Window("incremental", start, end, safety_margin_s, edge, complete=complete)


def begin_of(
    boundary: datetime, safety_margin_s: float, step_s: float, zone: tzinfo = UTC
) -> datetime:
    """The begin of a window whose rows up to a boundary are read: a safety margin before it."""
    start = floor(boundary - timedelta(seconds=safety_margin_s), step_s, zone)
    twice = doubled_hour(start, zone)
    return floor(twice[0], step_s, zone) if twice else start


def falls_short(earlier: Window, window: Window) -> bool:
    """True if what an earlier attempt has read, or began to read, leaves out what is wanted now.

    Either the attempt began before its partition had ended, and the partition has ended since; or
    before the previous partition was committed, which then ended early. The partitions beside it
    count on all of the window.
    """
    if window.start is not None and earlier.start is not None and window.start < earlier.start:
        return True
    return window.complete and earlier.end < window.end


def gap(before: Window, after: Window) -> tuple[datetime, datetime] | None:
    """The interval between two partitions that follow each other: from where the first one was
    read to, to where the next one counts on its own rows; None if they join.
    """
    if after.start is None:
        return None
    counts_from = after.start + timedelta(seconds=after.safety_margin_s)
    return (before.end, counts_from) if before.end < counts_from else None


def snapshot(calendar: Calendar, partition: str, *, now: datetime) -> Window:
    """The window of an endpoint without a cursor: all of it, now.

    The newest partition can be taken, and the previous one while the newest is running: a daily run
    comes after midnight, and reads how the previous day ended.

    :raises WindowRefused: the partition lies before ``start``, in the future, or is too old.
    """
    _begins(calendar, partition, now)
    if is_past(calendar, partition, now):
        raise WindowRefused(
            f"Partition `{partition}` of a snapshot is past: the API only shows how things are now."
            f" Request the newest partition, `{calendar.of(now)}`"
        )
    return Window("snapshot", None, min(calendar.ends(partition), now), 0.0)


def is_past(calendar: Calendar, partition: str, now: datetime) -> bool:
    """Whether it is too late for a snapshot: the partition after this one has ended too."""
    return calendar.begins(partition) <= now and calendar.ends(calendar.next(partition)) <= now


def newest_snapshot(calendar: Calendar, partitions: Iterable[str]) -> str:
    """The one partition of a run that a snapshot is taken for; the others are skipped.

    :raises WindowRefused: one of them is no partition of the calendar.
    """
    keys = list(partitions)
    for key in keys:
        calendar.check(key)
    return max(keys)


def floor(instant: datetime, step_s: float, zone: tzinfo = UTC) -> datetime:
    """The last whole step, counted from 1970 by the zone's clock, at or before an instant."""
    wall = instant.astimezone(zone).replace(tzinfo=UTC)
    micros = round(step_s * 1_000_000)
    whole = EPOCH + (wall - EPOCH) // timedelta(microseconds=micros) * timedelta(
        microseconds=micros
    )
    if whole == wall:
        return instant.astimezone(UTC)
    return min(instant.astimezone(UTC), read_local(whole, zone))


def ceil(instant: datetime, step_s: float, zone: tzinfo = UTC) -> datetime:
    """The first whole step at or after an instant."""
    below = floor(instant, step_s, zone)
    if below == instant:
        return below
    wall = below.astimezone(zone).replace(tzinfo=None) + timedelta(seconds=step_s)
    both = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(*both, instant.astimezone(UTC))


def next_step(instant: datetime, step_s: float, zone: tzinfo = UTC) -> datetime:
    """The first whole step behind an instant, also in an hour that the clocks show twice."""
    step = timedelta(microseconds=round(step_s * 1_000_000))
    wall = instant.astimezone(zone).replace(tzinfo=UTC)
    whole = (EPOCH + (wall - EPOCH) // step * step).replace(tzinfo=None)
    steps = ((whole + n * step).replace(tzinfo=zone, fold=fold) for n in (1, 2) for fold in (0, 1))
    return min(at for at in (step.astimezone(UTC) for step in steps) if at > instant)


def _begins(calendar: Calendar, partition: str, now: datetime) -> datetime:
    """When a partition begins.

    :raises WindowRefused: none of the calendar, or one of the future.
    """
    calendar.check(partition)
    begins = calendar.begins(partition)
    if begins > now:
        raise WindowRefused(
            f"Partition `{partition}` lies in the future: it begins at {as_iso(begins)}, "
            f"now it is {as_iso(now)}"
        )
    return begins


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else as_iso(instant)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
