"""An empty page that would end a chain is asked for again: a sick API sends one with status 200.

What comes the second time is believed. An answer whose status says that there is nothing is enough
by itself, and so is one with a total: all rows that came have to agree with it. The first one of a
parent is not asked for again either, since most parents have no children.

Where pages go on behind the last row (``by_row``), some APIs answer nothing once that row is
deleted (Dagster). So an empty page is believed if the last row comes again behind one before it.
"""

from dataclasses import replace

from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.pagination import Paging
from pipeline.pagination.page import PageRequest


class ConfirmedEmptyPages:
    """The pages of ``pages``, which follow each other by ``paging``."""

    def __init__(self, pages: PageSource, paging: Paging, *, of_parent: bool) -> None:
        self._pages = pages
        self._paging = paging
        self._of_parent = of_parent
        self._by_row = paging.by_row
        self._before: dict[PageRequest, ParsedPage] = {}  # by what is asked for behind it

    async def count(self, ask: PageRequest) -> int | None:
        return await self._pages.count(ask)

    async def page(self, ask: PageRequest) -> ParsedPage:
        page = await self._pages.page(ask)
        facts, before = page.facts, self._before.pop(ask, None)
        told = facts.told_empty or facts.total is not None
        if facts.rows or told or self._paging.next_request(ask, facts) is not None:
            return self._kept(ask, page)
        if self._of_parent and replace(ask, window=None) == self._paging.first_request():
            return page
        if before is not None and await self._still_ends(before):
            return page
        again = await self._pages.page(ask)
        behind_a_row = self._by_row and ask.token != self._paging.first_request().token
        if behind_a_row and not again.facts.rows:
            return replace(again, lost=True)
        return self._kept(ask, again)

    def _kept(self, ask: PageRequest, page: ParsedPage) -> ParsedPage:
        following = self._paging.next_request(ask, page.facts) if self._by_row else None
        if following is not None:
            self._before[following] = page
        return page

    async def _still_ends(self, page: ParsedPage) -> bool:
        """Whether the row that a page ended with is there, and none behind it."""
        token, behind = page.back
        asked = page.ask if token is None else replace(page.ask, token=token)
        now = (await self._pages.page(asked)).facts
        return (now.rows, now.last) == (behind, page.facts.last)
