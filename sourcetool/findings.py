"""What is wrong with, or uncertain about, what an endpoint's pages showed. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import orjson
import pyarrow as pa

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.request import DAY_S
from pipeline.config.source import Source
from pipeline.errors import AuthError, ContractBroken, HeadraceError, Retryable, counted
from pipeline.extract.capped_page import AS_A_PAGE
from pipeline.extract.feed import validators_of
from pipeline.extract.pages import ParsedPage, rows_that_meet
from pipeline.extract.seen_rows import row_digests
from pipeline.pagination.page import Key
from sourcetool.bounds import Finding, bounds, no_parent, nothing
from sourcetool.probe import ProbeResult, number_in

SMALL_MARGIN_S: Final = 900.0
"""Clock error and the lag of an API's replicas and indexes are rarely more."""
_RATE = ("ratelimit", "rate-limit", "retry-after")


def findings(source: Source, probe: ProbeResult) -> list[Finding]:
    """All that is suspicious of one endpoint, those that break first."""
    if probe.error is not None:
        return [Finding(str(probe.error), _remedy(probe.error), breaks=True)]
    if not probe.pages:
        return [no_parent(probe)]
    all_findings = [
        *_rows(probe),
        *_next_page(probe),
        *_keys(probe),
        *_types(probe),
        *_limits(source, probe),
    ]
    all_findings += [*_validators(probe), *_zones_and_clocks(source, probe)]
    return sorted(all_findings, key=lambda finding: not finding.breaks)


def _zones_and_clocks(source: Source, probe: ProbeResult) -> Iterator[Finding]:
    naive = [name for name in probe.endpoint.columns if name in probe.naive_columns]
    if naive:
        yield Finding(
            f"times without a time zone, read as UTC: {', '.join(naive[:8])}",
            "say in which zone the API writes them: window: {timezone: America/Chicago}, or UTC",
        )
    if probe.endpoint.incremental and probe.endpoint.window.resolution_s < DAY_S:
        own = probe.endpoint.safety_margin_s
        yield from margin_is_short(source.safety_margin_s if own is None else own)


def margin_is_short(margin_s: float) -> Iterator[Finding]:
    """What is suspicious of a safety margin that clock error and lag may be longer than."""
    if margin_s < SMALL_MARGIN_S:
        yield Finding(
            f"the safety margin is {margin_s:g} s: rows that the API shows later than that are "
            "lost, by a clock that is off, or a replica that is behind",
            f"Set safety_margin_s to {SMALL_MARGIN_S:g} or more",
        )


def _remedy(error: HeadraceError) -> str:
    """The remedy for an error: not all of them lie in the YAML."""
    if isinstance(error, AuthError):
        return "correct auth, or the settings that hold the key or the secret, and look again"
    if isinstance(error, Retryable):
        return "is base_url right, and the API up? Then look again"
    return "correct the YAML, or the API, and look again"


def _rows(probe: ProbeResult) -> Iterator[Finding]:
    head, limit = probe.pages[0].info, probe.endpoint.paging.limit
    if head.rows == 0:
        yield nothing(probe)
        return
    yield from bounds(probe)
    yield from _filter(probe)
    total = _total(probe)
    more = total is not None and total > head.rows
    later = probe.pages[1].info.cursor if len(probe.pages) > 1 else head.cursor
    if head.rows < limit and (more or head.token or head.url or later != head.cursor):
        yield Finding(
            f"{limit:,} rows a page were requested, {head.rows:,} came, and there are more: "
            "the API caps the page size",
            _smaller(probe),
        )
    if head.rows > limit:
        yield Finding(
            f"{limit:,} rows a page were requested, {head.rows:,} came: the API does not know the "
            "parameter of the page size",
            "correct the parameter that carries {limit}",
            breaks=probe.endpoint.paging.holds_limit,
        )


def _filter(probe: ProbeResult) -> Iterator[Finding]:
    """A filter that keeps none of the rows: a run would end green, without a row."""
    where, rows = probe.endpoint.where, sum(table.num_rows for table in probe.tables)
    if not where or not rows:
        return
    try:
        matches = [rows_that_meet(table, where, probe.endpoint.columns) for table in probe.tables]
    except ContractBroken as error:
        yield Finding(str(error), "correct `where`", breaks=True)
        return
    if not any(table.num_rows for table in matches):
        shown = orjson.dumps(where, default=str).decode()
        yield Finding(
            f"`where: {shown}` keeps none of {rows:,} rows: a run would end without a row",
            "compare its names, its values and their types with the rows; leave it out, if rows "
            "that it keeps are that rare",
            breaks=True,
        )


