"""Why the rows that came may not be all: sentences with what to set, and refusals. Pure."""

from typing import Final

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.completeness import (
    CAP,
    NO_SUCH_PAGE,
    REACHES,
    CountReconciliation,
    rows_before,
)
from pipeline.extract.pages import ParsedPage
from pipeline.pagination.page import PageRequest

_LEAST_REACH: Final = 1_000
_REFUSED_AT: Final = (
    "{0:,} of {1:,} rows lie before this page. If the API gives no more of one search, set one: 1. "
    "`search_cap: {0:d}`, which cuts the window (pages by offset need `overlap: false` for it); "
    "2. a filter by the key ({{after}}), and `paging: {{kind: keyset}}`"
)


def with_reach(
    error: RequestRefused, first: PageRequest, request: PageRequest, total: int | None
) -> RequestRefused:
    """The refusal of a page; with the remedy, if it may be the first one that a search lacks."""
    before = rows_before(first, request)
    is_deep = total is not None and total > before >= _LEAST_REACH
    if error.status not in NO_SUCH_PAGE or not request.by_number or not is_deep:
        return error
    hint = _REFUSED_AT.format(before, total)
    return RequestRefused(f"{str(error).rstrip('.')}. {hint}", error.status)


def unproved_by_reach(rows: int, counted: int | None) -> str | None:
    """Why rows that came by an offset may not be all: as many came as APIs often reach at most.

    :param counted: by a request of its own; one of ``CAP`` is where Elasticsearch stops. A total on
        the pages stops where the pages do.
    """
    if rows not in REACHES or (counted is not None and counted != CAP):
        return None
    return _REACHED.format(rows=rows, how=" by an offset")


def unproved_by_total(counts: CountReconciliation) -> str | None:
    """Why a total that agrees with the rows of a slice may be no proof; None if it is one."""
    rows = counts.at_reach
    return None if rows is None else _REACHED.format(rows=rows, how=", as many as the API counts")


_REACHED: Final = (
    "exactly {rows:,} rows came{how}, and many APIs give none beyond that: more may be there. Set "
    "one: 1. a filter by the key ({{after}}), and `paging: {{kind: keyset}}`; 2. `window.max_s`, "
    "so that each part has fewer; 3. `search_cap: {rows}`"
)


def unproved_by_count(counts: CountReconciliation, passes: int) -> str | None:
    """Why the rows of several passes are not proved: both numbers; None if these agree."""
    counted = counts.expected
    if counted is None or counted == counts.rows:
        return None
    return _COUNTED.format(counted, counts.rows, f"{passes} passes" if passes > 1 else "one pass")


_COUNTED: Final = (
    "completeness is not proved: the API counts {:,} rows, and {:,} came, in {}. Check: 1. that "
    "the count is of the same filter and the same window; 2. that the credentials are allowed to "
    "read all rows; 3. pages by the key (`keyset`), if rows change while they are read"
)


def first_page_before(before: ParsedPage, first: PageRequest) -> ContractBroken:
    """The error of rows that are missing, and stand on the page before the first one."""
    number = before.request.page
    return ContractBroken(
        f"The API counts more rows than came, and page {number} has {before.info.rows:,} that page "
        f"{first.page} and those behind it have not: the API counts its pages from {number}. Set "
        f"`first: {number}` in `paging`"
    )
