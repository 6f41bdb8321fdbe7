"""Numbered pages of rows without a key, from an API that does not know the paging parameter.

It sends its only page for each number. If one of its columns changes from request to request (a
time, a number of the request), no page equals the one before, and the reading would never end. So
two pages are compared column by column, once. Pages may be alike in truth (each has the hours of a
day): so a page is requested that no collection has. If that one is alike, too, all are the same.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.errors import ContractBroken, HeadraceError, first_of
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.seen_rows import row_digests

_LOOK_AT: Final = 8
"""The first page of the two that are compared: most collections have fewer."""
_FAR: Final = 10_000_000
_NAMED: Final = 5


class AlikePages:
    """Compares two pages of a chain, and refuses an API that sends the same for each number."""

    def __init__(self, pages: PageSource) -> None:
        self._pages = pages
        self._read = 0
        self._before: Mapping[str, bytes] = {}

    async def look(self, page: ParsedPage) -> None:
        """Note a page. :raises ContractBroken: every page has the same rows."""
        self._read += 1
        if self._read == _LOOK_AT:
            self._before = _varying_columns(page)
        elif self._read == _LOOK_AT + 1 and (alike := self._alike(page)):
            request = page.request
            by_offset = request.page is None
            far = replace(request, offset=_FAR) if by_offset else replace(request, page=_FAR)
            try:
                beyond = await self._pages.page(far)
            except HeadraceError:
                return
            if alike <= self._alike(beyond):
                raise ContractBroken(
                    f"The API sends the same rows for every page: pages {_LOOK_AT} and "
                    f"{_LOOK_AT + 1} and number {_FAR:,} are equal in "
                    f"{first_of(sorted(alike), _NAMED)}. Check: 1. that the API knows the paging "
                    "parameter, and by which name; 2. `paging: none`, if all rows are on one page"
                )

    def _alike(self, page: ParsedPage) -> set[str]:
        """The columns that are equal, row by row, to those of the page before."""
        columns = _varying_columns(page)
        return {name for name, values in columns.items() if self._before.get(name) == values}


def _varying_columns(page: ParsedPage) -> dict[str, bytes]:
    """The values of the columns that are not the same in all rows, as digests in order."""
    digests = {name: row_digests(page.table, [name]) for name in page.own_columns}
    return {name: of.tobytes() for name, of in digests.items() if np.unique(of).size > 1}
