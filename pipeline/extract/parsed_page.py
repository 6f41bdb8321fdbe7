"""One page, parsed and checked, and where readers get pages from.

A reader of pages (``contiguous``, ``sequential``, ``fan_out``) knows a ``PageSource`` only. The
source is the API (``fetcher``), or a wrapper that confirms odd pages (``confirmation``) or asks for
one partition value (``fan_out``).
"""

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from pipeline.pagination.page import PageInfo, PageRequest, PageToken


@dataclass(frozen=True)
class TailEnd:
    """Why the reading ends at a page though rows lie behind it (``growing_tail``).

    :ivar rows_left: that lay behind the page when it was requested again: they came meanwhile.
    :ivar doubt: why it is not known that all rows came that were there; None if it is.
    """

    rows_left: int
    doubt: str | None = None


@dataclass(frozen=True)
class ParsedPage:
    """A page: its request, what the page says of itself, and its rows (with ``_extracted_at``).

    :ivar outside: rows that the API had to give, since its bounds are coarser than the window.
    :ivar duplicates: rows that were dropped, as the one before each is equal in all columns.
    :ivar arrow_bytes: size of the table as parsed.
    :ivar body_bytes: size of the response's body.
    :ivar latency_s: seconds from the request to the response, as the client measures them.
    :ivar earlier_row: where rows are the tokens, the token of a row before the last one, and how
        many rows lie behind that row.
    :ivar last_row_deleted: the row that the page was requested behind no longer exists.
    :ivar older_than_window: of a feed that comes newest first: no page behind it has new rows.
    :ivar looks_incomplete: why it may lack rows that it should have.
    :ivar ends_by_empty: empty twice, after a full page or as the first one: that the data end here
        is what the API says.
    :ivar newer_than_reading: all of its rows changed after the reading began.
    :ivar tail: the reading ends here, as the rows grow faster than they are read.
    """

    request: PageRequest
    info: PageInfo
    table: pa.Table
    outside: int = 0
    duplicates: int = 0
    arrow_bytes: int = 0
    body_bytes: int = 0
    latency_s: float = 0.0
    earlier_row: tuple[PageToken, int] = (None, 0)
    last_row_deleted: bool = False
    ends_by_empty: bool = False
    older_than_window: bool = False
    looks_incomplete: str | None = None
    newer_than_reading: bool = False
    tail: TailEnd | None = None


class PageSource(Protocol):
    """Where a reader gets its pages from."""

    async def page(self, ask: PageRequest) -> ParsedPage:
        """One page. :raises ContractBroken: the page is not what was requested."""
        ...

    async def count(self, ask: PageRequest) -> int | None:
        """How many rows match the request; None if the API can't count them."""
        ...
