"""Outages in which an API sends empty pages with status 200, told from the end of the rows.

An empty page looks the same whether there are no more rows or the API is away, and so does each
that confirms it during one outage. So right behind an empty page that confirms an end, a page that
had rows is requested once more: as long as that one is empty, too, the API is away, and no empty
page is believed. The page is of the same reading, or else of an earlier partition that had rows,
whose rows may have changed or gone since; so the first page of all that there is comes after them.
An API that sends no rows for half a minute is an error, and Dagster starts the step again later.
The third attempt believes an API that still sends none, and says so: all rows may be deleted.

Where no page is known to have rows, an empty first page is confirmed by a second one after a longer
pause: all that is known then is what the API says.

An empty page that names the page behind it is no end, and is not confirmed: an API that filters
rows on its side sends many of them. Only a first page is, as nothing came before it. Nor does such
a page show that the API is away, where it is the first one of an earlier partition: all rows of
that partition may lie behind it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final

from pipeline.errors import ApiUnavailable, ContractBroken, RequestRefused
from pipeline.extract.confirmation import LIMITS, Pause, names_next
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.pagination import Paging
from pipeline.pagination.page import PageRequest

_UNKNOWN_FACTOR: Final = 3
"""How many pauses an empty first page waits for its confirmation where nothing else is known."""
_AWAY_WAIT_S: Final = 60.0
_BELIEVED_FROM: Final = 3
"""The attempt from which on an API that sends no rows anywhere is believed: minutes have passed."""
_NO_ROWS: Final = (
    "the API sends no rows for any page that had some, in several attempts: either all of them are "
    "deleted, or the API is away. Materialize the partition again if rows are missing"
)
_LATE_S: Final = 1.0
"""An API that sends rows so much later than an empty page may have come back in between."""


class KnownPages:
    """The pages of an endpoint that had rows, by which the API is seen to be there.

    Those of all values of a fan-out are one: the API is one.
    """

    def __init__(
        self,
        pages: PageSource,
        others: Sequence[PageRequest] = (),
        *,
        attempt: int = 1,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """:param pages: where a page is requested again.
        :param others: pages that should have rows, of other windows, the likeliest first.
        :param attempt: of the orchestrator, from 1: a later one believes that no page has rows.
        :param clock_s: seconds, of any origin.
        """
        self._pages, self._clock_s, self._attempt = pages, clock_s, attempt
        self._others = [*others]
        self.unproved: str | None = None
        self._newest: PageRequest | None = None
        self._fullest: PageRequest | None = None  # the rows of the newest may be gone meanwhile
        self._most_rows = 0
        self._rows_came_s = float("-inf")
        self._probing = asyncio.Lock()

    @property
    def requests(self) -> list[PageRequest]:
        """Their requests, each once: those of this reading come first."""
        of_reading = [known for known in (self._newest, self._fullest) if known is not None]
        return [*dict.fromkeys([*of_reading, *self._others])]

    def note(self, page: ParsedPage) -> None:
        """Note a page that came, and whether it has rows."""
        rows = page.info.rows
        if not rows:
            return
        self._rows_came_s, self._newest = self._clock_s(), page.request
        if rows > self._most_rows:
            self._fullest, self._most_rows = page.request, rows

    async def send_rows(self, attempt: int, paging: Paging) -> tuple[bool, bool]:
        """Whether a page that had rows has some now; whether that came late.

        True where no such page is known. Values that ask at the same time share one request.

        :param paging: by which the pages follow each other.
        """
        asked_s = self._clock_s()
        async with self._probing:
            while self._rows_came_s < asked_s and (known := self.requests):
                request = known[attempt % len(known)]
                try:
                    page = await self._pages.page(request)
                except (RequestRefused, ContractBroken):
                    self._forget(request)
                else:
                    self.note(page)
                    if page.info.rows:
                        continue
                    if request in (self._newest, self._fullest) or not names_next(page, paging):
                        return False, False
                    self._forget(request)
        return True, bool(self.requests) and self._rows_came_s > asked_s + _LATE_S

    def _forget(self, request: PageRequest) -> None:
        """Forget what tells nothing: the API refuses it now, as a token that has expired."""
        self._newest, self._fullest = (
            None if known == request else known for known in (self._newest, self._fullest)
        )
        self._others = [known for known in self._others if known != request]

    def believe_no_rows(self) -> bool:
        """Whether an API that sends no rows anywhere is believed, which proves nothing.

        It is not where it sent rows in this attempt: all of them can't be deleted since.
        """
        if self._attempt < _BELIEVED_FROM or self._most_rows:
            return False
        self.unproved = _NO_ROWS
        return True


class OutageGuard:
    """Pages of ``pages``, of which an empty one behind a pause is believed only as long as the API
    sends rows elsewhere.

    An empty first page is confirmed here, for every kind of paging. A status that says that there
    is nothing has come twice already (``fetcher``). It is enough, and so is a change token, and the
    first page of a parent: most have no children. Of a value of ``each`` a total is, and the name
    of a next page.
    """

    def __init__(
        self,
        pages: PageSource,
        paging: Paging,
        pause: Pause,
        known: KnownPages,
        *,
        of_value: bool = False,
        of_parent: bool = False,
    ) -> None:
        """:param pause: waits a second or so.
        :param of_value: the pages are those of one value of many.
        """
        self._pages, self._paging, self._wait = pages, paging, pause
        self._known, self._of_value, self._of_parent = known, of_value, of_parent
        self._confirms = False  # a pause was made, and no page with rows came since

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)

    async def pause(self) -> None:
        """Wait, so that the next page is of another instant, and hold that one against another."""
        if not self._of_parent:  # of these a second each would be hours
            await self._wait()
        self._confirms = True

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._confirmed(request)
        info, says_none = page.info, self._of_value and page.info.total is not None
        says_none = says_none or info.explicit_empty or page.bookmark is not None
        is_enough = says_none or self._of_parent or self._is_amidst(page)
        if info.rows or is_enough or not self._paging.is_first(request):
            return page
        if not (self._known.requests or self._of_value):
            for _ in range(_UNKNOWN_FACTOR - 1):
                await self._wait()
        await self.pause()
        second = await self._confirmed(request)
        return second if second.info.rows else replace(second, ends_by_empty=True)

    def _is_amidst(self, page: ParsedPage) -> bool:
        """Whether a page without rows is no end, and not the first one; of a value it may be."""
        is_first = self._paging.is_first(page.request) and not self._of_value
        return not page.info.rows and not is_first and names_next(page, self._paging)

    async def _confirmed(self, request: PageRequest) -> ParsedPage:
        """The page. :raises ApiUnavailable: the API sends no rows for half a minute."""
        attempts = late = 0
        while attempts < LIMITS.outage_probes:
            page = await self._pages.page(request)
            self._known.note(page)
            self._confirms = self._confirms and not page.info.rows
            says_none = page.info.explicit_empty or page.bookmark is not None
            if says_none or not self._confirms or self._is_amidst(page):
                return page
            is_there, is_late = await self._known.send_rows(attempts, self._paging)
            if is_there and (not is_late or late == LIMITS.late_confirmations):
                return page
            late += is_late
            for _ in range(0 if is_there else 2**attempts):
                await self._wait()
            attempts += not is_there
        if self._known.believe_no_rows():
            return page
        raise ApiUnavailable(
            f"The API sends empty pages with status 200, {LIMITS.outage_probes} times in a row "
            "also for a page that had rows. It seems to be away: no empty page is believed to be "
            f"the end. If all rows are deleted, they are believed to be so in attempt "
            f"{_BELIEVED_FROM} or later, with a warning",
            wait_s=_AWAY_WAIT_S,
        )
