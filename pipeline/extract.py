"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

``by_key`` endpoints are read under the proof of ``proof``: each page handed on joins the ones
before it, gaps are fetched again, and rows that were seen are dropped. Other endpoints are chains
and numbered pages, where nothing can overlap: a row that comes again is dropped by its key, and
where the API has a count it has to agree with the rows, else a second pass is made.

Each page handed on carries the position after it: what a later try starts from.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ContractBroken
from pipeline.fetch import Fetched, Pages
from pipeline.lanes import in_order
from pipeline.paging import Ask, Facts, OffsetPager, Pager, Segment
from pipeline.proof import Reach, earlier_ask, gap_ask

_MOST_PASSES = 3


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


class ByKey:
    """Pages that come in order of a unique key."""

    def __init__(
        self, pages: Pages, pager: Pager, *, key: str, ahead: int, can_seek: bool, descending: bool
    ) -> None:
        self._pages = pages
        self._pager = pager
        self._key = key
        self._ahead = ahead
        self._can_seek = can_seek
        self._first_offset = pager.first_offset if isinstance(pager, OffsetPager) else 0
        self._reach = Reach(descending=descending)
        self.tally = Tally()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        """:param position: where an earlier try stopped; None = from the beginning."""
        head_ask = self._pager.first()
        if position is not None:
            self._reach = replace(self._reach, covered=position["covered"])
            if self._can_seek:
                head_ask = replace(head_ask, after=position["covered"])
            else:
                head_ask = replace(head_ask, offset=position["offset"])
        head, total = await self._head(head_ask)
        self.tally.total = total
        facts = replace(head.facts, total=total)
        async for handed in self._joined(head):
            yield handed
        segments = self._pager.planned(head.ask, facts)
        if not segments and (follows := self._pager.after(head.ask, facts)) is not None:
            segments = (Segment(follows),)
        async with aclosing(in_order(segments, self._chain, self._ahead)) as pages:
            async for page in pages:
                async for handed in self._joined(page):
                    yield handed
        async for handed in self._confirmed_end(head_ask):
            yield handed
        self.tally.contiguous = True

    async def _head(self, ask: Ask) -> tuple[Fetched, int | None]:
        """The first page and the count, at once; an empty page with rows to come is odd."""
        page, counted = await asyncio.gather(self._pages.page(ask), self._pages.count(ask))
        total = counted if counted is not None else page.facts.total
        if page.facts.rows == 0 and total:
            page, counted = await asyncio.gather(self._pages.page(ask), self._pages.count(ask))
            total = counted if counted is not None else page.facts.total
            if page.facts.rows == 0 and total:
                raise ContractBroken(f"the API counts {total} rows, but its first page is empty")
        return page, total

    async def _chain(self, segment: Segment) -> AsyncGenerator[Fetched, None]:
        ask: Ask | None = segment.ask
        before: Facts | None = None
        while ask is not None:
            page = await self._pages.page(ask)
            if before is not None and _same(before, page.facts):
                page = await self._pages.page(ask)
                if _same(before, page.facts):
                    raise ContractBroken(
                        f"the page with keys {before.first} to {before.last} came again for the "
                        f"page "
                        "after it: does the API know the paging parameter?"
                    )
            before = page.facts
            yield page
            total = self.tally.total if page.facts.total is None else page.facts.total
            ask = None if segment.closed else self._pager.after(ask, replace(before, total=total))

    async def _joined(self, page: Fetched) -> AsyncIterator[Handed]:
        """The new rows of a page; first those of the gap before it, if there is one."""
        if not self._reach.joins(page.ask, page.facts, self._first_offset):
            self.tally.gaps_refetched += 1
            async for missing in self._gap(page):
                yield self._taken(missing)
            if page.facts.rows == 0:
                return
        yield self._taken(page)

    async def _gap(self, page: Fetched) -> AsyncIterator[Fetched]:
        if self._can_seek:
            ask = gap_ask(page.ask, self._reach, page.facts)
            async with aclosing(self._seek(ask)) as missing:
                async for found in missing:
                    yield found
            return
        for tries in range(64):
            ask = earlier_ask(page.ask, tries, self._first_offset)
            found = await self._pages.page(ask)
            if self._reach.joins(ask, found.facts, self._first_offset):
                break
        while True:
            yield found
            joined = self._reach.joins(page.ask, page.facts, self._first_offset)
            if joined or found.facts.rows < ask.limit:
                return
            ask = replace(ask, offset=(ask.offset or 0) + max(1, found.facts.rows - 1))
            found = await self._pages.page(ask)

    async def _seek(self, ask: Ask) -> AsyncGenerator[Fetched, None]:
        """Keyset pages from ``ask`` on, to a short one."""
        while True:
            found = await self._pages.page(ask)
            yield found
            if found.facts.rows < ask.limit:
                return
            ask = replace(ask, after=found.facts.last)

    def _taken(self, page: Fetched) -> Handed:
        """Hand the page's rows on, without those that are covered."""
        covered = self._reach.covered
        table = page.table
        if covered is not None and table.num_rows:
            keys = table[self._key]
            fresh = pc.less(keys, covered) if self._reach.descending else pc.greater(keys, covered)
            table = table.filter(fresh)
        self._reach = self._reach.extended(page.ask, page.facts)
        self.tally.pages += 1
        self.tally.rows += table.num_rows
        offset = (page.ask.offset or 0) + max(0, page.facts.rows - 1)
        return Handed(table, {"covered": self._reach.covered, "offset": offset})

    async def _confirmed_end(self, head: Ask) -> AsyncIterator[Handed]:
        """If fewer rows came than were counted, make sure that there are no more."""
        total, empty = self.tally.total, 0
        if total is None or not self._can_seek:
            return
        while self.tally.rows < total and empty < 2:
            ask = replace(head, offset=None, after=self._reach.covered, before=None)
            found = await self._pages.page(ask)
            if found.facts.rows == 0:
                empty += 1
                continue
            yield self._taken(found)


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
        self._ahead = ahead
        self._slices = slices
        self._seen: set[Any] = set()
        self.tally = Tally()

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        """:param position: where an earlier try stopped; None = from the beginning."""
        earlier = position["rows"] if position else 0
        while True:
            async for handed in self._pass(position, earlier):
                yield handed
            total, rows = self.tally.total, earlier + self.tally.rows
            self.tally.contiguous = total is None or rows == total
            if self.tally.contiguous or self.tally.passes == _MOST_PASSES:
                return
            self.tally.passes += 1
            position = None

    async def _pass(
        self, position: Mapping[str, Any] | None, earlier: int
    ) -> AsyncGenerator[Handed, None]:
        starts = self._starts(position)
        first = position["segment"] if position else 0
        async with aclosing(in_order(enumerate(starts, first), self._chain, self._ahead)) as pages:
            async for index, page, follows in pages:
                table = self._fresh(page.table)
                self.tally.pages += 1
                self.tally.rows += table.num_rows
                ask = follows.to_json() if follows else None
                rows = earlier + self.tally.rows
                yield Handed(table, {"segment": index, "ask": ask, "rows": rows})

    def _starts(self, position: Mapping[str, Any] | None) -> list[Ask | None]:
        first = self._pager.first()
        asks: list[Ask | None] = [replace(first, window=s) for s in self._slices] or [first]
        if position is None:
            return asks
        resumed = Ask.from_json(position["ask"]) if position["ask"] else None
        return [resumed, *asks[position["segment"] + 1 :]]

    async def _chain(
        self, start: tuple[int, Ask | None]
    ) -> AsyncGenerator[tuple[int, Fetched, Ask | None], None]:
        index, ask = start
        before: Fetched | None = None
        while ask is not None:
            page = await self._pages.page(ask)
            if before is not None and self._repeats(before, page):
                page = await self._pages.page(ask)
                if self._repeats(before, page):
                    raise ContractBroken(
                        "a page came again as the page after it: does the API know the paging "
                        "parameter, and is the path to the next token right?"
                    )
            if page.facts.total is not None and index == 0:
                self.tally.total = page.facts.total
            before = page
            follows = self._pager.after(ask, page.facts)
            yield index, page, follows
            ask = follows

    def _repeats(self, before: Fetched, page: Fetched) -> bool:
        if page.table.num_rows == 0 or page.table.num_rows != before.table.num_rows:
            return False
        return all(page.table[name].equals(before.table[name]) for name in self._key)

    def _fresh(self, table: pa.Table) -> pa.Table:
        keep = []
        for key in zip(*(table[name].to_pylist() for name in self._key), strict=True):
            keep.append(key not in self._seen)
            self._seen.add(key)
        if all(keep):
            return table
        self.tally.repeated_rows += keep.count(False)
        return table.filter(pa.array(keep, pa.bool_()))


def _same(before: Facts, facts: Facts) -> bool:
    return facts.rows > 1 and (before.first, before.last) == (facts.first, facts.last)
