"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

Pages in order of a unique key are read by ``by_key``, under the proof of ``proof``. Here are the
chains and numbered pages: a row that comes again is dropped by its key, and where the API has a
count it has to agree with the rows, else a second pass is made. Of numbered pages that neither
overlap nor are counted, nothing shows whether a row was passed over: they are not proved.

Each page handed on carries the position after it: what a later try starts from.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.errors import ContractBroken
from pipeline.extract.by_cursor import check_last, goes_back, last_page, last_page_json
from pipeline.extract.fetch import Fetched, Pages
from pipeline.extract.lanes import Room, in_order
from pipeline.paging.pagers import Ask, Facts, Pager

_MOST_PASSES = 3
_MOST_IDLE = 200
"""Pages in a row without a new row. Some APIs do send empty pages with a token."""


@dataclass
class Tally:
    """What an extraction has seen so far: progress while it runs, proof when it ends."""

    total: int | None = None
    pages: int = 0
    rows: int = 0
    gaps_refetched: int = 0
    repeated_rows: int = 0
    passes: int = 1
    contiguous: bool = False


@dataclass(frozen=True)
class Handed:
    """Rows that are new, and the position after them (JSON) that a later try starts from."""

    table: pa.Table
    position: Mapping[str, Any]
    arrow_bytes: int


@dataclass(frozen=True)
class _Lane:
    """A chain of pages, or one page if closed; ``before`` is the page before its first."""

    index: int
    ask: Ask | None
    before: Fetched | None = None
    closed: bool = False


class StartOver(Exception):
    """The count and the rows do not agree, and which rows an earlier try saw is not known."""


