"""No pages."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.pagination.base import PAGINATION, Paging
from pipeline.pagination.page import PageInfo, PageRequest


@PAGINATION.register("none")
class SinglePaging(Paging):
    """Everything in one response."""

    kind: Literal["none"] = "none"
    limit: int = Field(1_000_000_000, gt=0, description="rows a page")
    one_page: ClassVar[bool] = True
    first_tells_all: ClassVar[bool] = True

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        return None
