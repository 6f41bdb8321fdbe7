"""Pages by offset, and pages by their number."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.errors import ContractBroken
from pipeline.pagination.base import (
    NEEDS_A_COUNT,
    PAGINATION,
    CountedNumbers,
    PagedEndpoint,
    SharedRows,
    is_capped,
    single_pages,
)
from pipeline.pagination.page import PageInfo, PageRequest, PageSegment


@PAGINATION.register("offset")
class OffsetPaging(CountedNumbers):
    """``offset`` and ``limit``, sorted by the unique key; pages overlap by one row."""

    kind: Literal["offset"] = "offset"
    limit: int = Field(gt=0, description="rows a page; the API's maximum is the best choice")
    first: int = Field(0, ge=0, le=1, description="the offset of the first row: 0, or 1 (USGS)")
    overlap: bool = Field(True, description="pages overlap by one row, which proves contiguity")
    fills: ClassVar[frozenset[str]] = frozenset({"offset", "after", "before"})
    by_number: ClassVar[bool] = True
    sorted_by_key: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if endpoint.placeholders is not None and "offset" not in endpoint.placeholders:
            yield "offset paging needs {offset} in the request"
        if self.limit == 1 and endpoint.overlaps:
            yield (
                "`paging.limit: 1` leaves no row for pages to overlap by: set a higher limit, or "
                "`overlap: false`"
            )
        if (self.more or self.pages) and endpoint.overlaps:
            yield (
                "`more` and `pages` end pages that do not overlap, and here they do: say "
                "`overlap: false` in `paging`, or leave `more` and `pages` out"
            )
        if endpoint.sweep and not endpoint.overlaps and not endpoint.counted:
            yield NEEDS_A_COUNT

    def fitted(self, order: str) -> "OffsetPaging":
        """Rows in no order of the key share none that could be told."""
        return self.model_copy(update={"overlap": False}) if order == "none" else self

    @property
    def contiguous(self) -> bool:
        return self.overlap

    @property
    def shared_rows(self) -> SharedRows:
        return SharedRows.LAST if self.overlap else SharedRows.NONE

    def number_of(self, request: PageRequest) -> int:
        return ((request.offset or 0) - self.first) // request.limit

    def _step(self, request: PageRequest) -> int:
        return max(1, request.limit - 1) if self.overlap else request.limit

    def first_request(self) -> PageRequest:
        return PageRequest(self.limit, offset=self.first)

    def planned(self, request: PageRequest, info: PageInfo) -> Iterable[PageSegment] | None:
        """A page shorter than requested, while more rows match, is a silently capped page size."""
        if info.total is None or info.rows == 0:
            return None
        start = self.first
        rows_left = info.total - (request.offset or start) + start
        sized = (
            replace(request, limit=info.rows) if is_capped(request, info, rows_left) else request
        )
        step = self._step(sized)
        end = start + info.total - (1 if self.overlap else 0)
        offsets = range((request.offset or start) + step, end, step)
        return single_pages(offsets, lambda offset: replace(sized, offset=offset))

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        if info.rows == 0 and info.follows:
            raise ContractBroken(
                f"The page at offset {request.offset} has no rows, and says at "
                f"`{self.more.at if self.more else ''}` that another page follows: where that one "
                "begins is not known. Check: 1. `paging.more`; 2. whether the API has page numbers "
                "(`paging: {kind: page}`)"
            )
        if info.rows == 0 or self.is_last(request, info):
            return None
        if info.rows == 1 and self.overlap and (request.offset or 0) > self.first:
            return None
        step = info.rows - 1 if self.overlap and info.rows > 1 else info.rows
        return replace(request, offset=(request.offset or 0) + step)


@PAGINATION.register("page")
class NumberedPaging(CountedNumbers):
    """Numbered pages, which can't overlap: count and rows must agree, else a second pass.

    A count that agrees does not show a row that was passed over while another one was added.
    Without a count nothing shows whether a row was passed over, and a check warns.
    """

    kind: Literal["page"] = "page"
    limit: int = Field(gt=0, description="rows a page")
    first: int = Field(1, ge=0, description="the number of the first page")
    fills: ClassVar[frozenset[str]] = frozenset({"page"})
    by_number: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if endpoint.placeholders is not None and "page" not in endpoint.placeholders:
            yield "paging by page number needs {page} in the request"
        if endpoint.sweep and not endpoint.counted:
            yield NEEDS_A_COUNT

    def number_of(self, request: PageRequest) -> int:
        return (request.page or 0) - self.first

    def first_request(self) -> PageRequest:
        return PageRequest(self.limit, page=self.first)

    def before_first(self) -> PageRequest | None:
        return PageRequest(self.limit, page=self.first - 1) if self.first else None

    def planned(self, request: PageRequest, info: PageInfo) -> Iterable[PageSegment] | None:
        if info.pages is not None and info.total is None:
            numbers = range((request.page or 0) + 1, self.first + info.pages)
            if not numbers:
                return None
            return single_pages(numbers, lambda page: replace(request, page=page))
        if info.total is None or info.rows == 0:
            return None
        at_first = request.page == self.first
        capped = at_first and is_capped(request, info, info.total)
        size = info.rows if capped else request.limit
        pages = range((request.page or 0) + 1, self.first + -(-info.total // size))
        return single_pages(pages, lambda page: replace(request, page=page))

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        if self.is_last(request, info):
            return None
        return replace(request, page=(request.page or 0) + 1)
