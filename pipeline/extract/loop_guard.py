"""When to stop asking for pages: they bring nothing, go round in a circle, or lie behind the end.

Pure. That they stop says nothing of whether all rows came: ``completeness`` does.
"""

from dataclasses import dataclass, field

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.cursor_pages import goes_back
from pipeline.extract.fetcher import ParsedPage
from pipeline.pagination.page import PageInfo, PageRequest

_NO_SUCH_PAGE = (400, 404, 416, 422)
"""How APIs answer for a page behind the last one (WordPress: 400)."""
_MOST_IDLE, _MOST_IDLE_NAMED = 200, 10_000
"""Pages in a row without a new row, by number and by name. Some APIs send many empty pages, each
with a new token; a token that comes again goes round in a circle, and is told at once."""
_MOST_EMPTY = 20
"""Numbered pages in a row that are empty: the total that they are planned by is too high."""


@dataclass
class LoopGuard:
    """What the pages of one pass bring.

    :ivar useful: pages that brought a new row.
    """

    useful: int = 0
    _slice: int = -1
    _empty: int = 0
    _idle: set[PageRequest] = field(default_factory=set)

    @property
    def beyond_all_rows(self) -> bool:
        return self._empty >= _MOST_EMPTY

    def saw(self, index: int, ask: PageRequest, facts: PageInfo, new_rows: int) -> None:
        """Note what a page brought.

        :param index: of the slice: many of them may be empty.
        :raises ContractBroken: too many pages brought nothing, or one came again.
        """
        by_number = (ask.page, ask.offset) != (None, None)
        self.useful += new_rows > 0
        self._empty = self._empty + 1 if by_number and facts.rows == 0 else 0
        if new_rows or index != self._slice:
            self._slice = index
            self._idle.clear()
            return
        most = _MOST_IDLE if by_number else _MOST_IDLE_NAMED
        if ask in self._idle or len(self._idle) == most:
            raise ContractBroken(
                f"{len(self._idle)} pages in a row brought no new row: do the pages go round in a "
                "circle?"
            )
        self._idle.add(ask)


def is_end(error: RequestRefused, first: PageRequest, ask: PageRequest, total: int | None) -> bool:
    """Whether a refusal says that a page by number lies behind as many rows as there are.

    It is asked for all the same: rows may have come meanwhile. Some APIs have no such page.

    :raises RequestRefused: nothing counts the rows, so this can't be told from a wrong request.
    """
    if error.status not in _NO_SUCH_PAGE or (ask.page, ask.offset) == (None, None):
        return False
    if total is None:
        hint = "If there are no more pages, name the count (paging.total) that shows it"
        raise RequestRefused(f"{error}. {hint}", error.status) from None
    if ask.page is not None:
        return (ask.page - (first.page or 0)) * ask.limit >= total
    return (ask.offset or 0) - (first.offset or 0) >= total


def comes_again(before: ParsedPage | None, page: ParsedPage, key: tuple[str, ...]) -> bool:
    """Whether a page has the rows of the one before it, though it should have others."""
    if before is None or goes_back(before.facts, page.ask):
        return False
    if page.table.num_rows == 0 or page.table.num_rows != before.table.num_rows:
        return False
    return all(page.table[name].equals(before.table[name]) for name in key)


def is_same(before: PageInfo, facts: PageInfo) -> bool:
    """Whether a page by key looks like the one before it."""
    return facts.rows > 1 and (before.first, before.last) == (facts.first, facts.last)


def standing_still(page: ParsedPage) -> ContractBroken:
    """What is said of a page by key that comes again and again."""
    return ContractBroken(
        f"the page with keys {page.facts.first} to {page.facts.last} came again and again for the "
        "pages after it: does the API know the paging parameter?"
    )