def _smaller(probe: ProbeResult) -> str:
    """The remedy for a page size that the API caps."""
    rows, request = probe.pages[0].info.rows, probe.endpoint.request
    whole = getattr(request, "params", {}).get("$top")
    if probe.endpoint.paging.names_next and "{limit}" in str(whole):
        return (
            f"set paging.limit: {rows}, and leave $top out: to many APIs it is the number of all "
            "rows, and they name no next page behind so many"
        )
    return f"set paging.limit: {rows}"


def _total(probe: ProbeResult) -> int | None:
    return probe.pages[0].info.total if probe.counted is None else probe.counted


def _next_page(probe: ProbeResult) -> Iterator[Finding]:
    head, paging = probe.pages[0].info, probe.endpoint.paging
    if len(probe.pages) > 1:
        second = probe.pages[1].info
        if same_rows(probe.pages[0], probe.pages[1], probe.endpoint.key):
            yield Finding(
                "the second page is the first one again: does the API know the paging parameter?",
                "correct the parameter that carries the page",
                breaks=True,
            )
        elif head.rows >= paging.limit and second.rows == 0 and _total(probe) != head.rows:
            yield Finding(
                f"the first page is full ({head.rows:,} rows), and the second is empty: if there "
                "are more rows than that, they would be lost",
                "is the parameter that carries the page right, and does the API compare a key as "
                "what it is, a number or a text?",
                breaks=_total(probe) is not None,
            )
    elif head.rows >= paging.limit and paging.names_next:
        yield Finding(
            f"the first page is full ({head.rows:,} rows), and names no next page: if there is "
            "one, its rows would be lost",
            "look at the body and the headers for the next token or link (paging.next)",
            breaks=True,
        )
    if paging.one_page and not probe.endpoint.whole:
        yield from _only_page(probe.pages[0])
    yield from _before_the_first(probe)
    yield from _total_is_small(probe)
    if paging.judged_by_looks:
        yield from _counting(probe)
        yield from _numbered_link(probe)
    if paging.by_number and not probe.endpoint.proven:
        yield from _count(probe)


def _only_page(page: ParsedPage) -> Iterator[Finding]:
    """What tells that the one response is not all there is."""
    if page.looks_incomplete is not None:
        finding, _, remedy = page.looks_incomplete.partition(". Check: ")
        yield Finding(
            f"paging is `none`, and {finding}",
            remedy,
            breaks=AS_A_PAGE not in finding,
        )
    elif page.info.rows in (10, 20, 25, 30, 50, 100, 200, 250, 500, 1000):
        yield Finding(
            f"exactly {page.info.rows} rows came in the one response, which looks like a page size",
            "see in the API's docs whether there are pages",
        )


def _before_the_first(probe: ProbeResult) -> Iterator[Finding]:
    """Pages that are counted from a lower number than the YAML says."""
    before, head = probe.zeroth, probe.pages[0]
    if before is None or not before.info.rows:
        return
    number = before.request.page
    columns = list(probe.endpoint.key) or [
        name for name in before.table.column_names if name != EXTRACTED_AT
    ]
    if not head.info.rows or _keys_in(before.table, columns).isdisjoint(
        _keys_in(head.table, columns)
    ):
        yield Finding(
            f"page {number} has {counted(before.info.rows, 'row')} that page {(number or 0) + 1} "
            f"has not: the API counts its pages from {number}, and these rows would be lost",
            f"set paging.first: {number}",
            breaks=True,
        )


def same_rows(page: ParsedPage, other: ParsedPage, key: Sequence[str]) -> bool:
    """Whether two pages have the same rows, by all columns of the key."""
    if page.info.rows < 2 or page.info.rows != other.info.rows:
        return False
    if page.info.first is not None:
        return (page.info.first, page.info.last) == (other.info.first, other.info.last)
    mine, others = page.table, other.table
    shared = {*mine.column_names} & {*others.column_names} - {EXTRACTED_AT}
    names = [name for name in key or sorted(shared) if name in shared]
    return bool(
        names
        and 0 < mine.num_rows == others.num_rows
        and mine.select(names).equals(others.select(names))
    )


