"""Pages that follow each other by the cursor. A page that may be wrong is requested a second time.

Rows come in the order of the cursor, and each page begins with the rows that have the last cursor
of the page before it. A page that lacks those rows, or that ends the chain, is compared with a
second response.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.config.request import WindowFormat
from pipeline.dialects.placeholders import cut_after
from pipeline.errors import ContractBroken
from pipeline.extract.confirmation import LIMITS
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.pagination.page import PageInfo, PageRequest


@dataclass(frozen=True)
class _ChainState:
    """The state of a chain: its last page, and the most rows that a page of it had."""

    request: PageRequest
    info: PageInfo
    most_rows: int
    short: bool


class CursorPages:
    """The pages of a source that follow each other by the cursor. No row is passed over while rows
    change.

    A row that changes gets a later cursor and moves to the end. Numbered pages would then shift by
    one, and a row would be passed over. A page that begins at the last cursor of the page before it
    does not shift. Rows that are on two pages are dropped by their key.

    The end takes two confirmations, since a sick API sends an empty page, or the first row of one:
    a page that brings nothing after a short one, or two consecutive ones that bring nothing and are
    alike. An empty page, which lacks even the rows with the last cursor, has been confirmed
    (``outages``).
    """

    def __init__(self, pages: PageSource, form: WindowFormat) -> None:
        """:param form: how the cursor is written that a page is requested from."""
        self._pages = pages
        self._form = form
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
        if chain is not None and _lacks_bound(request, page.info):
            await self._check_bound(request, chain)
        rows, most = page.info.rows, chain.most_rows if chain else 0
        short = rows < (most or request.limit)
        self._chains[end] = _ChainState(request, page.info, max(rows, most), short)
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

    async def _check_bound(self, request: PageRequest, chain: _ChainState) -> None:
        """Whether rows with the last cursor have changed, since the page from there on lacks them.

        :raises ContractBroken: they are as they were: the API leaves out rows at the bound, and
            with them others of the same cursor that no page had room for.
        """
        before = (await self._pages.page(chain.request)).info
        same = before.cursor == chain.info.cursor and not _lacks(before, chain.info)
        if same and _lacks_bound(request, (await self._pages.page(request)).info):
            raise ContractBroken(_EXCLUDES.format(cursor=chain.info.cursor))

    async def _has_more_behind(self, request: PageRequest) -> bool:
        """Whether there are rows from the next cursor on that can be requested."""
        start, end = _window_of(request)
        begins = cut_after(self._form, _instant(start))
        if begins >= _instant(end):
            return False
        behind = await self._pages.page(replace(request, window=(begins.isoformat(), end)))
        return _is_after(behind.info.cursor, start)


_EXCLUDES = (
    "The page from the cursor {cursor} on lacks the rows that have it, which are as they were: "
    "the API gives rows after the bound only, so that rows with that cursor which the page before "
    "had no room for are lost. Set window: {{start: exclusive}}"
)
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


def _lacks_bound(request: PageRequest, info: PageInfo) -> bool:
    """Whether a page by the cursor lacks the rows at the cursor that it begins with."""
    late = info.rows == 0 or _is_after(info.first_cursor, _window_of(request)[0])
    return request.url is None and late


def _needs_confirmation(request: PageRequest, info: PageInfo, chain: _ChainState | None) -> bool:
    """Whether a page may be cut off, or begin after rows that it passed over."""
    if _ends_chain(request, info):
        return chain is None or not chain.short
    by_cursor = chain is not None and request.url is None
    return by_cursor and _is_after(info.first_cursor, _window_of(request)[0])


def _to_be_alike(request: PageRequest, info: PageInfo) -> tuple[object, ...]:
    """What two responses are compared by: all rows of a page that ends a chain, and only the first
    cursor of others, since rows move meanwhile.

    The API may give rows of one cursor in another order each time, so their order is left out.
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
        f"A page of {request.limit} rows was requested, {previous.rows} came, and more followed. "
        f"The next page has {info.rows} rows, all with the cursor {info.cursor}; whether the API "
        "has more of them can't be told. Set one: 1. another kind of paging; 2. a filter under "
        "which fewer rows have one cursor"
    )