class ByChain:
    """Chains and numbered pages: what comes again is dropped, and the count has to agree."""

    def __init__(
        self,
        pages: Pages,
        pager: Pager,
        *,
        key: tuple[str, ...],
        ahead: int,
        slices: tuple[tuple[str | None, str], ...] = (),
    ) -> None:
        self._pages = pages
        self._pager = pager
        self._key = key
        self._room = Room(ahead)
        self._slices = slices
        self._seen: dict[Any, int] = {}
        self._counted: int | None = None
        self._rows = 0
        self._outside = 0
        self._useful = self._idle = 0
        self._steady = True
        self._before: Facts | None = None  # of the page before, in this try or the earlier one
        self._blind = False
        self._totals: dict[int, int] = {}
        self.tally = Tally()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        """:param position: where an earlier try stopped; None = from the beginning.
        :raises StartOver: a second pass is needed, which can't be made behind earlier rows.
        """
        resumed = position is not None
        while True:
            counted = await self._pages.count(self._pager.first())
            self._counted = self.tally.total = position["counted"] if position else counted
            async for handed in self._pass(position):
                yield handed
            agrees = await self._agrees()
            self.tally.contiguous = bool(agrees)
            if agrees is not False:
                return
            if resumed:
                raise StartOver
            if self.tally.passes == _MOST_PASSES:
                self._refuse_if_stuck()
                return
            self.tally.passes += 1
            position = None

    async def _agrees(self) -> bool | None:
        """Whether this pass brought as many rows as the API says there are, before and after.

        None if nothing tells.
        """
        came = self._rows + self._outside
        if self._counted is not None:
            return came == self._counted == await self._pages.count(self._pager.first())
        if len(self._totals) < max(1, len(self._slices)):
            return self._steady and (None if self._blind else True)
        return self._steady and came == sum(self._totals.values())

    def _refuse_if_stuck(self) -> None:
        """:raises ContractBroken: rows are counted, but no page after the first one brings any."""
        total = self.tally.total or 0
        if self._useful <= 1 and self._rows + self._outside < total:
            raise ContractBroken(
                f"the API counts {total} rows, but only {self._rows} came, however many pages were "
                "asked for: does it know the paging parameter, and is the path to the total right?"
            )

    async def _pass(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        first = self._lanes(position)
        lanes: Iterable[_Lane] = first
        self._rows = position["rows"] if position else 0
        self._outside = position["outside"] if position else 0
        self._totals = dict(position["totals"]) if position else {}
        self._steady = position["steady"] if position else True
        self._useful = self._idle = 0
        self._blind = False
        last = position.get("last") if position else None
        self._before = last_page(last) if last else None
        self._seen |= dict.fromkeys(self._before.again if self._before else (), self.tally.passes)
        if len(first) == 1 and first[0].ask is not None:
            head = await self._pages.page(first[0].ask)
            yield self._taken(first[0].index, head)
            lanes = self._planned(first[0].index, head)
        async with aclosing(in_order(lanes, self._chain, self._room)) as pages:
            async for index, page in pages:
                yield self._taken(index, page)

    def _planned(self, index: int, head: Fetched) -> "Iterable[_Lane]":
        """The lanes behind a first page: all numbered pages where their count is known."""
        planned = self._pager.planned(head.ask, self._facts(head))
        if planned is not None:
            return (_Lane(index, s.ask, None if s.closed else head, s.closed) for s in planned)
        return [_Lane(index, self._follows(head), head)]

    def _facts(self, page: Fetched) -> Facts:
        facts = page.facts
        return facts if self._counted is None else replace(facts, total=self._counted)

    def _follows(self, page: Fetched) -> Ask | None:
        return self._pager.after(page.ask, self._facts(page))

    def _taken(self, index: int, page: Fetched) -> Handed:
        """Hand on the rows that no page before had, and the position behind them."""
        follows = self._follows(page)
        self._look_back(page, is_last=follows is None)
        table = self._fresh(page.table)
        self._outside += page.outside
        if page.facts.total is not None:
            self._steady &= self._totals.get(index, page.facts.total) == page.facts.total
            self._totals[index] = page.facts.total
            if self._counted is None:
                self.tally.total = sum(self._totals.values())
        self._room.saw(max(page.arrow_bytes, page.body_bytes))
        self.tally.pages += 1
        self.tally.rows += table.num_rows
        after = {
            "segment": index,
            "ask": follows.to_json() if follows else None,
            "rows": self._rows,
            "outside": self._outside,
            "totals": sorted(self._totals.items()),
            "counted": self._counted,
            "steady": self._steady,
            "last": last_page_json(page.facts),
        }
        return Handed(table, after, page.arrow_bytes)

    def _look_back(self, page: Fetched, *, is_last: bool) -> None:
        """Whether a page begins where the one before it ended, as far as it shows.

        :raises ContractBroken: by the cursor, it has what the one before it should have had.
        """
        first, ask, facts = self._pager.first(), page.ask, page.facts
        before, self._before = self._before, facts
        if before is not None and is_last:
            check_last(before, ask, facts)
        if (ask.page, ask.offset, ask.after) == (first.page, first.offset, first.after):
            return  # neither number nor key, or the first of them
        if before is not None and before.again:
            alone = before.rows == 1 and facts.rows == 0  # of one row none is left over
            self._steady &= alone or facts.begins in before.again
        else:
            self._blind = True

    def _lanes(self, position: Mapping[str, Any] | None) -> "list[_Lane]":
        first = self._pager.first()
        asks: list[Ask | None] = [replace(first, window=s) for s in self._slices] or [first]
        start = 0
        if position is not None:
            start = position["segment"]
            resumed = Ask.from_json(position["ask"]) if position["ask"] else None
            asks = [resumed, *asks[start + 1 :]]
        return [_Lane(index, ask) for index, ask in enumerate(asks, start)]

    async def _chain(self, lane: "_Lane") -> AsyncGenerator[tuple[int, Fetched], None]:
        ask, before, moved = lane.ask, lane.before, False
        while ask is not None:
            page = await self._pages.page(ask)
            if self._repeats(before, ask, page):
                page = await self._pages.page(ask)
                if self._repeats(before, ask, page):
                    if moved and (ask.page, ask.offset) != (None, None):
                        return  # the pages did differ: some APIs answer their last one for ever
                    raise ContractBroken(
                        "a page came again as the page after it: does the API know the paging "
                        "parameter, and is the path to the next token right?"
                    )
            moved = before is not None
            before = page
            yield lane.index, page
            ask = None if lane.closed else self._follows(page)

    def _repeats(self, before: Fetched | None, ask: Ask, page: Fetched) -> bool:
        if before is None or goes_back(before.facts, ask):
            return False
        if page.table.num_rows == 0 or page.table.num_rows != before.table.num_rows:
            return False
        return all(page.table[name].equals(before.table[name]) for name in self._key)

    def _fresh(self, table: pa.Table) -> pa.Table:
        """The rows that no page had; counts those that no page of this pass had."""
        keep, rows = [], self._rows
        if table.num_rows:
            for key in zip(*(table[name].to_pylist() for name in self._key), strict=True):
                keep.append(key not in self._seen)
                self._rows += self._seen.get(key) != self.tally.passes
                self._seen[key] = self.tally.passes
        self._useful += self._rows > rows
        self._idle = 0 if self._rows > rows else self._idle + 1
        if self._idle > _MOST_IDLE:
            raise ContractBroken(
                f"{_MOST_IDLE} pages in a row brought no new row: do the pages go round in a "
                f"circle?"
            )
        if all(keep):
            return table
        self.tally.repeated_rows += keep.count(False)
        return table.filter(pa.array(keep, pa.bool_()))
