"""Values that an API ignores: it sends the same rows whatever the value is, and the rows of one
would stand under all of them, each with a key of its own.

APIs ignore parameters that they do not know (``?shop=`` where ``?shop_id=`` is meant). Equal first
pages show it; but the rows may be the same for each value in truth, as the states of orders are in
every shop. So the API is asked once more, for a value that does not exist: if the page comes again,
the value is ignored.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.errors import HeadraceError
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.partition_values import PagesOfValue, PartitionValue
from pipeline.extract.seen_rows import row_digests
from pipeline.pagination.page import PageRequest

_NO_SUCH: Final = "no-such-value-4d1f"
_NO_SUCH_NUMBER: Final = 2_147_483_629
_Digest = tuple[int, int, int]


@dataclass(frozen=True)
class _FirstPage:
    """The first page of a value, by what is in it."""

    value: PartitionValue
    request: PageRequest
    digest: _Digest


class AlikeValues:
    """Compares the first pages of the values of each list, until two differ.

    Of a product a list is compared by itself: its values beside the same values of the others.
    """

    def __init__(self, lists: Sequence[str], own_columns: Collection[str]) -> None:
        """:param lists: their placeholders, ``each``, ``each.NAME`` or ``parent``.
        :param own_columns: those that a row has from elsewhere than the API's row.
        """
        self._own_columns = own_columns
        self._first: dict[str, dict[Any, _FirstPage]] = {prefix: {} for prefix in lists}
        self._alike: dict[str, _FirstPage] = {}

    def watched(self, pages: PageSource, value: PartitionValue) -> PageSource:
        """The same pages; the first of them is noted."""
        return _Watched(pages, value, self) if self._first else pages

    def note(self, value: PartitionValue, request: PageRequest, table: pa.Table | None) -> None:
        """:param table: the rows of the first page; None: the API refused it."""
        if not self._first:
            return
        page = _FirstPage(value, request, self._digest(table))
        for prefix, by_others in list(self._first.items()):
            before = by_others.setdefault(_others(value, prefix), page)
            if page.digest[0] == 0 or before.digest != page.digest:
                del self._first[prefix]
                self._alike.pop(prefix, None)
            elif before is not page:
                self._alike[prefix] = before

    async def ignored(self, pages: PageSource) -> list[str]:
        """The placeholders whose values the API ignores."""
        ignored = []
        for prefix, first in sorted(self._alike.items()):
            of_none = PagesOfValue(pages, _no_such(first.value, prefix))
            try:
                page = await of_none.page(first.request)
            except HeadraceError:
                continue
            if self._digest(page.table) == first.digest:
                ignored.append(prefix)
        return ignored

    def _digest(self, table: pa.Table | None) -> _Digest:
        """How many rows there are, and which, in any order."""
        if table is None:
            return 0, 0, 0
        names = [name for name in table.column_names if name not in self._own_columns]
        digests = row_digests(table, names)
        xor = int(np.bitwise_xor.reduce(digests))
        return table.num_rows, int(digests.sum(dtype=np.uint64)), xor


class _Watched:
    """The pages of a value, whose first one is noted."""

    def __init__(self, pages: PageSource, value: PartitionValue, alike: AlikeValues) -> None:
        self._pages, self._value, self._alike = pages, value, alike
        self._begun = False

    async def page(self, request: PageRequest) -> ParsedPage:
        if self._begun:
            return await self._pages.page(request)
        self._begun = True
        try:
            page = await self._pages.page(request)
        except HeadraceError:
            self._alike.note(self._value, request, None)
            raise
        self._alike.note(self._value, request, page.table)
        return page

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(request)


def _others(value: PartitionValue, prefix: str) -> tuple[tuple[str, Any], ...]:
    """The values of the other lists."""
    return tuple((name, of) for name, of in value.fields.items() if not _is_of(name, prefix))


def _no_such(value: PartitionValue, prefix: str) -> PartitionValue:
    """The same combination, with a value in the list's place that the API can't know."""
    fields: Mapping[str, Any] = {
        name: _as(of) if _is_of(name, prefix) else of for name, of in value.fields.items()
    }
    return replace(value, value=_as(value.value), fields=fields)


def _as(value: Any) -> str | int:
    return _NO_SUCH_NUMBER if isinstance(value, int) else _NO_SUCH


def _is_of(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
