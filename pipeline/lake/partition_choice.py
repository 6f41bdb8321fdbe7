"""Which partitions a reader requests: a day, a range of days, some days, or all.

What can't be a partition is refused, rather than never found.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pipeline.errors import ReadRefused, first_of
from pipeline.partitions.base import is_key_of_any

_MOST_NAMED: Final = 10


@dataclass(frozen=True)
class Between:
    """Partitions from ``first`` to ``last``, both included."""

    first: str
    last: str

    def __post_init__(self) -> None:
        if _day(self.first) > _day(self.last):
            raise ReadRefused(
                f"There is no day from {self.first} to {self.last}: the earlier day comes first, "
                f"as in Between({self.last!r}, {self.first!r})"
            )

    def __contains__(self, partition: str) -> bool:
        return self.first <= partition <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


Partitions = str | Between | Collection[str] | None
"""A day, a range of days, some days, or all."""


def requested(partitions: Partitions) -> Between | frozenset[str] | None:
    """The partitions that the reader requests; None: all.

    :raises ReadRefused: one of them can't be a partition.
    """
    if partitions is None or isinstance(partitions, Between):
        return partitions
    days = [partitions] if isinstance(partitions, str) else partitions
    return frozenset(_day(day) for day in days)


def named(partitions: Partitions) -> str:
    """For messages."""
    if partitions is None or isinstance(partitions, (str, Between)):
        return str(partitions or "all")
    return first_of(sorted(partitions), _MOST_NAMED) or "an empty list"


def _day(day: object) -> str:
    if isinstance(day, str) and is_key_of_any(day):
        return day
    raise ReadRefused(f"{day!r} is no partition: expected a day as text, such as '2026-11-20'")
