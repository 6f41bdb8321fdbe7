"""The reader of chains and of numbered pages without the order of a unique key.

``contiguous`` reads pages that have that order. This reader does the following:

- A row that equals an earlier one in all columns is dropped. A row with the key of an earlier one
  that differs from it is yielded: the commit decides between the two (``pipeline.run.verify``).
- If the API counts the rows, the count has to agree with those that came. Else another pass over
  all pages is made (``completeness``).
- Rows without a key (``key: none``) are all yielded, in one pass.
- Numbered pages that neither overlap nor are counted are not proved: nothing would show that a row
  was passed over.
- A sweep would take a row that was passed over for deleted. So of pages that may have shifted it
  needs a pass that has every key of the pass before it (``until_sure``).
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline.errors import ContractBroken, HeadraceError, RequestRefused
from pipeline.extract.alike_pages import AlikePages
from pipeline.extract.completeness import (
    MOST_EMPTY,
    CountReconciliation,
    LoopGuard,
    goes_back,
    is_end,
)
from pipeline.extract.confirmation import LIMITS, changed_page
from pipeline.extract.cursor_pages import check_last
from pipeline.extract.feed import Feed
from pipeline.extract.growing_tail import GrowingTail
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.position import (
    CannotResume,
    ExtractionProgress,
    LastPage,
    PageBatch,
    ResumePosition,
    SequentialPosition,
)
from pipeline.extract.prefetch import AdaptiveConcurrency, Ahead, in_order
from pipeline.extract.seen_rows import SeenRows, row_digests
from pipeline.extract.unproved import (
    first_page_before,
    unproved_by_count,
    unproved_by_total,
    with_reach,
)
from pipeline.extract.window_cuts import WHOLE_WINDOW, WindowCuts
from pipeline.pagination import Paging
from pipeline.pagination.page import Keys, PageInfo, PageRequest

_CHECKS_OF_NUMBERS = "2. `first` in `paging`: some APIs take page 0 for page 1"
_CHECKS_OF_CHAINS = (
    "2. the path to the next token; 3. `paging.more`, or `until_short: true` with `paging.total`, "
    "if the last page names a next page, too"
)


@dataclass(frozen=True)
class _ChainStart:
    """The start of a chain of pages in a slice of the window.

    :ivar index: of the slice. :ivar request: of the first page; None: the chain has no pages.
    :ivar previous: the page before the first one, where it is known.
    :ivar closed: the chain ends with its first page.
    """

    index: int
    request: PageRequest | None
    previous: ParsedPage | None = None
    closed: bool = False


class SequentialReader:
    """Chains and numbered pages: what comes again is dropped, and the count has to agree."""

    def __init__(
        self,
        pages: PageSource,
        paging: Paging,
        *,
        key: tuple[str, ...],
        own_key: tuple[str, ...] | None = None,
        ahead: Ahead,
        cuts: WindowCuts = WHOLE_WINDOW,
        until_sure: bool = False,
        feed: Feed | None = None,
        tail: GrowingTail | None = None,
        progress: ExtractionProgress | None = None,
    ) -> None:
        """:param key: the columns that identify a row; empty if none do.
        :param own_key: those of them that the API's own rows have. Default: all.
        :param ahead: how many pages may be requested ahead of the reader.
        :param cuts: the slices of the window that are read one by one, and how they are counted.
        :param until_sure: pages that may have shifted are read until two passes agree; see the
            module.
        :param feed: notes how far back the pages reach, if they are those of a feed. Pages of a
            feed that may end early are requested one after the other.
        :param tail: ``pages`` itself, if it marks the page at which a growing API is left.
        """
        self._pages = pages
        self._paging = paging
        self._key, self._own_key = key, key if own_key is None else own_key
        self._boundary_keys: tuple[Keys, ...] = ()
        self._concurrency = AdaptiveConcurrency(ahead)
        self._slices, self._counted_by = cuts.slices, cuts.counted_by
        self._until_sure = until_sure
        self._search, self._feed, self._tail = cuts.search, feed, tail
        self._missing: str | None = None  # of a search in parts: fewer rows than the whole has
        self._stopped = False  # at a page that is older than the window
        self._outgrown = False  # the rows grow faster than an end can be confirmed
        self._grew = 0  # consecutive passes in which the API's count grew
        self._seen_rows = SeenRows()
        self._slice = -1  # the one that is being read
        self._lap = 0  # counts the slices that were read, over all passes
        self._first_laps = [0, 0]  # of the pass before, and of this one
        self._counts = CountReconciliation()
        self._loop_guard = LoopGuard()
        self._alike_pages = AlikePages(pages)
        self._previous: PageInfo | None = (
            None  # of the page before, in this attempt or the earlier one
        )
        self.progress = progress or ExtractionProgress()

    async def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """All rows, each once.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: a second pass is needed, which can't be made behind earlier rows; or
            the position is of another reader.
        """
        start = SequentialPosition.of(position)
        self.progress.bookmark = start.bookmark if start else None
        if start is not None:
            self.progress.resume_from(start.unproved)
            self._outgrown = self.progress.tail_rows > 0
            if self._tail is not None and start.request is not None:
                self._tail.resume(start.request, start.counts.received.get(start.index, 0))
        resumed, agreed = start is not None, False
        while True:
            if self._search is not None:
                if start is not None and not start.slices:
                    raise CannotResume("the position names no parts of the search")
                parts = start.slices if start else await self._search.slices()
                self._slices = self._counted_by = parts
            self._counts = (
                start.counts.snapshot() if start else CountReconciliation(await self._count())
            )
            self.progress.total = self._counts.counted
            self._missing = None
            async for batch in self._pass(start):
                yield batch
            agrees = await self._agrees()
            if self._search is None:
                self.progress.unproved = self.progress.unproved or unproved_by_total(self._counts)
            if self._until_sure and self._counts.shifts:
                may_agree = agrees is not False and not self._counts.capped
                agrees, agreed = may_agree and agreed and self._has_all_before(), may_agree
            self.progress.contiguous = bool(agrees)
            self.progress.proof_basis = self._counts.proof_basis
            if agrees is not False:
                return
            if resumed:
                raise CannotResume(
                    "the rows of all attempts and the API's count do not agree, and which rows the "
                    "earlier attempt read is not known"
                )
            await self._refuse_if_pages_begin_earlier()
            self._grew = self._grew + 1 if self._counts.grew else 0
            last = self.progress.passes == LIMITS.passes or self._grew == LIMITS.growing_passes
            if last or not self._key:
                self._refuse_if_stuck()
                by_count = unproved_by_count(self._counts, self.progress.passes)
                self.progress.unproved = self.progress.unproved or by_count or self._missing
                return
            self.progress.passes += 1
            start = None

    async def _count(self) -> int | None:
        """How many rows the API counts, over all slices."""
        first, total = self._paging.first_request(), 0
        for request in [replace(first, window=s) for s in self._counted_by] or [first]:
            count = await self._pages.count(request)
            if count is None:
                return None
            total += count
        return total

    async def _agrees(self) -> bool | None:
        """Whether this pass brought as many rows as the API says there are, before and after."""
        if self.progress.unproved is not None:
            return None
        if self._stopped:  # no count of all rows says anything of those that were read
            return None if self._counts.blind or not self._counts.steady else True
        counted = self._counts.counted
        if self._outgrown:  # no pass brings as many rows as are counted at its end
            proved = self._counts.steady and not self._counts.blind
            return self._counts.rows >= (counted or 0) if proved else None
        all_came = counted is not None and self._counts.rows == counted
        agrees = self._counts.agrees(await self._count() if all_came else None)
        if agrees and self._search is not None:
            self._missing = await self._search.missing(self._slices, self._counts.rows)
            return self._missing is None
        return agrees

    async def _refuse_if_pages_begin_earlier(self) -> None:
        """Look at the page before the first one, if no more rows are missing than a page has.

        :raises ContractBroken: it has rows, and none of them has come.
        """
        missing = (self._counts.expected or 0) - self._counts.rows
        before = self._paging.before_first()
        if before is None or not self._key or self._slices or not 0 < missing <= before.limit:
            return
        try:
            page = await self._pages.page(before)
        except HeadraceError:
            return
        keys = row_digests(page.table, self._key)
        if 0 < len(keys) <= missing and not self._seen_rows.known(keys):
            raise first_page_before(page, self._paging.first_request())

    def _has_all_before(self) -> bool:
        """Whether no key of the pass before is missing in this one.

        A row is passed over where one that was read is deleted: then that one is missing here.
        """
        return not self._seen_rows.any_last_in(*self._first_laps)

    def _refuse_if_stuck(self) -> None:
        """:raises ContractBroken: rows are counted, but no page after the first one brings any."""
        total = self.progress.total or 0
        if self._loop_guard.useful <= 1 and self._counts.rows < total:
            raise ContractBroken(
                f"The API counts {total} rows, but only {self._counts.rows} came, however many "
                "pages were requested. Check: 1. that the API knows the paging parameter; 2. the "
                "path to the total"
            )

    async def _pass(self, position: SequentialPosition | None) -> AsyncGenerator[PageBatch, None]:
        first = self._chain_starts(position)
        starts: Iterable[_ChainStart] = first
        self._loop_guard = LoopGuard()
        self._previous = position.last.info if position and position.last else None
        self._slice, self._lap = first[0].index, self._lap + 1
        self._first_laps = [self._first_laps[1], self._lap]
        self._boundary_keys = self._previous.boundary_keys if self._previous else ()
        if len(first) == 1 and first[0].request is not None:
            head = await self._pages.page(first[0].request)
            yield await self._batch_of(first[0].index, head)
            starts = () if self._stopped else self._planned(first[0].index, head)
        in_turn = self._feed is not None and self._feed.may_end_early
        chains = (
            self._in_turn(starts) if in_turn else in_order(starts, self._chain, self._concurrency)
        )
        async with aclosing(chains) as pages:
            async for index, page in pages:
                yield await self._batch_of(index, page)
                if self._stopped:
                    return
                is_beyond = len(first) == 1 and self._loop_guard.beyond_all_rows
                if is_beyond and self._info_of(page).total is not None:
                    return

    async def _in_turn(
        self, starts: Iterable[_ChainStart]
    ) -> AsyncGenerator[tuple[int, ParsedPage], None]:
        """The pages of every chain, each requested once the one before it has been handed on."""
        for start in starts:
            async with aclosing(self._chain(start)) as pages:
                async for page in pages:
                    yield page

    def _planned(self, index: int, head: ParsedPage) -> Iterable[_ChainStart]:
        """The chains behind a first page: all numbered pages where their count is known."""
        planned = self._paging.planned(head.request, self._info_of(head))
        if planned is not None:
            return (
                _ChainStart(index, s.request, None if s.closed else head, s.closed) for s in planned
            )
        return [_ChainStart(index, self._next_request(head), head)]

    def _info_of(self, page: ParsedPage) -> PageInfo:
        """What the page says of itself, with the API's own count as its total, if there is one. The
        count is of all slices, and so is left out where there are several."""
        info, counted = page.info, self._counts.counted
        says_nothing = counted is None or len(self._slices) > 1
        return info if says_nothing else replace(info, total=counted)

    def _is_capped(self, page: ParsedPage) -> bool:
        """Whether a part of a search has grown to its cap: the next pass cuts it."""
        total = page.info.total
        return self._search is not None and total is not None and total >= self._search.cap

    def _next_request(self, page: ParsedPage) -> PageRequest | None:
        if self._stopped or page.tail is not None or self._is_capped(page):
            return None
        return self._paging.next_request(page.request, self._info_of(page))

    async def _batch_of(self, index: int, page: ParsedPage) -> PageBatch:
        """Hand on the rows that no page before had, and the position behind them.

        :raises ContractBroken: by the cursor, it has what the page before it should have had.
        """
        self._record_in_feed(page)
        following, info, counts = self._next_request(page), page.info, self._counts
        if not self._key and page.request.by_number and following is not None:
            await self._alike_pages.look(page)
        self.progress.unproved = self.progress.unproved or page.looks_incomplete
        self._note_tail(page)
        if self._previous is not None and following is None and page.tail is None:
            await check_last(self._pages, self._previous, page.request, info)
        shared = len(self._previous.boundary_keys) if self._previous is not None else 0
        self._compare_with_previous(index, page)
        table, new = self._new_rows(page, index, shared)
        counts.record_rows(index, new + page.outside)
        outside = info.rows - page.table.num_rows
        self._loop_guard.record(index, page.request, info, new, table.num_rows + outside)
        if info.total is not None:
            counts.record_total(index, info.total)
            counts.steady &= not self._is_capped(page)
            if counts.counted is None:
                self.progress.total = sum(counts.totals.values())
        self._concurrency.record(max(page.arrow_bytes, page.body_bytes), page.latency_s)
        self.progress.pages += 1
        self.progress.rows += table.num_rows
        slices = self._slices if self._search is not None else ()
        self.progress.bookmark = page.bookmark
        after = SequentialPosition(
            index,
            following,
            LastPage.of(info),
            counts.snapshot(),
            slices,
            page.bookmark,
            self.progress.unproved_so_far,
        )
        return PageBatch(table, after, page.arrow_bytes)

    def _record_in_feed(self, page: ParsedPage) -> None:
        if self._feed is not None and page.of_feed is not None:
            is_first = self._paging.is_first(page.request)
            self._stopped |= self._feed.record(page.of_feed, is_first=is_first)

    def _note_tail(self, page: ParsedPage) -> None:
        if page.tail is not None:
            self._outgrown = True
            self.progress.tail_rows += page.tail.rows_left
            self.progress.unproved = self.progress.unproved or page.tail.unproved

    def _compare_with_previous(self, index: int, page: ParsedPage) -> None:
        """Whether a page begins where the one before it ended, as far as it shows."""
        request, info, previous, self._previous = page.request, page.info, self._previous, page.info
        self._counts.steady &= not page.last_row_deleted
        self._counts.chained |= page.ends_by_empty
        if previous is not None and goes_back(previous, request):
            self._counts.joined = True
        elif self._paging.is_first(request):
            return
        elif previous is not None and previous.first_keys is not None:
            alone = previous.rows == 1 and info.rows == 0  # of one row none is left over
            self._counts.steady &= alone or info.first_keys in previous.boundary_keys
            self._counts.joined = True
        elif self._paging.may_shift(request):
            self._counts.blind.add(index)
        else:
            self._counts.chained = True

    def _chain_starts(self, position: SequentialPosition | None) -> list[_ChainStart]:
        first = self._paging.first_request()
        requests: list[PageRequest | None] = [replace(first, window=s) for s in self._slices] or [
            first
        ]
        start = 0
        if position is not None:
            start = position.index
            requests = [position.request, *requests[start + 1 :]]
        return [_ChainStart(index, request) for index, request in enumerate(requests, start)]

    async def _chain(self, start: _ChainStart) -> AsyncGenerator[tuple[int, ParsedPage], None]:
        request, previous, moved, empty = start.request, start.previous, False, 0
        while request is not None:
            was_end = previous is not None and self._paging.says_last(
                previous.request, previous.info
            )
            try:
                page = await self._pages.page(request)
            except RequestRefused as error:
                if previous and is_end(
                    error,
                    self._paging.first_request(),
                    request,
                    self._total_at(previous),
                    says_end=was_end,
                ):
                    return
                total = None if self._slices else self.progress.total
                raise with_reach(error, self._paging.first_request(), request, total) from None
            changed = await changed_page(self._pages, page, previous)
            if changed is None:
                if (moved or was_end) and request.by_number:
                    # Some APIs send their last page for ever; one that overlaps can't be it.
                    self._counts.steady &= page.info.first_keys is None
                    return
                further = _CHECKS_OF_NUMBERS if request.by_number else _CHECKS_OF_CHAINS
                raise ContractBroken(
                    "A page came again as the page after it. Check: 1. that the API knows the "
                    f"paging parameter; {further}"
                )
            moved, previous, page = previous is not None, changed, changed
            yield start.index, page
            empty = empty + 1 if request.by_number and page.info.rows == 0 else 0
            beyond = empty >= MOST_EMPTY and self._total_at(page) is not None  # it is too high
            ended = start.closed or beyond or (was_end and page.info.rows == 0)
            request = None if ended else self._next_request(page)

    def _total_at(self, page: ParsedPage) -> int | None:
        """The total that counts a page's rows: of slices each page only its own."""
        return page.info.total if self._slices else self._info_of(page).total

    def _remember_boundary(self, table: pa.Table) -> None:
        """Note the rows that an earlier attempt has staged, and the first page has once more.

        :param table: rows of that page: the columns that are not the API's own are the same in all.
        """
        keys, self._boundary_keys = self._boundary_keys, ()
        if keys:
            columns = dict(zip(self._own_key, zip(*keys, strict=True), strict=True))
            others = {n: [table[n][0].as_py()] * len(keys) for n in self._key if n not in columns}
            boundary = pa.table({name: pa.array(of) for name, of in {**columns, **others}.items()})
            self._seen_rows.remember(row_digests(boundary, self._key), self._lap)

    def _new_rows(self, page: ParsedPage, index: int, shared: int) -> tuple[pa.Table, int]:
        """The rows of a page that no page before had, and how many keys are new in this pass and
        slice.

        :param shared: how many rows the page was to repeat from the one before it.
        """
        if index != self._slice:
            self._slice, self._lap = index, self._lap + 1
        table = page.table
        if not self._key or not table.num_rows:
            return table, table.num_rows
        self._remember_boundary(table)
        keys, rows = row_digests(table, self._key), row_digests(table, page.own_columns)
        novelty = self._seen_rows.add(keys, rows, self._lap)
        again = novelty.changed_since | (novelty.changed if shared else False)
        if again.any():
            self.progress.reread_keys.append(keys[again])
        dropped = table.num_rows - int(novelty.keep.sum())
        if not dropped:
            return table, novelty.new_keys
        self.progress.duplicate_rows += max(0, dropped - shared)
        return table.filter(pa.array(novelty.keep)), novelty.new_keys