def _total_is_small(probe: ProbeResult) -> Iterator[Finding]:
    """A total that counts the rows of a page, and not all that match."""
    total, shared = _total(probe), len(probe.pages) - 1 if probe.endpoint.overlaps else 0
    rows = sum(page.info.rows for page in probe.pages) - shared
    key = probe.endpoint.key
    again = any(same_rows(earlier, later, key) for earlier, later in pairwise(probe.pages))
    if total is None or rows <= total or again:
        return
    where = "count" if probe.counted is not None else probe.endpoint.paging.total_at
    yield Finding(
        f"the API counts {total:,} rows, and {rows:,} came: what is at `{where}` is not the number "
        "of all rows",
        f"name the member that counts all of them, or leave `{where}` out"
        if probe.counted is not None
        else "name the member that counts all of them as paging.total, or leave it out",
    )


def _counting(probe: ProbeResult) -> Iterator[Finding]:
    """Tokens that grow by the rows of a page, or by one, are offsets or page numbers."""
    facts = [page.info for page in probe.pages[:2]]
    first, second = [number_in(each.token) for each in facts] if len(facts) == 2 else (None, None)
    if first is None or second is None or second - first not in (facts[1].rows, 1):
        return
    yield Finding(
        f"the tokens count rows or pages ({first}, then {second}): rows that shift while they are "
        "read would be passed over",
        "say so with paging.numbered: true, and name a total to hold the rows against; if they are "
        "keys of rows, all is well: numbered: false",
    )


def _numbered_link(probe: ProbeResult) -> Iterator[Finding]:
    """A link that is a page number proves nothing by itself: a run warns of each partition."""
    paging = probe.endpoint.paging
    following = paging.next_request(paging.first_request(), probe.pages[0].info)
    if following is None or following.url is None or not paging.may_shift(following):
        return
    if _total(probe) is None:
        yield Finding(
            "the link to the next page is a page number or an offset, and there is no count to "
            "hold the rows against: rows that shift while they are read would be passed over",
            "name the count (paging.total, paging.total_header), or page by the cursor or the key; "
            "if the link marks a row, say so: paging.numbered: false",
        )


def _count(probe: ProbeResult) -> Iterator[Finding]:
    """Pages that can't overlap are held against a count."""
    head = probe.pages[0].info
    named = probe.endpoint.paging.total_at
    if head.total is not None or probe.counted is not None:
        return
    if named is None:
        yield Finding(
            "pages can't overlap here, and there is no count to hold them against",
            "name the count: paging.total or count",
        )
    elif head.rows:
        yield Finding(
            f"paging says that the number of rows is at {named}, and no number is there: without "
            "one nothing can be proved",
            "correct the path (paging.total) or the header's name (paging.total_header)",
            breaks=True,
        )


def _keys(probe: ProbeResult) -> Iterator[Finding]:
    columns = list(probe.endpoint.key)
    if not columns:
        return
    for number, page in enumerate(probe.pages, 1):
        if page.table.num_rows == 0:
            continue
        yield from _shared(number, page.table, columns, probe.endpoint.cursor)
    if len(probe.pages) > 1 and probe.endpoint.proven and probe.endpoint.overlaps:
        last, first = probe.pages[0].info.last, probe.pages[1].info.first
        if last is not None and first is not None and last != first:
            yield Finding(
                f"the second page should begin with the last row of the first ({last}), it begins "
                f"with {first}",
                "is the sort by the key, and the offset counted in rows? else overlap: false",
                breaks=not _joins(last, first),
            )


def _shared(number: int, table: pa.Table, key: list[str], cursor: str | None) -> Iterator[Finding]:
    """Rows of a page that share a key: the same one again, an older version, or another row."""
    names = [name for name in table.column_names if name != EXTRACTED_AT]
    by = [*dict.fromkeys([*key, *([cursor] if cursor and cursor in names else [])])]
    keys, versions = (_distinct(table, columns) for columns in (key, by))
    rows = _distinct(table, names)
    if rows > versions:
        yield Finding(
            f"page {number} has {counted(rows - versions, 'row')} with the key of another",
            "add the column to key that tells them apart",
            breaks=True,
        )
    if older := versions - keys:
        yield Finding(
            f"page {number} has {counted(older, 'older version')} of rows, by {cursor}; "
            "the latest is kept",
            "if these are rows of their own, add the column to key that tells them apart",
        )
    if again := table.num_rows - rows:
        yield Finding(
            f"page {number} has {counted(again, 'row')} again, equal in all columns; "
            "one of each is kept",
            "is there a column that tells them apart? Else nothing is to be done",
        )


def _distinct(table: pa.Table, columns: Sequence[str]) -> int:
    return len(_keys_in(table, columns))


def _keys_in(table: pa.Table, columns: Sequence[str]) -> set[int]:
    return {*row_digests(table, columns).tolist()}


def _joins(last: Key, first: Key) -> bool:
    """True if a page that begins with ``first`` can't have passed a row after ``last``."""
    try:
        return bool(first <= last)  # type: ignore[operator]
    except TypeError:
        return False


