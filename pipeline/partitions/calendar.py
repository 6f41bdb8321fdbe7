"""The partitions of one source, by their keys: which there are, when they begin, what follows what.

Here alone the partition before and the partition after are made out. Instants are timezone-aware.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from zoneinfo import ZoneInfo

from pipeline.errors import WindowRefused
from pipeline.partitions.base import PartitionScheme


@dataclass(frozen=True)
class Calendar:
    """The partitions of a source: its scheme, from its start on, in its time zone.

    >>> calendar = Calendar(SCHEMES["days"](), date(2026, 11, 1), ZoneInfo("Europe/Berlin"))
    >>> calendar.previous("2026-11-02"), calendar.next("2026-11-02")
    ('2026-11-01', '2026-11-03')
    >>> calendar.begins("2026-11-02")
    datetime.datetime(2026, 11, 1, 23, 0, tzinfo=datetime.timezone.utc)

    :ivar start: the day whose first instant the first partition holds.
    """

    scheme: PartitionScheme
    start: date
    zone: ZoneInfo

    @cached_property
    def first(self) -> str:
        """The key of the first partition, the baseline."""
        return self.scheme.key(self.scheme.floor(datetime.combine(self.start, time.min)))

    def check(self, key: str) -> None:
        """Hold a key against the calendar.

        :raises WindowRefused: no partition has it, or it lies before the first one.
        """
        self._parse(key)
        if key < self.first:
            raise WindowRefused(
                f"Partition `{key}` lies before the source's start {self.start}. "
                f"Request `{self.first}` or later, or set an earlier `start`"
            )

    def has(self, key: str) -> bool:
        """Whether a key is written as those of this calendar are, before its start too."""
        try:
            self.scheme.parse(key)
        except ValueError:
            return False
        return True

    def begins(self, key: str) -> datetime:
        """The first instant of a partition, UTC. :raises WindowRefused: no partition has the key"""
        return self._instant(self._parse(key))

    def ends(self, key: str) -> datetime:
        """The first instant after a partition, UTC. :raises WindowRefused: as ``begins``."""
        return self._instant(self.scheme.after(self._parse(key)))

    def previous(self, key: str) -> str | None:
        """The partition before; None before the first. :raises WindowRefused: as ``begins``."""
        before = self.scheme.key(self.scheme.before(self._parse(key)))
        return before if before >= self.first else None

    def next(self, key: str) -> str:
        """The partition after. :raises WindowRefused: as ``begins``."""
        return self.scheme.key(self.scheme.after(self._parse(key)))

    def of(self, instant: datetime) -> str:
        """The partition that an instant lies in."""
        local = instant.astimezone(self.zone).replace(tzinfo=None, fold=0)
        return self.scheme.key(self.scheme.floor(local))

    def between(self, first: str, last: str) -> list[str]:
        """The partitions from ``first`` to ``last``, both included; none if ``last`` is earlier.

        :raises WindowRefused: no partition has the key ``first``.
        """
        begin, keys = self._parse(first), []
        while (key := self.scheme.key(begin)) <= last:
            keys.append(key)
            begin = self.scheme.after(begin)
        return keys

    def _parse(self, key: str) -> datetime:
        try:
            return self.scheme.parse(key)
        except ValueError:
            raise WindowRefused(
                f"Partition `{key}` is not one of a source with partitions by "
                f"{self.scheme.noun}: expected a key such as `{self.first}`"
            ) from None

    def _instant(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self.zone).astimezone(UTC)
