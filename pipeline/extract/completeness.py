"""What a pass over the pages has seen, and whether the API's numbers and it agree. Pure.

A count that agrees shows that no page was left out. It does not show that no row was: one that is
deleted behind the reader shifts another past it, and one that is inserted makes the number right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CAP = 10_000
"""Elasticsearch counts no further, and gives no row beyond: such a total agrees with itself."""

ONE_PAGE, BY_KEYS, BY_CHAIN, BY_COUNT = "one page", "keys", "chain", "count"
RESTS_ON: Mapping[str, str] = {
    ONE_PAGE: "all rows came in one page",
    BY_KEYS: "no row can lie between two pages",
    BY_CHAIN: "each page named the one after it, and that these names do not move with the rows is "
    "taken from the API",
    BY_COUNT: "as many rows came as the API counts, before and after; one that was passed over "
    "while another was added would not show",
}
"""What a proof rests on, the strongest first, and what may be said of it."""


def weaker(one: str, other: str) -> str:
    """What the whole rests on, if its parts rest on these."""
    return max(one, other, key=[*RESTS_ON].index)


@dataclass
class CountReconciliation:
    """One pass over the pages, slice by slice of the window.

    :ivar counted: what the API's count says of all slices; None if it has none.
    :ivar came: rows of each slice, those included that were dropped since they lie outside.
    :ivar totals: what the pages of a slice say that there is.
    :ivar blind: slices with a page by number, which nothing joins to the one before it.
    :ivar chained: pages were named by the one before them.
    :ivar joined: pages began with the last row of the one before them.
    :ivar steady: no page has contradicted another one.
    """

    counted: int | None = None
    came: dict[int, int] = field(default_factory=dict)
    totals: dict[int, int] = field(default_factory=dict)
    blind: set[int] = field(default_factory=set)
    chained: bool = False
    joined: bool = False
    steady: bool = True

    @property
    def rows(self) -> int:
        return sum(self.came.values())

    @property
    def shifts(self) -> bool:
        """True if rows may have moved past the reader, for all that the pages show."""
        return bool(self.blind) or self.chained

    @property
    def capped(self) -> bool:
        """True if there may be more rows than the numbered pages reach."""
        return bool(self.blind) and CAP in (self.counted, *self.totals.values())

    @property
    def rests_on(self) -> str:
        """What there is to say for this pass, if it agrees."""
        if self.blind:
            return BY_COUNT
        if self.chained:
            return BY_CHAIN
        return BY_KEYS if self.joined else ONE_PAGE

    def saw_total(self, index: int, total: int) -> None:
        self.steady &= self.totals.get(index, total) == total
        self.totals[index] = total

    def agrees(self, counted_after: int | None) -> bool | None:
        """Whether as many rows came as the API says; None if nothing tells.

        A slice whose pages say nothing is held against nothing; the others are.
        """
        if not self.steady:
            return False
        if self.counted is not None and self.counted != CAP:
            return self.rows == self.counted == counted_after
        told = {index: total for index, total in self.totals.items() if total != CAP}
        if any(self.came.get(index, 0) != total for index, total in told.items()):
            return False
        return None if self.blind - told.keys() else True

    def to_json(self) -> dict[str, Any]:
        return {
            "counted": self.counted,
            "came": sorted(self.came.items()),
            "totals": sorted(self.totals.items()),
            "blind": sorted(self.blind),
            "chained": self.chained,
            "joined": self.joined,
            "steady": self.steady,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CountReconciliation":
        """The inverse, from a position that has more besides."""
        return cls(
            counted=data["counted"],
            came=dict(data["came"]),
            totals=dict(data["totals"]),
            blind=set(data["blind"]),
            chained=data["chained"],
            joined=data["joined"],
            steady=data["steady"],
        )
