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
``OpenEndedPages``     any: its body's end shows nowhere            two bodies of the same length
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
from typing import Final

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import Coverage, has_same_rows
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.pagination import Paging
from pipeline.pagination.page import PageInfo, PageRequest, PageToken


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
    :ivar body_retries: retries of a page whose body's end shows nowhere, until two consecutive ones
        are of the same length.
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
    body_retries: int = 4
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


def names_next(page: ParsedPage, paging: Paging) -> bool:
    """Whether a page without rows names the page behind it, and so is no end.

    By a number the page behind one is known without the API, so that such a page names none.
    """
    return not paging.by_number and paging.next_request(page.request, page.info) is not None


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
        if page.bookmark is not None or self._stands(page):
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

    def _stands(self, page: ParsedPage) -> bool:
        """Whether a page needs no confirmation: it has rows, says itself that there are none, or is
        no end."""
        info = page.info
        explicit = info.explicit_empty or info.total is not None
        return info.rows > 0 or explicit or names_next(page, self._paging)

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
        self._short: set[str | None] = set()  # the slices whose latest page was, by their end
        self._most_rows = 0

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._pages.page(request)
        of = request.window[1] if request.window else None
        is_later = (request.offset or 0) > self._first_offset
        if page.info.rows == 1 and is_later and of not in self._short:
            page = await self._pages.page(request)
        rows = page.info.rows
        self._short.discard(of)
        if rows < (self._most_rows or request.limit):
            self._short.add(of)
        self._most_rows = max(self._most_rows, rows)
        return page


class OpenEndedPages:
    """Pages of ``pages``, of which one whose body's end shows nowhere is requested again.

    A connection that breaks behind a line ends such a body (JSON Lines, CSV) as its own end does.
    So two consecutive bodies have to be of the same length and have as many rows. If no two are, as
    rows change faster than that, the longest is handed on, and only a count can prove it.
    """

    def __init__(self, pages: PageSource, *, counted: bool) -> None:
        self._pages = pages
        self._counted = counted

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def page(self, request: PageRequest) -> ParsedPage:
        pages: list[ParsedPage] = []
        while len(pages) <= LIMITS.body_retries:
            page = await self._pages.page(request)
            is_alike = bool(pages) and _length(page) == _length(pages[-1])
            if is_alike or not page.open_ended or page.ends_by_empty:
                return page
            pages.append(page)
        longest, reason = max(pages, key=_length), None if self._counted else _NEVER_ALIKE
        return replace(longest, looks_incomplete=longest.looks_incomplete or reason)


def _length(page: ParsedPage) -> tuple[int, int]:
    return page.body_bytes, page.info.rows


_NEVER_ALIKE: Final = (
    f"a page was requested {LIMITS.body_retries + 1} times, and no two responses in a row were of "
    "the same length: they name none (`Content-Length`), and a body that is cut short looks like a "
    "whole one. Check: 1. a proxy between that cuts responses; 2. rows that change all the time: "
    "name a `count` in the endpoint, which proves the rows"
)


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
