"""Which partitions a reader requests: one, a range of them, a list of them, or all.

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
        if _checked(self.first) > _checked(self.last):
            raise ReadRefused(
                f"There is no partition from {self.first} to {self.last}: the earlier one comes "
                f"first, as in Between({self.last!r}, {self.first!r})"
            )

    def __contains__(self, partition: str) -> bool:
        return self.first <= partition <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


Partitions = str | Between | Collection[str] | None
"""One, a range of them, a list of them, or all."""


def requested(partitions: Partitions) -> Between | frozenset[str] | None:
    """The partitions that the reader requests; None: all.

    :raises ReadRefused: one of them can't be a partition.
    """
    if partitions is None or isinstance(partitions, Between):
        return partitions
    keys = [partitions] if isinstance(partitions, str) else partitions
    return frozenset(_checked(key) for key in keys)


def named(partitions: Partitions) -> str:
    """For messages."""
    if partitions is None or isinstance(partitions, (str, Between)):
        return str(partitions or "all")
    return first_of(sorted(partitions), _MOST_NAMED) or "an empty list"


def _checked(key: object) -> str:
    if isinstance(key, str) and is_key_of_any(key):
        return key
    raise ReadRefused(
        f"{key!r} is no partition: expected its key as text, such as '2026-11-20' for a day"
    )
