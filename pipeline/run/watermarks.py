"""A watermark a value: from when on each value of a fan-out with a cursor is read. Pure.

The manifest of a partition lists its values. The rows of each are complete up to the manifest's
watermark, but for those *behind*, which are listed with a watermark of their own:

- a value that failed keeps the watermark that it had, so that the partition commits without it;
- a value that is new, and failed at once, has none.

So the next partition reads further back for these, and from the beginning for values that the
manifest before does not list. ``from`` in the manifest says for which values that was done: a later
attempt at the partition before may leave a value behind again, and nobody would read its rows.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from pipeline.extract.fan_out import PartitionValue
from pipeline.lake.manifest import Manifest
from pipeline.partitions.window import Window, begin_of
from pipeline.timestamps import as_iso

_VERSION: Final = 1
Instants = Mapping[str, datetime | None]
"""By the value's name; None: from the beginning."""


@dataclass(frozen=True)
class ValueWatermarks:
    """Up to where the values of a committed partition have been read.

    :ivar names: of all its values.
    :ivar behind: those that have been read less far than the partition.
    :ivar begin: those that were read from further back than the partition.
    """

    names: frozenset[str]
    behind: Instants
    begin: Instants

    @classmethod
    def of(cls, manifest: Manifest) -> "ValueWatermarks":
        """As a manifest has them; one from before there were any has none behind."""
        noted = manifest.notes.values
        known = noted if noted.get("version") == _VERSION else {}
        return cls(
            frozenset(map(str, manifest.notes.each or ())),
            _from_json(known.get("behind", ())),
            _from_json(known.get("from", ())),
        )

    def behind_now(self, names: Iterable[str]) -> dict[str, datetime | None]:
        """Of the values of the partition after it, those that have to be read from further back."""
        return {
            name: self.behind.get(name)
            for name in names
            if name in self.behind or name not in self.names
        }


def windows_of(
    values: Sequence[PartitionValue],
    behind: Instants,
    window: Window,
    *,
    safety_margin_s: float,
    step_s: float,
    zone: tzinfo = UTC,
) -> tuple[PartitionValue, ...]:
    """The values with their windows: those of values behind begin earlier."""

    def begins(watermark: datetime | None) -> datetime | None:
        if watermark is None or window.start is None:
            return None
        return min(begin_of(watermark, safety_margin_s, step_s, zone), window.start)

    return tuple(
        replace(value, window=replace(window, start=begins(behind[value.name])))
        if value.name in behind
        else value
        for value in values
    )


def widest(values: Sequence[PartitionValue], window: Window) -> Window:
    """The window that has the rows of all values."""
    starts = [value.window.start for value in values if value.window is not None]
    if window.start is None or None in starts:
        return replace(window, start=None)
    return replace(window, start=min([window.start, *(s for s in starts if s is not None)]))


def noted(
    values: Sequence[PartitionValue], failed: Collection[str], behind: Instants, window: Window
) -> dict[str, Any]:
    """For the manifest: which values were left behind, and which were read from further back.

    :param failed: the names of values that were passed over.
    """
    left = {name: behind.get(name, window.start) for name in sorted(failed)}
    begin = {
        member: value.window.start
        for value in values
        if value.window is not None
        for member in value.members
        if member not in left
    }
    lists = {"behind": _to_json(left), "from": _to_json(begin)}
    return {"version": _VERSION, **{name: found for name, found in lists.items() if found}}


def value_gaps(first: Manifest, second: Manifest) -> list[str]:
    """The values that the first of two partitions left behind, and the next one did not read from
    there on. Those that have left the list are not missed.
    """
    before, after = ValueWatermarks.of(first), ValueWatermarks.of(second)
    return [
        name
        for name, watermark in before.behind.items()
        if name in after.names and not _reads(after, name, watermark)
    ]


def _reads(after: ValueWatermarks, name: str, watermark: datetime | None) -> bool:
    for kept in (after.behind, after.begin):
        if name in kept:
            since = kept[name]
            return since is None or (watermark is not None and since <= watermark)
    return False


def _to_json(instants: Instants) -> list[list[Any]]:
    """The names by instant: few instants have many names."""
    names: dict[str | None, list[str]] = defaultdict(list)
    for name, instant in instants.items():
        names[None if instant is None else as_iso(instant)].append(name)
    return [[instant, listed] for instant, listed in names.items()]


def _from_json(data: Iterable[Any]) -> dict[str, datetime | None]:
    return {
        str(name): None if instant is None else datetime.fromisoformat(instant)
        for instant, names in data
        for name in names
    }
