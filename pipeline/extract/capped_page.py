"""Whether the only page of ``paging: none`` looks like the first of several. Pure.

What a response says beside its rows is believed (a total, a next page, a flag); a number of rows
that APIs cap their pages at is a hint. Bodies are searched outside of their lists, in their first
and last bytes: a page may be large, and what is said of it stands at its edges.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.body import Body
from pipeline.errors import ContractBroken
from pipeline.pagination.link import next_target

_EDGE: Final = 2_000
_TOTAL: Final = re.compile(
    rb'"(total|total_?count|total_?results|total_?items|total_?rows|total_?records|count|hits)"'
    rb"\s*:\s*(\d{1,15})\b",
    re.IGNORECASE,
)
_FLAG: Final = re.compile(
    rb'"(has_?more|has_?next|has_?next_?page|more|partial|truncated|is_?truncated'
    rb'|incomplete_?results)"\s*:\s*true\b',
    re.IGNORECASE,
)
_NEXT: Final = re.compile(
    rb'"(next|next_?page|next_?link|@odata\.nextLink|next_?url|next_?cursor|next_?token'
    rb'|next_?page_?token|next_?page_?url|end_?cursor)"\s*:\s*("[^"]{1,2000}"|[1-9]\d*)',
    re.IGNORECASE,
)
_COMMON: Final = frozenset(
    {20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1024}
)
"""Sizes of pages that APIs have by default, or allow at most; so are whole thousands."""


def looks_capped(
    rows: int, body: Body, headers: Mapping[str, str], params: Iterable[object]
) -> str | None:
    """Why a page that should be all there is may be the first of several; None if it need not be.

    :param rows: as the API sent them, before a ``transform``.
    :param params: values of the request: a page may have as many rows as one of them says.
    :raises ContractBroken: the response counts more rows than came.
    """
    edges = _edges(body)
    for edge in edges:
        for name, number in _TOTAL.findall(edge):
            if int(number) > rows:
                raise ContractBroken(
                    f"{rows:,} rows came, and the response says `{name.decode()}` = "
                    f"{int(number):,}. {_REMEDY}"
                )
    for pattern in (_FLAG, _NEXT):
        found = next((m for edge in edges if (m := pattern.search(edge))), None)
        if found:
            name = found[1].decode()
            return f"the response says that there is more (`{name}`). {_REMEDY}"
    if next_target(headers.get("link", "")):
        return f"the response names a next page (`Link`). {_REMEDY}"
    asked = {int(str(value)) for value in params if str(value).isdecimal()}
    if rows >= 10 and (rows in asked or rows in _COMMON or rows % 1000 == 0):
        return f"{rows:,} rows came, as many as a page of several may have. {_REMEDY}"
    return None


_REMEDY: Final = (
    "Check: 1. whether the API has pages: name them in `paging`; 2. if this is all there is: say "
    "`whole: true`"
)


def _edges(body: Body) -> list[bytes]:
    """Before the first list and after the last one, as far as that is near the edge."""
    head, tail = bytes(body[:_EDGE]), bytes(body[-_EDGE:])
    return [head.partition(b"[")[0], tail.rpartition(b"]")[2] if b"]" in tail else b""]
