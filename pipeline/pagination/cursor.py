"""Pages by the cursor of the last row."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.errors import ContractBroken
from pipeline.pagination.base import PAGINATION, PagedEndpoint, Paging, SharedRows
from pipeline.pagination.link import followed, next_target
from pipeline.pagination.page import PageContent, PageInfo, PageRequest


@PAGINATION.register("cursor")
class CursorPaging(Paging):
    """Rows in order of the cursor; each page requests the rows from the last row's cursor on.

    Rows that change while they are read move to the end, so that numbered pages behind them shift:
    by the cursor nothing is passed over. A ``Link`` is followed only where more rows than a page
    holds have the same cursor.
    """

    kind: Literal["cursor"] = "cursor"
    limit: int = Field(gt=1, description="rows a page")
    needs_window: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if endpoint.sweep:
            yield (
                "a sweep reads all keys, whatever their cursor, and paging of kind `cursor` goes "
                "on by it: leave `sweep` out, or use another kind of paging"
            )
        if endpoint.cursor is None:
            yield (
                "paging by the cursor needs a cursor: name the column by which the rows are sorted"
            )
        elif endpoint.placeholders is not None and "start" not in endpoint.placeholders:
            yield (
                "paging by the cursor needs {start} in the request, and rows sorted by the cursor"
            )

    @property
    def shared_rows(self) -> SharedRows:
        return SharedRows.SAME_CURSOR

    def url_of(self, content: PageContent) -> str | None:
        return followed(next_target(content.headers.get("link", "")), content)

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        """From the last row's cursor on, up to the end of the window that was requested."""
        assert request.window is not None, "paging by the cursor gives every page its window"
        start, end = request.window
        if info.rows == 0:
            return None
        if info.cursor is None and info.url is None:
            raise ContractBroken(
                f"{info.rows} rows came without a cursor, and no others: pages can't go on from "
                "them. Request rows that have one, or use another kind of paging"
            )
        if info.cursor is None:
            return replace(request, url=info.url)
        if datetime.fromisoformat(info.cursor) >= datetime.fromisoformat(end):
            return None
        if start is None or datetime.fromisoformat(info.cursor) > datetime.fromisoformat(start):
            # After a short page too: an API may hold fewer rows a page than requested.
            return request.at_cursor(info.cursor)
        if info.url is None and info.rows >= request.limit:
            raise ContractBroken(
                f"{info.rows} rows have the cursor {info.cursor}, as many as a page holds, and "
                "the API names no next page: raise `paging.limit` if the API holds more a page, or "
                "use another kind of paging"
            )
        return replace(request, url=info.url) if info.url else None
