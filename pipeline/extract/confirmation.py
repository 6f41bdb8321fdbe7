"""Confirmation: when a second request has to confirm the end, or an odd page.

A sick API sends empty pages, cut-off pages and wrong counts with status 200. So no single page ends
an extraction: the page is requested again, or another page or a count confirms it. Which pages need
a confirmation, and how often to request one, is decided here alone; the limits are ``LIMITS``.

=====================  ===========================================  ===============================
pages                  which page needs a confirmation              what confirms it
=====================  ===========================================  ===============================
``KeySeeker``          by key: empty, or other keys than requested  a count of 0, or a fitting page
``CursorPages``        by cursor: the end, or a late first row      the same page twice
``OutageGuard``        any: an empty first page                     the page again, and a page that
(``outages``)                                                       had rows
``ConfirmedEmpty-      tokens, links, numbers: an empty last page   the page again, or the page
Pages``                                                             before, or its last row
``OverlappingPages``   overlapping offsets: the shared row alone    a short page, or the page again
``changed_page``       any chain: the rows of the page before       the page again
=====================  ===========================================  ===============================

An end that an empty page suggests, after a full page or as the first one, may be an outage of a
moment: its confirmation waits, and is believed as long as the API sends rows elsewhere
(``outages``). The end then rests on what the API says, like a chain, and not on keys.

The readers use ``LIMITS`` for the confirmations that need their own state: ``fetcher`` (a page that
breaks the contract), ``contiguous`` (gaps and the end), ``sequential`` (passes).
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import Coverage, has_same_rows
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.pagination import Paging
from pipeline.pagination.page import PageInfo, PageRequest, PageToken
from pipeline.partitions.window import floor


@dataclass(frozen=True)
class ConfirmationLimits:
    """How often a request is repeated for a confirmation, and how many confirmations are enough.

    :ivar broken_page_retries: retries of a page that breaks the contract. Fewer if
        ``retries.errors`` of the source is less.
    :ivar key_page_attempts: attempts at a page by key, or at a first page and its count, that does
        not fit.
    :ivar range_page_attempts: attempts at a page in a range of keys, until rows come.
    :ivar shared_row_attempts: retries of an empty page that should begin with the last row that
        came: that row is deleted, or the API is away.
    :ivar empty_pages_in_gap: empty pages that show that a gap has no rows.
    :ivar cursor_page_retries: retries of a page by cursor, until two consecutive responses are
        alike.
    :ivar one_row_page_attempts: how many consecutive times rows that move may look like an API that
        gives one row a page.
    :ivar end: confirmations that take the place of a count at the end.
    :ivar unchanged_pages: consecutive pages with the same keys: the API ignores the paging
        parameter.
    :ivar end_wait_s: seconds between an empty page that suggests the end and its confirmation; up
        to half as much is added by chance.
    :ivar outage_probes: requests of a page that had rows, while the API sends none for it; the
        waits between them double.
    :ivar late_confirmations: how often a page that confirms an end is requested anew as it came
        late.
    :ivar passes: passes over all pages, until the rows and the count agree.
    :ivar growing_passes: consecutive passes in which rows came: another one would agree no better.
    """

    broken_page_retries: int = 2
    key_page_attempts: int = 4
    range_page_attempts: int = 2
    shared_row_attempts: int = 3
    empty_pages_in_gap: int = 2
    cursor_page_retries: int = 8
    one_row_page_attempts: int = 8
    end: int = 2
    end_wait_s: float = 1.0
    outage_probes: int = 5
    late_confirmations: int = 2
    unchanged_pages: int = 5
    passes: int = 3
    growing_passes: int = 2


LIMITS: Final = ConfirmationLimits()
Pause = Callable[[], Awaitable[None]]
"""Waits until a confirmation is of another instant than the page that it confirms."""


async def no_pause() -> None:
    """For pages that come from no server."""


def pause_of(
    sleep: Callable[[float], Awaitable[None]], chance: Callable[[], float] = random.random
) -> Pause:
    """The pause before the confirmation of an end.

    :param sleep: waits so many seconds. :param chance: a number from 0 to 1, another each time.
    """

    async def pause() -> None:
        await sleep(LIMITS.end_wait_s * (1 + chance() / 2))

    return pause


class KeySeeker:
    """Requests pages by key. An empty page is believed only if something else confirms it.

    :param all_came: whether as many rows came as were counted, or nothing counts them.
    """

    def __init__(
        self, pages: PageSource, key: str, all_came: Callable[[], bool], *, descending: bool
    ) -> None:
        self._pages = pages
        self._key = key
        self._all_came = all_came
        self._coverage = Coverage(descending=descending)

    async def page(self, request: PageRequest) -> ParsedPage:
        """A page by key. An empty page is believed if the API counts no row there either.

        While the API counts rows there, the page is requested again: a sick API sends several
        empty pages. A count that ignores the filter is never 0: then so many empty pages are
        believed without it.

        :raises ContractBroken: the rows are not the requested ones.
        """
        for _ in range(LIMITS.key_page_attempts):
            page = await self._pages.page(request)
            if page.info.rows == 0:
                if self._all_came() or not await self._pages.count(request):
                    return page
            elif self._coverage.within(request, page.info):
                return page
        if page.info.rows == 0:
            return page
        raise ContractBroken(
            f"The page has rows with `{self._key}` from {page.info.first} to {page.info.last}, "
            f"expected after {request.after} and before {request.before}. The API seems to ignore "
            "the filter on the key. Check: the parameters with {after} and {before}"
        )

    async def check_filter(self, head: ParsedPage) -> None:
        """Hold a full first page, behind which nothing came, against its own keys.

        Without a count an API that gives no row after any key looks like one that has no more.

        :raises ContractBroken: nothing comes after the first key of the page either.
        """
        request, info = head.request, head.info
        if request.offset is not None or request.after is not None:
            return
        if info.rows < max(2, request.limit):
            return
        behind_first = replace(self._coverage, covered=info.first)
        for _ in range(LIMITS.key_page_attempts):
            if (await self._pages.page(replace(request, after=info.first))).info.rows:
                return
            now = (await self._pages.page(request)).info
            if now.rows < info.rows or not behind_first.brings(now):
                return  # rows are deleted since, so that none may be behind the first one
        raise ContractBroken(
            f"The API sends no row with `{self._key}` after {info.first}, but its first page has "
            f"rows up to {info.last}. Check: 1. the parameter with {{after}}; 2. that the API "
            f"compares `{self._key}` by its type, as a number or a text"
        )

    async def in_range(
        self, request: PageRequest, previous: ParsedPage | None
    ) -> ParsedPage | None:
        """The page after ``previous`` in a range; an empty one if nothing is counted there.

        None if there may be more: that is left to the gap before the range behind it, which is
        read without an upper bound. A first row beyond the range shows that it holds no more.
        """
        page = previous
        for _ in range(LIMITS.range_page_attempts):
            short = page is not None and page.info.rows < request.limit
            if page is not None and short and await self._pages.count(request) == 0:
                nothing = page.table.slice(0, 0)
                return replace(
                    page, request=request, info=PageInfo(0), table=nothing, arrow_bytes=0
                )
            page = await self._pages.page(request)
            if page.info.rows:
                fits = self._coverage.within(request, page.info)
                return page if fits else await self.page(request)
        return None


@dataclass(frozen=True)
class _PageBefore:
    """The page that an empty one came behind.

    :ivar short: it had fewer rows than a page can have.
    :ivar earlier_row: as in ``ParsedPage``.
    """

    request: PageRequest
    info: PageInfo
    short: bool
    earlier_row: tuple[PageToken, int]


class ConfirmedEmptyPages:
    """Pages of ``pages``, which follow each other by ``paging``: an empty page that would end the
    chain is confirmed; the first one has been (``outages``).

    Behind a page that is shorter than others, that page is requested once more: if it has the same
    number of rows, the API is there, and that was the last one. If it has more, it was cut off, or
    has grown: it is handed on in place of the empty one, and the next page is requested anew.

    Behind a full page, which has named this one, the empty one is requested twice more, each time
    after a pause. A response whose status says that there is nothing is enough by itself, and so is
    one with a change token, and one with a total: all rows that came have to agree with it.

    Where pages go on behind the last row (``by_row``), some APIs send nothing once that row is
    deleted (Dagster). So an empty page is believed if the last row comes again behind one before
    it.
    """

    def __init__(self, pages: PageSource, paging: Paging, *, pause: Pause = no_pause) -> None:
        self._pages = pages
        self._pause = pause
        self._most_rows = 0
        self._paging = paging
        self._by_row = paging.by_row
        self._before: dict[PageRequest, _PageBefore] = {}  # by the request behind it

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._pages.page(request)
        before = self._before.pop(request, None)
        if page.bookmark is not None or self._stands(request, page.info):
            return self._remembered(page)
        if self._paging.is_first(request):
            return page
        if before is not None and self._by_row and await self._still_ends(before):
            return page
        if before is not None and before.short and not self._by_row:
            now = await self._once_more(before)
            if now is not None and now.info.rows:
                return page if now.info.rows <= before.info.rows else self._remembered(now)
        for _ in range(LIMITS.end):
            await self._pause()
            page = await self._pages.page(request)
            if page.info.rows:
                return self._remembered(page)
        return replace(page, ends_by_empty=True, last_row_deleted=self._by_row)

    def _stands(self, request: PageRequest, info: PageInfo) -> bool:
        """Whether a page needs no confirmation: it has rows, or says itself that there are none."""
        goes_on = self._paging.next_request(request, info) is not None
        explicit = info.explicit_empty or info.total is not None
        return info.rows > 0 or explicit or (goes_on and not self._paging.by_number)

    def _remembered(self, page: ParsedPage) -> ParsedPage:
        request, info = page.request, page.info
        following = self._paging.next_request(request, info) if info.rows else None
        if following is not None and info.total is None:
            short = info.rows < (self._most_rows or request.limit)
            self._before[following] = _PageBefore(request, info, short, page.earlier_row)
        self._most_rows = max(self._most_rows, info.rows)
        return page

    async def _once_more(self, before: _PageBefore) -> ParsedPage | None:
        """The page again; None if the API refuses it now, as a token that was used has expired."""
        try:
            return await self._pages.page(before.request)
        except RequestRefused:
            return None

    async def _still_ends(self, before: _PageBefore) -> bool:
        """Whether the row that a page ended with is there, and none behind it."""
        token, rows_behind = before.earlier_row
        request = before.request if token is None else replace(before.request, token=token)
        now = (await self._pages.page(request)).info
        return (now.rows, now.last) == (rows_behind, before.info.last)


class OverlappingPages:
    """Pages of ``pages`` by offsets that overlap, of rows with a key of several columns, where
    nothing counts them.

    A page that holds the shared row alone is the end, if it comes after a short page. After a full
    page it may be the first row of a page that was cut off, and is requested again.
    """

    def __init__(self, pages: PageSource, first_offset: int) -> None:
        self._pages = pages
        self._first_offset = first_offset
        self._short = False
        self._most_rows = 0

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._pages.page(request)
        is_later = (request.offset or 0) > self._first_offset
        if page.info.rows == 1 and is_later and not self._short:
            page = await self._pages.page(request)
        rows = page.info.rows
        self._short = rows < (self._most_rows or request.limit)
        self._most_rows = max(self._most_rows, rows)
        return page


async def changed_page(
    pages: PageSource, page: ParsedPage, previous: ParsedPage | None
) -> ParsedPage | None:
    """A page that has other rows than ``previous``: requested again if it has the same ones.

    None if the second response has the rows of ``previous``, too.
    """
    if not has_same_rows(previous, page):
        return page
    second = await pages.page(page.request)
    return None if has_same_rows(previous, second) else second


@dataclass(frozen=True)
class _ChainState:
    """The state of a chain: its last page, and the most rows that a page of it had."""

    info: PageInfo
    most_rows: int
    short: bool


class CursorPages:
    """Pages of ``pages`` that follow each other by the cursor: nothing is passed over while rows
    change.

    Rows come in order of the cursor. A row that changes gets a later cursor and moves to the end,
    so that numbered pages behind it shift by one; a page that begins where the last one ended, by
    the cursor, does not mind. Rows that two pages have are dropped by their key.

    The end takes two confirmations, since a sick API sends an empty page, or the first row of one:
    a page that brings nothing after a short one, or two consecutive ones that bring nothing and are
    alike. An empty page, which lacks even the rows with the last cursor, has been confirmed
    (``outages``).
    """

    def __init__(self, pages: PageSource, resolution_s: float) -> None:
        self._pages = pages
        self._resolution_s = resolution_s
        self._chains: dict[str, _ChainState] = {}
        """By the end of the slice of the window that a chain reads."""

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def page(self, request: PageRequest) -> ParsedPage:
        """A page, confirmed if it may not be the requested one.

        :raises ContractBroken: no two responses are alike, or no page gets beyond this one.
        """
        start, end = _window_of(request)
        chain = self._chains.get(end)
        if chain is None or chain.info.cursor != start:
            chain = None  # the first page of a chain, or of a later attempt
        page = await self._confirmed(request, chain)
        if _is_stuck(request, page.info, chain) and await self._has_more_behind(request):
            page = await self._pages.page(request)  # they may have come meanwhile
            if _is_stuck(request, page.info, chain):
                raise ContractBroken(_TOO_COARSE.format(rows=page.info.rows, cursor=start))
        rows, most = page.info.rows, chain.most_rows if chain else 0
        short = rows < (most or request.limit)
        self._chains[end] = _ChainState(page.info, max(rows, most), short)
        return page

    async def _confirmed(self, request: PageRequest, chain: _ChainState | None) -> ParsedPage:
        page = await self._pages.page(request)
        for _ in range(LIMITS.cursor_page_retries):
            if page.ends_by_empty or not _needs_confirmation(request, page.info, chain):
                return page
            first, page = page, await self._pages.page(request)
            if _to_be_alike(request, page.info) == _to_be_alike(request, first.info):
                return page
        raise ContractBroken(
            f"The page from the cursor {_window_of(request)[0]} on was requested "
            f"{LIMITS.cursor_page_retries + 1} times, and no two responses in a row were alike. "
            "Check: the sort of the request"
        )

    async def _has_more_behind(self, request: PageRequest) -> bool:
        """Whether there are rows from the next cursor on that can be requested."""
        start, end = _window_of(request)
        begins = floor(_instant(start), self._resolution_s) + timedelta(seconds=self._resolution_s)
        if begins >= _instant(end):
            return False
        behind = await self._pages.page(replace(request, window=(begins.isoformat(), end)))
        return _is_after(behind.info.cursor, start)


_TOO_COARSE = (
    "The page from the cursor {cursor} on has the {rows} rows of the page before, and more rows "
    "lie behind them: the cursor is finer than the request can write. Set one: 1. the API's "
    "resolution of a cursor, as in window: {{resolution_s: 0.001}}; 2. a larger paging.limit; "
    "3. another kind of paging"
)


def _window_of(request: PageRequest) -> tuple[str, str]:
    """A baseline begins at no instant: ''."""
    assert request.window is not None, "an extraction by cursor gives every page its window"
    return request.window[0] or "", request.window[1]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _is_after(cursor: str | None, other: str) -> bool:
    return cursor is not None and (not other or _instant(cursor) > _instant(other))


def _ends_chain(request: PageRequest, info: PageInfo) -> bool:
    """Whether a page brings nothing that the next one could begin from."""
    bare = info.cursor is None or not _is_after(info.cursor, _window_of(request)[0])
    return info.rows == 0 or (info.url is None and bare)


def _needs_confirmation(request: PageRequest, info: PageInfo, chain: _ChainState | None) -> bool:
    """Whether a page may be cut off, or begin after rows that it passed over."""
    if _ends_chain(request, info):
        return chain is None or not chain.short
    by_cursor = chain is not None and request.url is None
    return by_cursor and _is_after(info.first_cursor, _window_of(request)[0])


def _to_be_alike(request: PageRequest, info: PageInfo) -> tuple[object, ...]:
    """The part that has to come twice: all of an end, of others the beginning, since rows move.

    In which order rows of one cursor come is up to the API, and may be another each time.
    """
    if _ends_chain(request, info):
        return (info.first_cursor, info.rows, set(info.boundary_keys))
    return (info.first_cursor,)


def _is_stuck(request: PageRequest, info: PageInfo, chain: _ChainState | None) -> bool:
    """Whether a page that ends a chain is as full as the one before, as its rows come again.

    It begins before the cursor that it was requested from: requests say less of it than the rows.
    """
    start = _window_of(request)[0]
    begins_before = (
        start != "" and info.first_cursor is not None and _is_after(start, info.first_cursor)
    )
    full = chain is None or info.rows >= chain.info.rows
    return begins_before and full and _ends_chain(request, info)


def _lacks(page: PageInfo, last: PageInfo) -> bool:
    """Whether a page lacks rows that the last one had with its last cursor."""
    return not set(last.boundary_keys) <= set(page.boundary_keys)


async def check_last(
    pages: PageSource, previous: PageInfo, request: PageRequest, info: PageInfo
) -> None:
    """Hold the last page of a chain against the one before it, which ended with the same cursor.

    If that one was not full and lacks rows of it, an API may hold fewer rows a page than requested,
    and fewer than have one cursor; or they came meanwhile. So it is requested again: then it has
    them, or is shorter, since others have gone.

    :raises ContractBroken: it is as short and lacks them again.
    """
    if info.cursor is None or info.cursor != previous.cursor or previous.url is not None:
        return  # not by the cursor, or on to another one, or to what a link names
    full = previous.rows >= request.limit
    if previous.rows > info.rows or full or not _lacks(previous, info):
        return  # a last page of fewer rows than the one before it was not cut off
    if previous.first_cursor is not None:
        start = (previous.first_cursor, _window_of(request)[1])
        second = (await pages.page(replace(request, window=start))).info
        is_beyond = _is_after(second.cursor, info.cursor)
        if second.rows < info.rows or is_beyond or not _lacks(second, info):
            return
    raise ContractBroken(
        f"A page of {request.limit} rows was requested and {previous.rows} came, though there were "
        f"more; the next page has {info.rows} rows with the cursor {info.cursor}, and whether "
        "these are all does not show. Set one: 1. another kind of paging; 2. a filter under which "
        "fewer rows have one cursor"
    )
