"""Pages in order of a unique key, under the proof of ``proof``.

Each page handed on joins the ones before it. One that does not leaves a gap, which is fetched
again: by key where the API can seek, else by walking back until a page joins. What is covered is
dropped, so that no row comes twice. The end takes two witnesses (a short page and the count, a
short page and one that brings nothing, two that bring nothing, of which the count of what follows
knows nothing), since a sick API sends odd pages and wrong counts. So does the end of a range, or it
is read on without an upper bound.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pipeline.errors import ContractBroken
from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.extract.key_seeker import ASK_AGAIN, KeySeeker
from pipeline.extract.loop_guard import is_same, standing_still
from pipeline.extract.page_batch import ExtractionProgress, PageBatch
from pipeline.extract.page_checks import first_new
from pipeline.extract.prefetch import AdaptiveConcurrency, Ahead, in_order
from pipeline.pagination import Paging
from pipeline.pagination.coverage import Coverage, earlier_request
from pipeline.pagination.page import PageRequest, PageSegment, key_from_json, key_to_json

_TIMES_TO_BE_SURE = 8
"""How often in a row few rows that move may look like an API that gives one row a page."""
_ENOUGH = 2
"""This many witnesses take the place of a count at the end."""
_MOST_STILL = 5
"""This many pages in a row with the same keys mean that the API ignores the paging parameter."""


class ContiguousReader:
    """Pages that come in order of a unique key."""

    def __init__(
        self,
        pages: PageSource,
        paging: Paging,
        *,
        key: str,
        ahead: Ahead,
        can_seek: bool,
        descending: bool,
    ) -> None:
        self._pages = pages
        self._paging = paging
        self._key = key
        self._room = AdaptiveConcurrency(ahead)
        self._can_seek = can_seek
        self._seek = KeySeeker(pages, key, self._all_counted, descending=descending)
        self._first_offset = paging.first_request().offset or 0
        self._offset = self._first_offset
        self._earlier = 0
        self._at_end = False
        self._reach = Coverage(descending=descending)
        self.tally = ExtractionProgress()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[PageBatch, None]:
        """All rows, page by page, each once.

        :param position: where an earlier try stopped; None = from the beginning.
        """
        head, total = await self._head(self._resumed(self._paging.first_request(), position))
        self.tally.total = total
        self._at_end = total == 0 and head.facts.rows == 0
        async for handed in self._joined(head):
            yield handed
        segments = self._paging.planned(head.ask, replace(head.facts, total=total))
        if segments is None:
            follows = self._paging.next_request(head.ask, replace(head.facts, total=total))
            segments = (PageSegment(follows),) if follows else ()
        async with aclosing(in_order(segments, self._chain, self._room)) as pages:
            while not self._at_end and (page := await anext(pages, None)) is not None:
                async for handed in self._joined(page):
                    yield handed
        if not (self._at_end or self._ended()):
            async for handed in self._rest(head.ask):
                yield handed
        if self.tally.pages == 1 and self.tally.total is None:
            await self._seek.check_filter(head)
        self.tally.contiguous = True

    def _resumed(self, first: PageRequest, position: Mapping[str, Any] | None) -> PageRequest:
        if position is None:
            return first
        self._reach = replace(self._reach, covered=key_from_json(position["covered"]))
        if self._can_seek:
            return replace(first, after=self._reach.covered)
        self._offset, self._earlier = position["offset"], position["rows"]
        return replace(first, offset=self._offset)

    async def _head(self, ask: PageRequest) -> tuple[ParsedPage, int | None]:
        """The first page and the count, asked for again while they do not fit together.

        A page that stays shorter than asked for while more rows match: a silently capped size.
        Where an earlier try is gone on with, the total may count the rows before it, too.
        """
        before: int | None = None
        for _ in range(ASK_AGAIN):
            page, counted = await asyncio.gather(self._pages.page(ask), self._pages.count(ask))
            total = page.facts.total if counted is None else counted
            resumed = ask.after is not None or (ask.offset or 0) > self._first_offset
            rows = page.facts.rows
            if total is None or resumed or rows >= min(ask.limit, total) or rows == before:
                return page, total
            before = rows or None
        if page.facts.rows:
            return page, total
        raise ContractBroken(
            f"the API counts {total} rows, but its first page is empty: does the count know the "
            "same filter as the page?"
        )

    async def _chain(self, segment: PageSegment) -> AsyncGenerator[ParsedPage, None]:
        ask: PageRequest | None = segment.request
        before: ParsedPage | None = None
        still = 0
        while ask is not None:
            page = await self._asked(ask, before)
            if page is None:
                return
            still = still + 1 if before is not None and is_same(before.facts, page.facts) else 0
            if still == _MOST_STILL:
                raise standing_still(page)
            before, facts = page, page.facts
            yield page
            total = self.tally.total if facts.total is None else facts.total
            known = replace(facts, total=total)
            ask = None if segment.closed else self._paging.next_request(ask, known)

    async def _asked(self, ask: PageRequest, before: ParsedPage | None) -> ParsedPage | None:
        if ask.before is not None:
            return await self._seek.in_range(ask, before)
        return await (self._pages.page(ask) if ask.offset is not None else self._seek.page(ask))

    async def _joined(self, page: ParsedPage) -> AsyncIterator[PageBatch]:
        """The new rows of a page; first those of the gap before it, if there is one.

        :raises ContractBroken: the gap stays, however often it and the page are asked for.
        """
        found: ParsedPage | None = page
        for tries in range(ASK_AGAIN):
            if tries:
                found = await self._asked(page.ask, None)
            if found is None:
                return  # of a range: left to the gap before the next one
            if found.facts.rows == 0 and found.ask.before is None:
                async for handed in self._after_empty(found):
                    yield handed
                return
            gap = not self._joins(found)
            if gap:
                self.tally.gaps_refetched += 1
                async for missing in self._gap(found):
                    yield self._taken(missing)
            if self._joins(found):
                # One that came before those of the gap, and ends before them, witnesses no end.
                if not gap or self._reach.brings(found.facts):
                    yield self._taken(found)
                return
        raise self._no_page_joins()

    async def _after_empty(self, page: ParsedPage) -> AsyncIterator[PageBatch]:
        """An empty page is the end, or odd: a second witness is asked for.

        Where offsets overlap it is always odd: rows are gone, so that it is no witness.
        """
        self._at_end = self._at_end or self._ended(int(page.ask.offset is None))
        if self._at_end:
            return
        ask = self._onward(page.ask) if self._can_seek else page.ask
        again = await (self._seek.page(ask) if self._can_seek else self._pages.page(ask))
        if again.facts.rows:
            async for handed in self._joined(again):
                yield handed
        elif self._can_seek or page.ask.offset in (None, self._first_offset):
            self._at_end = True
        else:
            async for found in self._walk(again, None):
                yield self._taken(found)
            self._at_end = self._reach.witnesses >= _ENOUGH

    async def _gap(self, page: ParsedPage) -> AsyncGenerator[ParsedPage, None]:
        """Pages from what is covered to a page that does not join."""
        if not self._can_seek:
            async for found in self._walk(page, page):
                yield found
            return
        empty = 0
        while not self._joins(page):
            found = await self._seek.page(self._onward(page.ask))
            if found.facts.rows:
                yield found
            elif (empty := empty + 1) == 2:
                return

    async def _walk(
        self, start: ParsedPage, target: ParsedPage | None
    ) -> AsyncGenerator[ParsedPage, None]:
        """Where keys can't be sought: back by offset until a page joins, then on to ``target``.

        Without a target, on until a page is short and brings nothing new.
        """
        ask, tries, still = start.ask, 0, 0
        found, before = start, start.facts
        patience = 32 + 2 * (start.ask.offset or 0) // max(1, start.ask.limit)
        while patience:
            if self._joins(found):
                brings = self._reach.brings(found.facts)
                ended = self._reach.ends_with(found.ask, found.facts)
                patience += brings
                yield found
                if target and self._joins(target):
                    return
                if not brings and ended:
                    return
                onward = (found.ask.offset or 0) + max(1, found.facts.rows - 1)
                ask, tries = replace(ask, offset=onward), 0
            else:
                ask, tries = earlier_request(found.ask, tries, self._first_offset), tries + 1
            found = await self._pages.page(ask)
            still = still + 1 if is_same(before, found.facts) else 0
            if still == _MOST_STILL:
                raise standing_still(found)
            before, patience = found.facts, patience - 1
        raise self._no_page_joins()

    async def _rest(self, head: PageRequest) -> AsyncIterator[PageBatch]:
        """What the pages so far have not reached, until two answers say that there is no more."""
        self._reach = replace(self._reach, witnesses=min(1, self._reach.witnesses))
        while self._reach.witnesses < self._enough() or await self._more_behind_one_row(head):
            if self._can_seek:
                yield self._taken(await self._seek.page(self._onward(head)))
                continue
            ask = replace(head, offset=self._offset)
            async for found in self._walk(await self._pages.page(ask), None):
                yield self._taken(found)

    def _enough(self) -> int:
        """Witnesses; one more where the API has counted more rows than came."""
        fewer = self.tally.total is not None and self._earlier + self.tally.rows < self.tally.total
        return _ENOUGH + fewer

    async def _more_behind_one_row(self, head: PageRequest) -> bool:
        """:raises ContractBroken: one row a page, so that there is nothing to overlap by."""
        if self._can_seek or self._reach.most_rows != 1 or self._all_counted():
            return False
        ask = replace(head, offset=self._offset)
        for _ in range(_TIMES_TO_BE_SURE):
            behind = await self._pages.page(replace(ask, offset=self._offset + 1))
            if not self._reach.brings(behind.facts):
                return False
            if (await self._pages.page(ask)).facts.rows != 1:
                return True  # it has come meanwhile
        raise self._no_page_joins()

    def _joins(self, page: ParsedPage) -> bool:
        return self._reach.joins(page.ask, page.facts, self._first_offset)

    def _ended(self, more: int = 0) -> bool:
        """:param more: witnesses beside those of the pages taken."""
        if self.tally.total is None:
            return self._reach.witnesses + more >= _ENOUGH
        return self._reach.ended and self._all_counted()

    def _no_page_joins(self) -> ContractBroken:
        if self._reach.most_rows == 1 and not self._can_seek:
            return ContractBroken(
                "the API gives one row a page, so that pages can't overlap: say so with "
                "paging.overlap: false"
            )
        return ContractBroken(
            f"no page joins the rows up to {self._key} {self._reach.covered}: does the API count "
            "the offset in rows, and sort by the key?"
        )

    def _onward(self, ask: PageRequest) -> PageRequest:
        covered = self._reach.covered
        after = ask.after if covered is None else covered
        return replace(ask, offset=None, after=after, before=None)

    def _all_counted(self) -> bool:
        return self.tally.total in (None, self._earlier + self.tally.rows)

    def _taken(self, page: ParsedPage) -> PageBatch:
        """Hand the page's rows on, without those that are covered."""
        table = page.table
        reach = self._reach
        if first := first_new(table[self._key], reach.covered, descending=reach.descending):
            table = table.slice(first)
        if page.ask.offset is not None and self._reach.brings(page.facts):
            self._offset = page.ask.offset + page.facts.rows - 1
        self._reach = self._reach.extended(page.ask, page.facts)
        self._room.saw(max(page.arrow_bytes, page.body_bytes), page.latency_s)
        self.tally.pages += 1
        self.tally.rows += table.num_rows
        position: dict[str, Any] = {
            "covered": key_to_json(self._reach.covered),
            "offset": self._offset,
        }
        position["rows"] = self._earlier + self.tally.rows
        return PageBatch(table, position, page.arrow_bytes)
