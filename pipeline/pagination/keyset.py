"""Pages by the key of the last row."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.pagination.base import PAGINATION, PagedEndpoint, Paging, is_capped
from pipeline.pagination.page import PageInfo, PageRequest, PageSegment

_MOST_INT32, _MOST_INT64 = 2**31 - 1, 2**63 - 1
"""What an API may keep an integer key in: a bound beyond that may be refused."""


@PAGINATION.register("keyset")
class KeysetPaging(Paging):
    """``key > last``, sorted by the key: contiguous by construction; key ranges side by side."""

    kind: Literal["keyset"] = "keyset"
    limit: int = Field(gt=0, description="rows a page")
    ranges: int = Field(1, ge=1, le=256, description="ranges of an integer key, read side by side")
    inclusive: bool = Field(
        False, description="the API gives the row with the key {after} as well: `id >= after`"
    )
    fills: ClassVar[frozenset[str]] = frozenset({"after", "before"})
    sorted_by_key: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if not endpoint.can_seek:
            yield "keyset paging needs {after} in the request, e.g. `id__gt: '{after}'`"
        if len(endpoint.key_of_rows) != 1:
            yield "keyset paging needs a key of one column"
        if self.inclusive and self.limit < 2:
            yield "an inclusive keyset needs a `limit` of at least 2, or no page would go on"
        used = endpoint.placeholders
        if self.ranges > 1 and used is not None and "before" not in used:
            yield "ranges of a keyset need {before} in the request, e.g. `id__lt: '{before}'`"

    def first_request(self) -> PageRequest:
        """Behind it, one row of each page is the one that it was requested after."""
        return PageRequest(self.limit - 1 if self.inclusive else self.limit)

    def extra_rows(self, request: PageRequest) -> int:
        return int(self.inclusive and request.after is not None)

    @property
    def contiguous(self) -> bool:
        return True

    def may_shift(self, request: PageRequest) -> bool:
        """A key stays where it is, in whatever order the API has keys: pages are a chain."""
        return False

    def planned(self, request: PageRequest, info: PageInfo) -> Iterable[PageSegment] | None:
        """Ranges of an integer key, once the first page has shown how dense the keys are."""
        first, last, total = info.first, info.last, info.total
        if not (isinstance(first, int) and isinstance(last, int) and total) or info.rows == 0:
            return None
        sized = replace(request, limit=info.rows) if is_capped(request, info, total) else request
        rest = total - info.rows
        parts = min(self.ranges, -(-rest // sized.limit))
        if parts < 2:
            return None
        room = (_MOST_INT32 if last < _MOST_INT32 else _MOST_INT64) - last - 1
        width = min((last - first + 1) * rest // info.rows // parts, room // (parts - 1))
        if width < 1:
            return None
        bounds = [last + width * i for i in range(parts)]
        inner = [PageSegment(replace(sized, after=a, before=a + width + 1)) for a in bounds[:-1]]
        return (*inner, PageSegment(replace(sized, after=bounds[-1])))

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        """A short page of a range is followed too: beyond the last range no other page looks."""
        if request.before is None:
            at_end = info.rows < request.limit and info.total is not None
        else:
            at_end = isinstance(info.last, int) and info.last + 1 == request.before
        return None if info.rows == 0 or at_end else replace(request, after=info.last)
