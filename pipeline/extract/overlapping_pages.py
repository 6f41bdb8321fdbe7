"""Offsets that overlap, of rows with a key of several columns, where nothing counts them.

A page that holds the shared row alone is the end. After a short page, that is: after a full one it
may be the first row of a page that was cut off, and is asked for again.
"""

from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.pagination.page import PageRequest


class OverlappingPages:
    """The pages of ``pages``, one after the other."""

    def __init__(self, pages: PageSource, first_offset: int) -> None:
        self._pages = pages
        self._first_offset = first_offset
        self._short = False
        self._most_rows = 0

    async def count(self, ask: PageRequest) -> int | None:
        return await self._pages.count(ask)

    async def page(self, ask: PageRequest) -> ParsedPage:
        page = await self._pages.page(ask)
        if page.facts.rows == 1 and (ask.offset or 0) > self._first_offset and not self._short:
            page = await self._pages.page(ask)
        rows = page.facts.rows
        self._short = rows < (self._most_rows or ask.limit)
        self._most_rows = max(self._most_rows, rows)
        return page
