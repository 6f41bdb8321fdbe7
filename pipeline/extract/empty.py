"""An empty page that would end a chain is asked for again: a sick API sends one with status 200.

What comes the second time is believed. An answer whose status says that there is nothing is enough
by itself, and so is one with a total: all rows that came have to agree with it. The first one of a
parent is not asked for again either, since most parents have no children.
"""

from dataclasses import replace

from pipeline.extract.fetch import Fetched, Pages
from pipeline.paging.pagers import Ask, Pager


class EmptyTwice:
    """The pages of ``pages``, which follow each other by ``pager``."""

    def __init__(self, pages: Pages, pager: Pager, *, of_parent: bool) -> None:
        self._pages = pages
        self._pager = pager
        self._of_parent = of_parent

    async def count(self, ask: Ask) -> int | None:
        return await self._pages.count(ask)

    async def page(self, ask: Ask) -> Fetched:
        page = await self._pages.page(ask)
        facts = page.facts
        told = facts.told_empty or facts.total is not None
        if facts.rows or told or self._pager.after(ask, facts) is not None:
            return page
        if self._of_parent and replace(ask, window=None) == self._pager.first():
            return page
        return await self._pages.page(ask)
