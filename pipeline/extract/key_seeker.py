"""Pages by key: an empty one is believed only if something else says so, too."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.errors import ContractBroken
from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.pagination.coverage import Coverage
from pipeline.pagination.page import PageInfo, PageRequest

ASK_AGAIN = 4
"""How often a page that does not fit is asked for."""


class KeySeeker:
    """Asks for pages by key.

    :param all_came: whether as many rows came as were counted, or nothing counts them.
    """

    def __init__(
        self, pages: PageSource, key: str, all_came: Callable[[], bool], *, descending: bool
    ) -> None:
        self._pages = pages
        self._key = key
        self._all_came = all_came
        self._reach = Coverage(descending=descending)

    async def page(self, ask: PageRequest) -> ParsedPage:
        """A page by key. An empty one is believed if the API counts no row there either.

        While it does, the page is asked for again: a sick API sends empty pages in a row. A count
        that knows no filter is never 0: then so many empty pages are believed without it.

        :raises ContractBroken: the rows are not those that were asked for.
        """
        for _ in range(ASK_AGAIN):
            page = await self._pages.page(ask)
            if page.facts.rows == 0:
                if self._all_came() or not await self._pages.count(ask):
                    return page
            elif self._reach.within(ask, page.facts):
                return page
        if page.facts.rows == 0:
            return page
        raise ContractBroken(
            f"asked for {self._key} after {ask.after} and before {ask.before}, got "
            f"{page.facts.first} to {page.facts.last}: the API ignores the filter on the key"
        )

    async def check_filter(self, head: ParsedPage) -> None:
        """Hold a full first page, behind which nothing came, to what it says itself.

        Without a count an API that gives no row after any key looks like one that has no more.

        :raises ContractBroken: nothing comes after the first key of the page either.
        """
        ask, facts = head.ask, head.facts
        if ask.offset is not None or ask.after is not None or facts.rows < max(2, ask.limit):
            return
        behind = replace(self._reach, covered=facts.first)
        for _ in range(ASK_AGAIN):
            if (await self._pages.page(replace(ask, after=facts.first))).facts.rows:
                return
            now = (await self._pages.page(ask)).facts
            if now.rows < facts.rows or not behind.brings(now):
                return  # rows are gone since, so that nothing may be behind the first one
        raise ContractBroken(
            f"the API gives no row with {self._key} after {facts.first}, though it just gave "
            f"{facts.last}: is the filter on the key right, and does the API compare "
            f"{self._key} as what it is, a number or a text?"
        )

    async def in_range(self, ask: PageRequest, before: ParsedPage | None) -> ParsedPage | None:
        """The page after ``before`` in a range; an empty one if nothing is counted there.

        None if there may be more: that is left to the gap before the range behind it, which is
        read without an upper bound. A first row beyond the range shows that it holds no more.
        """
        page = before
        for _ in range(2):
            short = page is not None and page.facts.rows < ask.limit
            if page is not None and short and await self._pages.count(ask) == 0:
                nothing = page.table.slice(0, 0)
                return replace(page, ask=ask, facts=PageInfo(0), table=nothing, arrow_bytes=0)
            page = await self._pages.page(ask)
            if page.facts.rows:
                return page if self._reach.within(ask, page.facts) else await self.page(ask)
        return None
