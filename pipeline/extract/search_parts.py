"""A search that gives no row beyond so many: its window is halved until each part fits.

``search_cap: 10000``: Elasticsearch, GitHub and many others count all rows that match, and give the
first thousands. A part of the window that reaches the cap is cut in two, down to the step in which
the API's bounds are written. The parts are read as slices of the window: the rows of each have to
agree with its own total, and those of all parts with the total of the whole window: a row between
two parts (an API that takes neither of two bounds) has no other sign.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.config.request import WindowFormat
from pipeline.dialects.placeholders import cut_after, cut_before
from pipeline.errors import ContractBroken
from pipeline.extract.pages import PageSource
from pipeline.pagination import Paging

Slice = tuple[str | None, str]


@dataclass(frozen=True)
class SearchParts:
    """The parts of one window.

    :ivar cap: a search that matches as many rows, or more, does not give all of them.
    :ivar whole: the window, or the slices that the API takes at most, in order.
    :ivar form: how bounds are written; a slice without a lower bound begins at its floor.
    """

    pages: PageSource
    paging: Paging
    cap: int
    whole: tuple[Slice, ...]
    form: WindowFormat

    async def slices(self) -> tuple[Slice, ...]:
        """The parts, in order, each of which has fewer rows than the cap.

        :raises ContractBroken: no total came, or one step of time has as many rows as the cap.
        """
        small: list[Slice] = []
        waiting = [*reversed(self.whole)]
        while waiting:
            part = waiting.pop()
            total = await self._total(part)
            if total < self.cap:
                small.append(part)
            else:
                waiting += reversed(self._halves(part, total))
        return tuple(small)

    async def missing(self, parts: tuple[Slice, ...], rows: int) -> str | None:
        """Whether fewer rows came of the parts than the whole window has: a sentence on it.

        Nothing is known of a window that was not cut, or whose total is the cap: many APIs count no
        further. More rows are no sign: a row at an inclusive end is in two parts.

        :raises ContractBroken: no total came.
        """
        if len(parts) == len(self.whole):
            return None
        totals = [await self._total(part) for part in self.whole]
        if self.cap in totals or rows >= sum(totals):
            return None
        return (
            f"the parts of the search (`search_cap`) have {rows:,} rows together, and the search "
            f"of the whole window matches {sum(totals):,}: rows lie in no part. Is the API's upper "
            "bound exclusive, and its lower one inclusive (window.start: exclusive if it is not)? "
            "Does `window.resolution_s` fit the bounds?"
        )

    async def _total(self, part: Slice) -> int:
        request = replace(self.paging.first_request(), window=part)
        total = await self.pages.count(request)
        if total is None:
            total = (await self.pages.page(request)).info.total
        if total is None:
            raise ContractBroken(
                f"The search of {_part_text(part)} says no total, by which `search_cap` knows "
                "whether all rows come. Check: 1. the path in `paging.total`; 2. `count`"
            )
        return total

    def _halves(self, part: Slice, total: int) -> list[Slice]:
        start, end = part
        low = datetime.fromisoformat(start) if start else self.form.floor_at
        high = datetime.fromisoformat(end)
        if low is not None:
            middle = cut_before(self.form, low + (high - low) / 2)
            if middle <= low:
                middle = cut_after(self.form, low)
            if middle < high:
                cut = middle.isoformat()
                return [(start, cut), (cut, end)]
        raise ContractBroken(
            f"The search of {_part_text(part)} matches {total:,} rows and gives fewer than "
            f"{self.cap:,} (`search_cap`), and no part of it can be requested. Check: 1. "
            "`window.resolution_s`, if the API takes finer bounds; 2. a further filter, e.g. with "
            "`each`; 3. whether the API filters by the window at all"
        )


def _part_text(part: Slice) -> str:
    return f"{part[0] or 'the beginning'} to {part[1]}"
