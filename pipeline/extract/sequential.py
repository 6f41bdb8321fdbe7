"""Chains of pages, and numbered pages; those in order of a unique key are read by ``contiguous``.

A row that comes again is dropped by its key, and where the API has a count it has to agree with the
rows, else a second pass is made (``completeness``). Of numbered pages that neither overlap nor are
counted, nothing shows whether a row was passed over: they are not proved. Where a row that was
passed over would be taken for deleted, pages that may have shifted are read until a pass has every
key of the one before it.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import CountReconciliation
from pipeline.extract.cursor_pages import check_last, goes_back, last_page, last_page_json
from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.extract.loop_guard import LoopGuard, comes_again, is_end
from pipeline.extract.page_batch import ExtractionProgress, PageBatch
from pipeline.extract.prefetch import AdaptiveConcurrency, Ahead, in_order
from pipeline.pagination import Paging
from pipeline.pagination.page import PageInfo, PageRequest

_MOST_PASSES = 3


@dataclass(frozen=True)
class _Lane:
    """A chain of pages, or one page if closed; ``before`` is the page before its first."""

    index: int
    ask: PageRequest | None
    before: ParsedPage | None = None
    closed: bool = False


class CannotResume(Exception):
    """The count and the rows do not agree, and which rows an earlier try saw is not known."""


class SequentialReader:
    """Chains and numbered pages: what comes again is dropped, and the count has to agree."""

    def __init__(
        self,
        pages: PageSource,
        paging: Paging,
        *,
        key: tuple[str, ...],
        ahead: Ahead,
        slices: tuple[tuple[str | None, str], ...] = (),
        counted_by: tuple[tuple[str | None, str], ...] = (),
        until_sure: bool = False,
    ) -> None:
        """:param counted_by: the slices that the API counts, if it can't count the whole window.
        :param until_sure: a row that is passed over does harm: see the module.
        """
        self._pages = pages
        self._paging = paging
        self._key = key
        self._room = AdaptiveConcurrency(ahead)
        self._slices, self._counted_by = slices, counted_by
        self._until_sure = until_sure
        self._seen: dict[Any, tuple[int, int]] = {}  # in which pass and slice a key came last
        self._now = CountReconciliation()
        self._progress = LoopGuard()
        self._before: PageInfo | None = None  # of the page before, in this try or the earlier one
        self.tally = ExtractionProgress()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[PageBatch, None]:
        """:param position: where an earlier try stopped; None = from the beginning.
        :raises StartOver: a second pass is needed, which can't be made behind earlier rows.
        """
        resumed, agreed = position is not None, False
        if position is not None and "came" not in position:
            raise CannotResume  # of an earlier version, which did not keep it
        while True:
            self._now = (
                CountReconciliation.from_json(position)
                if position
                else CountReconciliation(await self._count())
            )
            self.tally.total = self._now.counted
            async for handed in self._pass(position):
                yield handed
            agrees = await self._agrees()
            if self._until_sure and self._now.shifts:
                may_agree = agrees is not False and not self._now.capped
                agrees, agreed = may_agree and agreed and self._has_all_before(), may_agree
            self.tally.contiguous = bool(agrees)
            self.tally.rests_on = self._now.rests_on
            if agrees is not False:
                return
            if resumed:
                raise CannotResume
            if self.tally.passes == _MOST_PASSES:
                self._refuse_if_stuck()
                return
            self.tally.passes += 1
            position = None

    async def _count(self) -> int | None:
        """How many rows the API counts, over all slices."""
        first, total = self._paging.first_request(), 0
        for ask in [replace(first, window=s) for s in self._counted_by] or [first]:
            count = await self._pages.count(ask)
            if count is None:
                return None
            total += count
        return total

    async def _agrees(self) -> bool | None:
        """Whether this pass brought as many rows as the API says there are, before and after."""
        counted = self._now.counted
        again = counted is not None and self._now.rows == counted
        return self._now.agrees(await self._count() if again else None)

    def _has_all_before(self) -> bool:
        """Whether no key of the pass before is missing in this one.

        A row is passed over where one that was read is deleted: then that one is missing here.
        """
        return all(last != self.tally.passes - 1 for last, _ in self._seen.values())

    def _refuse_if_stuck(self) -> None:
        """:raises ContractBroken: rows are counted, but no page after the first one brings any."""
        total = self.tally.total or 0
        if self._progress.useful <= 1 and self._now.rows < total:
            raise ContractBroken(
                f"the API counts {total} rows, but only {self._now.rows} came, however many pages "
                "were asked for: does it know the paging parameter, and is the path to the total "
                "right?"
            )

    async def _pass(self, position: Mapping[str, Any] | None) -> AsyncGenerator[PageBatch, None]:
        first = self._lanes(position)
        lanes: Iterable[_Lane] = first
        self._progress = LoopGuard()
        last = position.get("last") if position else None
        self._before = last_page(last) if last else None
        again = self._before.again if self._before else ()
        self._seen |= dict.fromkeys(again, (self.tally.passes, first[0].index))
        if len(first) == 1 and first[0].ask is not None:
            head = await self._pages.page(first[0].ask)
            yield await self._taken(first[0].index, head)
            lanes = self._planned(first[0].index, head)
        async with aclosing(in_order(lanes, self._chain, self._room)) as pages:
            async for index, page in pages:
                yield await self._taken(index, page)
                if self._progress.beyond_all_rows and self._facts(page).total is not None:
                    return

    def _planned(self, index: int, head: ParsedPage) -> Iterable[_Lane]:
        """The lanes behind a first page: all numbered pages where their count is known."""
        planned = self._paging.planned(head.ask, self._facts(head))
        if planned is not None:
            return (_Lane(index, s.request, None if s.closed else head, s.closed) for s in planned)
        return [_Lane(index, self._follows(head), head)]

    def _facts(self, page: ParsedPage) -> PageInfo:
        facts, counted = page.facts, self._now.counted
        return facts if counted is None else replace(facts, total=counted)

    def _follows(self, page: ParsedPage) -> PageRequest | None:
        return self._paging.next_request(page.ask, self._facts(page))

    async def _taken(self, index: int, page: ParsedPage) -> PageBatch:
        """Hand on the rows that no page before had, and the position behind them.

        :raises ContractBroken: by the cursor, it has what the page before it should have had.
        """
        follows, facts, now = self._follows(page), page.facts, self._now
        if self._before is not None and follows is None:
            await check_last(self._pages, self._before, page.ask, facts)
        self._look_back(index, page)
        table, new = self._fresh(page.table, index)
        now.came[index] = now.came.get(index, 0) + new + page.outside
        self._progress.saw(index, page.ask, facts, new)
        if facts.total is not None:
            now.saw_total(index, facts.total)
            if now.counted is None:
                self.tally.total = sum(now.totals.values())
        self._room.saw(max(page.arrow_bytes, page.body_bytes), page.latency_s)
        self.tally.pages += 1
        self.tally.rows += table.num_rows
        after = {
            "segment": index,
            "ask": follows.to_json() if follows else None,
            "last": last_page_json(facts),
            **now.to_json(),
        }
        return PageBatch(table, after, page.arrow_bytes)

    def _look_back(self, index: int, page: ParsedPage) -> None:
        """Whether a page begins where the one before it ended, as far as it shows."""
        ask, facts, before, self._before = page.ask, page.facts, self._before, page.facts
        self._now.steady &= not page.lost
        if before is not None and goes_back(before, ask):
            self._now.joined = True
        elif self._is_first(ask):
            return
        elif before is not None and before.begins is not None:
            alone = before.rows == 1 and facts.rows == 0  # of one row none is left over
            self._now.steady &= alone or facts.begins in before.again
            self._now.joined = True
        elif self._paging.may_shift(ask):
            self._now.blind.add(index)
        else:
            self._now.chained = True

    def _is_first(self, ask: PageRequest) -> bool:
        """Whether it is the first page of its slice."""
        return replace(ask, window=None, parent=None) == self._paging.first_request()

    def _lanes(self, position: Mapping[str, Any] | None) -> list[_Lane]:
        first = self._paging.first_request()
        asks: list[PageRequest | None] = [replace(first, window=s) for s in self._slices] or [first]
        start = 0
        if position is not None:
            start = position["segment"]
            resumed = PageRequest.from_json(position["ask"]) if position["ask"] else None
            asks = [resumed, *asks[start + 1 :]]
        return [_Lane(index, ask) for index, ask in enumerate(asks, start)]

    async def _chain(self, lane: _Lane) -> AsyncGenerator[tuple[int, ParsedPage], None]:
        ask, before, moved = lane.ask, lane.before, False
        while ask is not None:
            try:
                page = await self._pages.page(ask)
            except RequestRefused as error:
                first = self._paging.first_request()
                if before and is_end(error, first, ask, self._total_at(before)):
                    return
                raise
            if comes_again(before, page, self._key):
                page = await self._pages.page(ask)
                if comes_again(before, page, self._key):
                    if moved and (ask.page, ask.offset) != (None, None):
                        # Some APIs answer their last page for ever; one that overlaps can't be it.
                        self._now.steady &= page.facts.begins is None
                        return
                    raise ContractBroken(
                        "a page came again as the page after it: does the API know the paging "
                        "parameter, and is the path to the next token right?"
                    )
            moved = before is not None
            before = page
            yield lane.index, page
            ask = None if lane.closed else self._follows(page)

    def _total_at(self, page: ParsedPage) -> int | None:
        """What counts its rows: of slices each page only its own."""
        return page.facts.total if self._slices else self._facts(page).total

    def _fresh(self, table: pa.Table, index: int) -> tuple[pa.Table, int]:
        """The rows that no page had; how many no page of this pass and slice had."""
        keep, new, mark = [], 0, (self.tally.passes, index)
        if table.num_rows:
            for key in zip(*(table[name].to_pylist() for name in self._key), strict=True):
                last = self._seen.get(key)
                keep.append(last is None)
                new += last != mark
                self._seen[key] = mark
        if all(keep):
            return table, new
        self.tally.repeated_rows += keep.count(False)
        return table.filter(pa.array(keep, pa.bool_())), new