def _types(probe: ProbeResult) -> Iterator[Finding]:
    table = probe.pages[0].table
    declared = probe.endpoint.columns
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type) and f.name not in declared]
    if nested:
        yield Finding(
            f"nested and not declared: {', '.join(nested[:8])}",
            "declare them as struct<…>, list<…>, or json where they have no stable shape",
        )
    if odd := converted_in_part(probe):
        of_each = ", ".join(f"{name} ({cells:,})" for name, cells in odd.items())
        yield Finding(
            f"some cells had to be converted, and others not: {of_each}",
            "the API writes these in more than one way: is the declared type right?",
        )
    rows = sum(table.num_rows for table in probe.tables)
    cursor = probe.endpoint.cursor
    # What the user's function reads need not be in what it makes.
    tables = [*probe.tables, *probe.raw]
    nowhere = [n for n in declared if n != cursor and all(_is_null(t, n) for t in tables)]
    if rows > 1 and nowhere:
        yield Finding(
            f"declared, and in none of {rows:,} rows: {', '.join(nowhere[:8])}",
            "is the name, or its path, spelt as in the rows? Without one the column stays null",
        )
    if cursor and probe.tables:
        yield from _cursor(cursor, probe.tables)


def converted_in_part(probe: ProbeResult) -> dict[str, int]:
    """The columns of which some cells had to be converted, with how many: see `written_as_text`."""
    whole = written_as_text(probe)
    return {name: cells for name, cells in probe.converted.items() if name not in whole}


def written_as_text(probe: ProbeResult) -> list[str]:
    """The columns whose every cell was converted: the API writes, say, all numbers as texts."""
    return [
        name
        for name, cells in probe.converted.items()
        if 0
        < sum(len(t) - t[name].null_count for t in probe.raw if name in t.column_names)
        <= cells
    ]


def _cursor(cursor: str, tables: Sequence[pa.Table]) -> Iterator[Finding]:
    if all(_is_null(table, cursor) for table in tables):
        yield Finding(
            f"no row has {cursor}: rows that change would be missed",
            f"is it the right cursor? {_times(tables[0])}",
            breaks=True,
        )
    elif without := tables[0][cursor].null_count:
        yield Finding(
            f"{counted(without, 'row')} {'has' if without == 1 else 'have'} no {cursor}",
            "they land with the first partition only: is it the right cursor?",
        )


def _is_null(table: pa.Table, name: str) -> bool:
    return name not in table.column_names or table[name].null_count == table.num_rows


def _times(table: pa.Table) -> str:
    """The columns that may be a cursor."""
    kinds = (pa.types.is_temporal, pa.types.is_integer, pa.types.is_string)
    looks = re.compile(r"(?:_at|_on|date|time|modified|changed|updated)$", re.IGNORECASE)
    names = [
        field.name
        for field in table.schema
        if field.name != EXTRACTED_AT
        and any(is_kind(field.type) for is_kind in kinds)
        and looks.search(field.name)
        and not _is_null(table, field.name)
    ]
    return f"The rows have {', '.join(names[:8])}" if names else "No other column looks like one"


def _validators(probe: ProbeResult) -> Iterator[Finding]:
    if probe.endpoint.conditional and not validators_of(probe.responses[0].headers):
        yield Finding(
            "`conditional` is set, but the response has no ETag, and no Last-Modified that lies "
            "before its Date: there can be no 304",
            "leave conditional out",
        )


def _limits(source: Source, probe: ProbeResult) -> Iterator[Finding]:
    if not source.limits.windows:
        yield Finding("no rate limit is given", "add limits.windows from the API's docs")
    names = rate_headers(probe.responses[-1].headers) if probe.responses else {}
    remaining = [name for name in names if name.endswith("remaining")]
    if remaining and source.limits.headers is None:
        yield Finding(
            f"the API tells what is left of the quota in {remaining[0]}",
            f"add limits: {{headers: {{remaining: {remaining[0]}, reset: …}}}}",
        )

    limit, interval = (
        next((n for n in names if n.endswith(e)), None) for e in ("-limit", "-interval")
    )
    if limit and interval and (source.limits.headers is None or not source.limits.headers.limit):
        yield Finding(
            f"the API tells its limit in {limit} and {interval}",
            f"add limits: {{headers: {{limit: {limit}, interval: {interval}}}}}: it is kept to "
            "while it is lower",
        )


def rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a response that are about the rate limit."""
    return {name: text for name, text in headers.items() if any(word in name for word in _RATE)}
