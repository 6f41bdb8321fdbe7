"""Pages by their number."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.pagination.base import (
    NEEDS_A_COUNT,
    PAGINATION,
    CountedNumbers,
    PagedEndpoint,
    is_capped,
    single_pages,
)
from pipeline.pagination.page import PageInfo, PageRequest, PageSegment


@PAGINATION.register("page")
class NumberedPaging(CountedNumbers):
    """Numbered pages, which can't overlap: count and rows must agree, else a second pass.

    A count that agrees does not show a row that was passed over while another one was added.
    Without a count nothing shows whether a row was passed over, and a check warns.
    """

    kind: Literal["page"] = "page"
    limit: int = Field(gt=0)
    first: int = Field(1, ge=0, description="the number of the first page")
    fills: ClassVar[frozenset[str]] = frozenset({"page"})
    by_number: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if endpoint.placeholders is not None and "page" not in endpoint.placeholders:
            yield "paging by page number needs {page} in the request"
        if endpoint.sweep and not endpoint.counted:
            yield NEEDS_A_COUNT

    def first_request(self) -> PageRequest:
        return PageRequest(self.limit, page=self.first)

    def planned(self, request: PageRequest, info: PageInfo) -> Iterable[PageSegment] | None:
        if info.pages is not None and info.total is None:
            numbers = range((request.page or 0) + 1, self.first + info.pages)
            return single_pages(numbers, lambda page: replace(request, page=page))
        if info.total is None or info.rows == 0:
            return None
        at_first = request.page == self.first
        capped = at_first and is_capped(request, info, info.total)
        size = info.rows if capped else request.limit
        pages = range((request.page or 0) + 1, self.first + -(-info.total // size))
        return single_pages(pages, lambda page: replace(request, page=page))

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        if self.is_last((request.page or 0) - self.first, request, info):
            return None
        return replace(request, page=(request.page or 0) + 1)
