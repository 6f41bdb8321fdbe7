"""The end of rows that grow faster than an end can be confirmed.

An end is confirmed by pages behind it that bring nothing. Where rows are added at every request,
each of these pages brings some, and a reader would follow the tail for ever. So after
``_FIRST_LOOK`` consecutive short pages the last of them is requested again. If the second response
has all rows of the first one, and more, the API had no more rows when it sent the first: there was
room for them. After ``_ENOUGH`` consecutive pages of that kind the reading ends: all rows that were
there when it came to the end have been read, and later ones are the next partition's. Pages that an
API keeps short for another reason (a cap in bytes, rows that are filtered out) come again as they
were; they are looked at after 8, 16, 32, … pages, so that they cost hardly a request. Where the API
itself names a page behind a short one, it may have kept that one short in a way that differs from
request to request: such an end is no proof, and is not looked for before as many rows came as the
API counts.

Where more rows are added than a page holds, no page is short. Then the reading ends without a
proof, and says so: once twice as many rows came as the API counted at the beginning and its count
keeps up with them, or once half of all pages have only rows that changed after the reading began.

Where nothing counts the rows, and pages go by a place (a key, an offset, a page number), the end is
looked for after ``_FIRST_CHASE`` pages: pages 1, 2, 4, … pages ahead, until one is empty. A reader
that comes there has read all rows that were there then. The end is looked for once more: if it is
nearer than the time before, the reader goes on; if it is no nearer, the rows outrun the reader, and
the reading ends. So a chase reads at most twice the distance that the end had at first.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import NO_SUCH_PAGE
from pipeline.extract.confirmation import Pause, no_pause
from pipeline.extract.pages import PageSource, ParsedPage, TailEnd
from pipeline.extract.seen_rows import row_digests
from pipeline.pagination import Paging
from pipeline.pagination.page import Key, PageRequest

_FIRST_LOOK: Final = 8
_ENOUGH: Final = 3
_FIRST_CHASE: Final = 32
"""Pages without a count before their end is looked for, twice as many after each vain search."""
_FAR: Final = 3
"""Doublings of the distance from which on rows outrun a reader; nearer ones show on short pages."""
_FARTHEST: Final = 20
"""Doublings of the distance at which the end is looked for: a million pages."""
_MOST_BEHIND: Final = 20
"""Pages, beyond twice the rows counted or of newer rows alone, before they are too many."""
_FASTER = (
    "rows are added faster than they are read: {found}, so that the reading ended there. Rows that "
    "are added later are the next partition's; whether one was passed over does not show. Check: "
    "1. that the filter has an upper bound ({{end}}); 2. a larger `paging.limit`; 3. a higher rate "
    "limit"
)
_KEPT_SHORT = (
    "pages had fewer rows than `paging.limit`, each named another one, and they had more rows when "
    "they were requested again, so that the reading ended there: rows are added faster than they "
    "are read, or the API keeps its pages short. Set one: 1. `until_short: true` in `paging`, if "
    "the API names a next page for ever; 2. a lower `paging.limit`, which each page fills; 3. "
    "`paging.total`, if the API says how many rows there are"
)


@dataclass
class _Chain:
    """The pages of one slice of the window so far.

    :ivar short: the latest consecutive pages that were not full and brought rows.
    :ivar look_at: the number of such pages at which the last one is requested again.
    :ivar grown: the latest consecutive pages that had more rows when they were requested again.
    :ivar rows: of all pages. :ivar counted: at the beginning; None if nothing counts them.
    :ivar pages: those with rows.
    :ivar newer: the latest consecutive pages of rows that all changed since the beginning.
    :ivar trusted: the count may keep up with the rows.
    :ivar chase_at: the number of pages at which the end is looked for.
    :ivar end: as it was found last.
    """

    short: int = 0
    look_at: int = _FIRST_LOOK
    grown: int = 0
    rows: int = 0
    counted: int | None = None
    pages: int = 0
    newer: int = 0
    trusted: bool = True
    chase_at: int = _FIRST_CHASE
    end: "_End | None" = None


@dataclass(frozen=True)
class _End:
    """A place that no row lay behind when the end was looked for.

    :ivar request: of the page there. :ivar doublings: of a page's length, from the reader.
    """

    request: PageRequest
    doublings: int


class GrowingTail:
    """Pages of ``pages``, of which the one is marked at which the reading has to end.

    :param again: where a page is requested a second time: without what confirms ends.
    :param key: the columns that identify a row; empty: all of them.
    :param pause: waits before an empty page is believed.
    """

    def __init__(
        self,
        pages: PageSource,
        again: PageSource,
        paging: Paging,
        key: tuple[str, ...],
        pause: Pause = no_pause,
    ) -> None:
        self._pages, self._again, self._pause = pages, again, pause
        self._paging, self._key = paging, key
        self._chains: dict[str | None, _Chain] = {}  # by the end of its slice of the window

    def resume(self, request: PageRequest, rows: int) -> None:
        """An earlier attempt has read so many rows of the slice that this page is of: what the API
        counts has them, too."""
        self._chain_of(request).rows += rows

    async def count(self, request: PageRequest) -> int | None:
        counted = await self._pages.count(request)
        if request.after is None and request.before is None:
            self._counted(self._chain_of(request), counted)
        return counted

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._pages.page(request)
        if not page.info.rows or request.before is not None:
            return page
        chain = self._chain_of(request)
        self._counted(chain, page.info.total)
        chain.rows, chain.pages = chain.rows + page.info.rows, chain.pages + 1
        chain.newer = chain.newer + 1 if page.newer_than_reading else 0
        growth = await self._outrun(page, chain)
        if growth is not None:
            return replace(page, tail=TailEnd(0, _FASTER.format(found=growth)))
        if chain.counted is None and (tail := await self._chased(page, chain)) is not None:
            return replace(page, tail=tail)
        if page.info.rows >= request.limit:
            chain.short, chain.look_at = 0, _FIRST_LOOK
            return page
        rows_left = await self._rows_behind(page, chain)
        if rows_left is None:
            return page
        return replace(page, tail=TailEnd(rows_left, _KEPT_SHORT if self._named(page) else None))

    def _named(self, page: ParsedPage) -> bool:
        """Whether the API itself names a page behind this one: it may have kept this one short."""
        following = self._paging.next_request(page.request, page.info)
        return self._paging.last_names_none and following is not None

    async def _rows_behind(self, page: ParsedPage, chain: _Chain) -> int | None:
        """How many rows have come behind a short page since, if the tail grows; None if not."""
        chain.short += 1
        if chain.rows < (chain.counted or 0):
            return None
        if self._paging.token_dies or not (chain.grown or chain.short >= chain.look_at):
            return None
        try:
            second = await self._again.page(page.request)
        except RequestRefused:  # a second time: that is the API's affair
            second = page
        if second.info.rows > page.info.rows and self._has_all(second, page):
            chain.grown += 1
        else:
            chain.grown, chain.look_at = 0, 2 * chain.short
        return second.info.rows - page.info.rows if chain.grown >= _ENOUGH else None

    async def _chased(self, page: ParsedPage, chain: _Chain) -> TailEnd | None:
        """Why the reading ends here: the end is no nearer than when it was looked for last."""
        start, before = _start_of(page.request), chain.end
        is_there = before is not None and _reaches(page.request, before.request)
        if start is None or not (is_there or (before is None and chain.pages >= chain.chase_at)):
            return None
        chain.chase_at, chain.end = 2 * chain.pages, await self._end_ahead(page, start)
        if before is None or chain.end is None or before.doublings > chain.end.doublings:
            return None
        following = self._paging.next_request(page.request, page.info)
        rows_left = (await self._again.page(following)).info.rows if following else 0
        by_key = page.request.offset is None and page.request.page is None
        evidence = f"after {chain.pages:,} pages the end is as far ahead as before"
        return TailEnd(rows_left, None if by_key else _FASTER.format(found=evidence))

    async def _end_ahead(self, page: ParsedPage, start: Key) -> _End | None:
        """A place that no row lies behind; None if none is found, or it is near."""
        for doublings in range(_FARTHEST):
            far = _ahead(page, start, 1 << doublings)
            if far is None:
                return None
            request = _at(page.request, far)
            try:
                if (await self._again.page(request)).info.rows:
                    continue
                await self._pause()
                if (await self._again.page(request)).info.rows:
                    continue
            except ContractBroken:
                return None
            except RequestRefused as error:
                if error.status not in NO_SUCH_PAGE:
                    return None
            return _End(request, doublings) if doublings >= _FAR else None
        return None

    def _has_all(self, second: ParsedPage, page: ParsedPage) -> bool:
        names = self._key or page.own_columns
        expected, digests = (row_digests(half.table, names) for half in (page, second))
        return bool(np.isin(expected, digests).all())

    async def _outrun(self, page: ParsedPage, chain: _Chain) -> str | None:
        """The evidence that rows are added faster than they are read; None if there is none."""
        if chain.newer > max(_MOST_BEHIND, chain.pages - chain.newer):
            return f"the last {chain.newer:,} pages have only rows that are newer than the reading"
        most = 2 * (chain.counted or 0) + _MOST_BEHIND * page.request.limit
        if chain.counted is None or not chain.trusted or chain.rows <= most:
            return None
        first = replace(self._paging.first_request(), window=page.request.slice)
        now = page.info.total
        now = await self._again.count(first) if now is None else now
        # A count that is lower than the rows that came never was right, and tells nothing.
        chain.trusted = now is not None and now >= chain.rows
        if not chain.trusted:
            return None
        return f"the API counted {chain.counted:,} at first, and {now:,} now"

    def _chain_of(self, request: PageRequest) -> _Chain:
        return self._chains.setdefault(request.window[1] if request.window else None, _Chain())

    @staticmethod
    def _counted(chain: _Chain, counted: int | None) -> None:
        if chain.counted is None:
            chain.counted = counted


def _start_of(request: PageRequest) -> Key:
    """The number or the key that a page is requested by; None if the request has neither."""
    if request.url is not None or request.token is not None:
        return None
    starts = (request.offset, request.page, request.after)
    return next((start for start in starts if start is not None), None)


def _reaches(request: PageRequest, end: PageRequest) -> bool:
    """Whether a page lies at an end or behind it; False if one goes by a key, one by a number.

    Behind a gap a reader goes on by the key of its last row, and the end was found by a number.
    """
    start, start_of_end = _start_of(request), _start_of(end)
    if start is None or start_of_end is None or _goes_by(request) != _goes_by(end):
        return False
    try:
        return bool(start >= start_of_end)  # type: ignore[operator]
    except TypeError:  # keys of two types
        return False


def _goes_by(request: PageRequest) -> tuple[bool, bool]:
    return request.offset is not None, request.page is not None


def _at(request: PageRequest, start: Key) -> PageRequest:
    """The same request from another number or key on."""
    if request.offset is not None:
        return replace(request, offset=start)  # type: ignore[arg-type]
    if request.page is not None:
        return replace(request, page=start)  # type: ignore[arg-type]
    return replace(request, after=start)


def _ahead(page: ParsedPage, start: Key, pages: int) -> Key:
    """The number or key so many pages ahead, if pages are as long as this one; None: not known."""
    if page.request.page is not None:
        return start + pages  # type: ignore[operator]
    if page.request.offset is not None:
        return start + pages * max(1, page.info.rows)  # type: ignore[operator]
    first, last = page.info.first, page.info.last
    try:
        is_ascending = not isinstance(last, str | bool) and last > first  # type: ignore[operator]
        return last + pages * (last - first) if is_ascending else None  # type: ignore[operator,return-value]
    except (TypeError, OverflowError):
        return None
