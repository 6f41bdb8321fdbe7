"""The reader of pages in the order of a unique key, proved by ``completeness.Coverage``.

Each page that is yielded joins the pages before it: it begins at or before their last key. If a
page does not join, rows may lie in the gap. They are fetched by key where the API can seek; else
the reader walks back by offset until a page joins. Rows up to the last key are dropped from the
next page, so that no row comes twice.

A sick API sends odd pages and wrong counts. So the end takes two confirmations, one of these pairs:

- a short page, and a count that agrees;
- a short page, and a page that brings nothing;
- two pages that bring nothing, and no count of rows behind them.

If the end of a range of keys is not confirmed, the reader goes on without an upper bound.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from pipeline.errors import ContractBroken
from pipeline.extract.completeness import (
    Coverage,
    ProofBasis,
    earlier_request,
    has_same_keys,
    unchanged_pages,
)
from pipeline.extract.confirmation import LIMITS, KeySeeker, Pause, no_pause
from pipeline.extract.feed import Feed
from pipeline.extract.growing_tail import GrowingTail
from pipeline.extract.page_checks import first_new
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.position import (
    ContiguousPosition,
    ExtractionProgress,
    PageBatch,
    ResumePosition,
)
from pipeline.extract.prefetch import AdaptiveConcurrency, Ahead, in_order
from pipeline.extract.unproved import unproved_by_reach
from pipeline.pagination import Paging
from pipeline.pagination.page import PageRequest, PageSegment

_LEAST_TO_SHARE = 10
"""Rows of a page of which one may come again: of fewer it would be too large a part."""


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
        pause: Pause = no_pause,
        feed: Feed | None = None,
        tail: GrowingTail | None = None,
        progress: ExtractionProgress | None = None,
    ) -> None:
        """:param ahead: how many pages may be requested ahead of the reader.
        :param can_seek: the API can give the rows after a key; else only those at an offset.
        :param pause: waits before the end that an empty page suggests is confirmed.
        :param feed: notes how far back the pages reach, if they are those of a feed.
        :param tail: ``pages`` itself, if it marks the page at which a growing API is left.
        """
        self._pages = pages
        self._pause = pause
        self._paging = paging
        self._key = key
        self._concurrency = AdaptiveConcurrency(ahead)
        self._can_seek = can_seek
        self._seeker = KeySeeker(pages, key, self._all_rows_came, descending=descending)
        self._first_offset = paging.first_request().offset or 0
        self._offset = self._first_offset
        self._last_request: PageRequest | None = None  # that brought rows
        self._earlier_rows = 0
        self._rows_before = 0  # of earlier attempts, behind which the API is asked by key
        self._total_of_all: int | None = None  # as it was on the first page of all
        self._counted: int | None = None  # by a request of its own
        self._duplicates_of_last = 0  # of the last page that brought rows
        self._at_end = False
        self._coverage = Coverage(descending=descending)
        self._feed, self._tail = feed, tail
        self.progress = progress or ExtractionProgress()

    async def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """All rows, page by page, each once.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: the position is of another reader.
        """
        earlier = ContiguousPosition.of(position)
        head, total = await self._head(self._resumed(self._paging.first_request(), earlier))
        self.progress.total = total
        self._compare_totals(head, earlier)
        if not head.info.rows:  # else it is recorded with its rows
            self._record(head)
        self._at_end = total == 0 and head.info.rows == 0
        async for batch in self._joined(head):
            yield batch
        segments = self._paging.planned(head.request, replace(head.info, total=total))
        if segments is None:
            following = self._paging.next_request(head.request, replace(head.info, total=total))
            shared = following and self._with_shared_row(following, head)
            segments = (PageSegment(shared),) if shared else ()
        async with aclosing(in_order(segments, self._chain, self._concurrency)) as pages:
            while not self._at_end and (page := await anext(pages, None)) is not None:
                async for batch in self._joined(page):
                    yield batch
        if not (self._at_end or self._ended()):
            async for batch in self._rest(head.request):
                yield batch
        if self.progress.pages == 1 and self.progress.total is None:
            await self._seeker.check_filter(head)
        if not self._can_seek:
            rows = self._earlier_rows + self.progress.rows
            at_reach = unproved_by_reach(rows, self._counted)
            self.progress.unproved = self.progress.unproved or at_reach
        self.progress.contiguous = self.progress.unproved is None

    def _resumed(self, first: PageRequest, position: ContiguousPosition | None) -> PageRequest:
        if position is None:
            return first
        self._coverage = replace(self._coverage, covered=position.covered)
        self.progress.resume_from(position.unproved)
        if self._can_seek:
            self._rows_before = position.rows
            return replace(first, after=self._coverage.covered)
        self._offset, self._earlier_rows = position.offset, position.rows
        return replace(first, offset=self._offset)

    def _compare_totals(self, head: ParsedPage, earlier: ContiguousPosition | None) -> None:
        """Give the tail the rows of earlier attempts, if the totals on the pages include them.

        Some APIs count only the rows behind the key that a page is requested from. Their total has
        fallen since the first page of all, by most of the rows that came.
        """
        now = head.info.total
        self._total_of_all = before = earlier.total if earlier else now
        if earlier is None or self._tail is None:
            return
        falls = now is None or before is None or now < before - earlier.rows / 2
        if not (self._can_seek and falls):
            self._tail.resume(head.request, earlier.rows)

    async def _head(self, request: PageRequest) -> tuple[ParsedPage, int | None]:
        """The first page and the count, requested again while they do not fit together.

        A page that stays shorter than requested while more rows match has a silently capped size:
        it is taken as it is. Where an earlier attempt is resumed, the total may count the rows
        before it, too.
        """
        previous: int | None = None
        for _ in range(LIMITS.key_page_attempts):
            page, counted = await asyncio.gather(
                self._pages.page(request), self._pages.count(request)
            )
            self._counted = counted
            total = page.info.total if counted is None else counted
            resumed = request.after is not None or (request.offset or 0) > self._first_offset
            rows = page.info.rows
            if total is None or resumed or rows >= min(request.limit, total) or rows == previous:
                return page, total
            previous = rows or None
            if not rows:
                await self._pause()
        if page.info.rows:
            return page, total
        raise ContractBroken(
            f"The API counts {total} rows, but its first page is empty. Check: that the count has "
            "the same filter as the page"
        )

    async def _chain(self, segment: PageSegment) -> AsyncGenerator[ParsedPage, None]:
        request: PageRequest | None = segment.request
        previous: ParsedPage | None = None
        unchanged = 0
        while request is not None:
            page = await self._requested(request, previous)
            if page is None:
                return
            unchanged = (
                unchanged + 1
                if previous is not None and has_same_keys(previous.info, page.info)
                else 0
            )
            if unchanged == LIMITS.unchanged_pages:
                raise unchanged_pages(page)
            shared_alone = previous is not None and _has_last_row_alone(page, previous)
            previous, info = page, page.info
            yield page
            if shared_alone:
                return
            if info.total is None and self.progress.total is not None:
                info = replace(info, total=self.progress.total)
            ends = segment.closed or page.tail is not None
            following = None if ends else self._paging.next_request(request, info)
            request = following and self._with_shared_row(following, page)

    def _with_shared_row(self, following: PageRequest, page: ParsedPage) -> PageRequest:
        """The page after another, from the row before its last one on.

        Else a row with the key of the last one would lie on neither page. Now the page after has
        both, and is refused as two rows of one key are. At the end it has the last row alone, which
        no API sends that is away.
        """
        info, limit = page.info, page.request.limit
        if info.rows < limit:
            shares = following.before is None and self.progress.total is None
        else:
            shares = info.rows >= _LEAST_TO_SHARE
        if not shares or following.after != info.last or info.before_last is None:
            return following
        return replace(following, after=info.before_last)

    async def _requested(
        self, request: PageRequest, previous: ParsedPage | None
    ) -> ParsedPage | None:
        if request.before is not None:
            return await self._seeker.in_range(request, previous)
        return await (
            self._pages.page(request) if request.offset is not None else self._seeker.page(request)
        )

    async def _joined(self, page: ParsedPage) -> AsyncIterator[PageBatch]:
        """The new rows of a page; first those of the gap before it, if there is one.

        :raises ContractBroken: the gap stays, however often the page is requested.
        """
        current: ParsedPage | None = page
        for attempt in range(LIMITS.key_page_attempts):
            if attempt:
                current = await self._requested(page.request, None)
            if current is None:
                return  # of a range: left to the gap before the next one
            if current.info.rows == 0 and current.request.before is None:
                async for batch in self._after_empty(current):
                    yield batch
                return
            gap = not self._joins(current)
            if gap:
                self.progress.gaps_refetched += 1
                async for missing in self._gap(current):
                    yield self._batch_of(missing)
            if self._joins(current):
                # A page that came before those of the gap, and ends before them, confirms no end.
                if not gap or self._coverage.brings(current.info):
                    yield self._batch_of(current)
                return
        raise self._no_page_joins()

    async def _after_empty(self, page: ParsedPage) -> AsyncIterator[PageBatch]:
        """The rows behind an empty page, which is either the end or a mistake of the API: a second
        request decides.

        Where offsets overlap, an empty page shows that rows were deleted, and confirms no end.
        """
        is_counted = self._is_counted
        self._at_end = self._at_end or page.ends_by_empty
        if self._at_end:
            if page.ends_by_empty and not is_counted:
                self.progress.proof_basis = ProofBasis.CHAIN
            return
        if self._ended(int(page.request.offset is None)):
            before = None if is_counted or self._ended() else await self._page_before()
            if before is None or before.info.rows:
                self._at_end = before is None or not self._coverage.brings(before.info)
                if before is not None and not self._at_end and self._joins(before):
                    yield self._batch_of(before)
                return
        second = page
        for _ in range(LIMITS.shared_row_attempts if self._lacks_shared_row(page) else 1):
            if not is_counted:
                await self._pause()
            second = await self._once_more(page.request)
            if second.info.rows:
                break
        if second.info.rows:
            async for batch in self._joined(second):
                yield batch
        elif self._can_seek or page.request.offset in (None, self._first_offset):
            self._at_end = True
            if not is_counted:
                self.progress.proof_basis = ProofBasis.CHAIN
        else:
            async for current in self._walk(second, None):
                yield self._batch_of(current)
            self._at_end = self._coverage.confirmations >= self._enough_confirmations()

    async def _page_before(self) -> ParsedPage | None:
        """The last page that brought rows, once more: is the API there, and was that all of it?"""
        return None if self._last_request is None else await self._pages.page(self._last_request)

    def _lacks_shared_row(self, page: ParsedPage) -> bool:
        """Whether an empty page by key should have the last row that came: else it is deleted."""
        after, covered = page.request.after, self._coverage.covered
        by_key = self._can_seek and page.request.offset is None
        return by_key and covered is not None and after != covered

    async def _once_more(self, request: PageRequest) -> ParsedPage:
        """The page again, by key if the API can seek: an offset moves where rows are deleted."""
        if not self._can_seek:
            return await self._pages.page(request)
        by_key = request if request.offset is None else self._request_onward(request)
        return await self._seeker.page(by_key)

    async def _gap(self, page: ParsedPage) -> AsyncGenerator[ParsedPage, None]:
        """Pages from what is covered to a page that does not join."""
        if not self._can_seek:
            async for current in self._walk(page, page):
                yield current
            return
        empty = 0
        while not self._joins(page):
            current = await self._seeker.page(self._request_onward(page.request))
            if current.info.rows:
                yield current
            elif (empty := empty + 1) == LIMITS.empty_pages_in_gap:
                return
            else:
                await self._pause()

    async def _walk(
        self, start: ParsedPage, target: ParsedPage | None
    ) -> AsyncGenerator[ParsedPage, None]:
        """Walk back by offset until a page joins, then on to ``target``: no key can be sought.

        Without a target, on until a page is short and brings nothing new.
        """
        request, attempt, unchanged = start.request, 0, 0
        current, previous = start, start.info
        patience = 32 + 2 * (start.request.offset or 0) // max(1, start.request.limit)
        while patience:
            if self._joins(current):
                brings = self._coverage.brings(current.info)
                ended = self._coverage.ends_with(current.request, current.info)
                patience += brings
                yield current
                if self._at_end or (target and self._joins(target)):
                    return
                if not brings and ended:
                    return
                onward = (current.request.offset or 0) + max(1, current.info.rows - 1)
                request, attempt = replace(request, offset=onward), 0
            else:
                request, attempt = (
                    earlier_request(current.request, attempt, self._first_offset),
                    attempt + 1,
                )
                if not current.info.rows:
                    await self._pause()
            current = await self._pages.page(request)
            unchanged = unchanged + 1 if has_same_keys(previous, current.info) else 0
            if unchanged == LIMITS.unchanged_pages:
                raise unchanged_pages(current)
            previous, patience = current.info, patience - 1
        raise self._no_page_joins()

    async def _rest(self, head: PageRequest) -> AsyncIterator[PageBatch]:
        """The rows that the pages so far have not reached, until the end is confirmed."""
        self._coverage = replace(self._coverage, confirmations=min(1, self._coverage.confirmations))
        by_empty = self._coverage.confirmations == 0  # no short page came before the end
        while not self._at_end and (
            self._coverage.confirmations < self._enough_confirmations()
            or await self._more_behind_one_row(head)
        ):
            if self._can_seek:
                if by_empty and self._coverage.confirmations and not self._is_counted:
                    await self._pause()
                page = await self._seeker.page(self._request_onward(head))
                yield self._batch_of(page)
                if page.info.rows:
                    by_empty = self._coverage.confirmations == 0
                continue
            request = replace(head, offset=self._offset)
            async for current in self._walk(await self._pages.page(request), None):
                yield self._batch_of(current)
        if by_empty and self._can_seek and not self._is_counted:
            self.progress.proof_basis = ProofBasis.CHAIN

    @property
    def _is_counted(self) -> bool:
        """Whether as many rows came as the API counts: that confirms an end, too."""
        return self.progress.total is not None and self._all_rows_came()

    def _enough_confirmations(self) -> int:
        """Confirmations of the end; one more where the API counted more rows than came."""
        fewer = (
            self.progress.total is not None
            and self._earlier_rows + self.progress.rows < self.progress.total
        )
        return LIMITS.end + fewer

    async def _more_behind_one_row(self, head: PageRequest) -> bool:
        """:raises ContractBroken: one row a page, so that there is nothing to overlap by."""
        if self._can_seek or self._coverage.most_rows != 1 or self._all_rows_came():
            return False
        request = replace(head, offset=self._offset)
        for _ in range(LIMITS.one_row_page_attempts):
            behind = await self._pages.page(replace(request, offset=self._offset + 1))
            if not self._coverage.brings(behind.info):
                return False
            if (await self._pages.page(request)).info.rows != 1:
                return True  # the row has come meanwhile
        raise self._no_page_joins()

    def _joins(self, page: ParsedPage) -> bool:
        info, behind = page.info, (page.request.offset or 0) - self._first_offset
        if not info.rows and page.request.offset is not None and (info.total or 0) > behind:
            return False  # by its own total it should have rows
        return self._coverage.joins(page.request, page.info, self._first_offset)

    def _ended(self, more: int = 0) -> bool:
        """Whether the end is confirmed.

        :param more: confirmations beside those of the pages handed on.
        """
        if self.progress.total is None:
            return self._coverage.confirmations + more >= LIMITS.end
        return self._coverage.ended and self._all_rows_came()

    def _no_page_joins(self) -> ContractBroken:
        if self._coverage.most_rows == 1 and not self._can_seek:
            return ContractBroken(
                "The API sends one row a page, so that pages can't overlap. Set paging.overlap: "
                "false"
            )
        return ContractBroken(
            f"No page joins the rows up to `{self._key}` = {self._coverage.covered}. Check: 1. "
            "that the API counts the offset in rows; 2. that the API sorts by the key; 3. "
            "`overlap: false` in `paging`, if the API takes only multiples of the page size"
        )

    def _request_onward(self, request: PageRequest) -> PageRequest:
        covered = self._coverage.covered
        after = request.after if covered is None else covered
        return replace(request, offset=None, after=after, before=None)

    def _all_rows_came(self) -> bool:
        return self.progress.total in (None, self._earlier_rows + self.progress.rows)

    def _record(self, page: ParsedPage) -> None:
        """Show the feed the page, unless it confirms another one."""
        if self._feed is None or page.of_feed is None:
            return
        is_first = self._paging.is_first(page.request)
        if is_first or self._coverage.brings(page.info):
            self._feed.record(page.of_feed, is_first=is_first)

    def _batch_of(self, page: ParsedPage) -> PageBatch:
        """Hand the page's rows on, without those that are covered."""
        table = page.table
        coverage = self._coverage
        if first := first_new(table[self._key], coverage.covered, descending=coverage.descending):
            table = table.slice(first)
        if page.request.offset is not None and self._coverage.brings(page.info):
            self._offset = page.request.offset + page.info.rows - 1
        self._record(page)
        if self._coverage.brings(page.info):
            self._last_request = page.request
            of_first, of_last = page.duplicates_at_edges
            by_key = page.request.offset is None  # all rows of the last key come again
            again = min(of_first, self._duplicates_of_last) if first and by_key else 0
            duplicates = page.duplicates - again
            self._duplicates_of_last = of_last
            self.progress.duplicate_rows += duplicates
            self._earlier_rows += duplicates
        self._coverage = self._coverage.extended(page.request, page.info)
        self._concurrency.record(max(page.arrow_bytes, page.body_bytes), page.latency_s)
        self.progress.pages += 1
        self.progress.rows += table.num_rows
        self.progress.unproved = self.progress.unproved or page.looks_incomplete
        if page.tail is not None:
            self._at_end = True
            self.progress.tail_rows += page.tail.rows_left
            self.progress.unproved = self.progress.unproved or page.tail.unproved
        position = ContiguousPosition(
            covered=self._coverage.covered,
            offset=self._offset,
            rows=self._rows_before + self._earlier_rows + self.progress.rows,
            unproved=self.progress.unproved_so_far,
            total=self._total_of_all,
        )
        return PageBatch(table, position, page.arrow_bytes)


def _has_last_row_alone(page: ParsedPage, previous: ParsedPage) -> bool:
    """Whether a page by key has nothing but the last row of the one before it, which both share."""
    by_key = page.request.offset is None
    return by_key and page.info.rows == 1 and page.info.last == previous.info.last
