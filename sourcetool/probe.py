"""A few pages of one endpoint, fetched as a run would, and what was seen on the way."""

import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.types import INSTANT
from pipeline.dialects.placeholders import cut_before, may_come
from pipeline.errors import HeadraceError, RequestRefused
from pipeline.extract.completeness import is_end
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.partition_values import PagesOfValue, PartitionValue, Value
from pipeline.extract.plan import paging_of, shape_of
from pipeline.extract.window_cuts import window_slices
from pipeline.messages import HttpRequest, HttpResponse, Read, RequestCounts, Sender
from pipeline.pagination import Paging
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.partitions.window import Window

T = TypeVar("T")
DAY = timedelta(days=1)


@dataclass
class ProbeResult:
    """The result of looking at one endpoint: its first pages, and what they show.

    :ivar of: the one value of `each`, or of a parent's row, that it was asked for.
    :ivar tables: the rows of each page that has some, as they would land, and those outside the
        window too.
    :ivar raw: the same as the API gave them, before the user's function.
    :ivar half: a page of the same window that ends earlier, in the midst of the rows that came.
    :ivar later: how many rows came with it that lie after its end.
    :ivar ever: a page of everything up to now, as the first partition is asked for.
    :ivar ever_error: why there is none.
    :ivar zeroth: the page before the first one, if the API has it.
    :ivar error: why it went no further.
    """

    name: str
    endpoint: Endpoint
    window: Window
    of: Value | None = None
    pages: list[ParsedPage] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    raw: list[pa.Table] = field(default_factory=list)
    responses: list[HttpResponse] = field(default_factory=list)
    half: ParsedPage | None = None
    later: int = 0
    ever: ParsedPage | None = None
    ever_error: HeadraceError | None = None
    zeroth: ParsedPage | None = None
    counted: int | None = None
    converted: Mapping[str, int] = field(default_factory=dict)
    naive_columns: frozenset[str] = frozenset()
    error: HeadraceError | None = None

    @property
    def rows(self) -> int:
        """The number of rows that came, as they would land."""
        return sum(table.num_rows for table in self.tables)


class Watching:
    """A sender that remembers the responses."""

    def __init__(self, inner: Sender, responses: list[HttpResponse]) -> None:
        self._inner = inner
        self._responses = responses

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        async def watched(response: HttpResponse) -> T:
            self._responses.append(response)
            return await read(response)

        return await self._inner.fetch(request, watched, label, sent)


def window_of(endpoint: Endpoint, now: datetime, days: float) -> Window:
    """The last days, as a run would ask for them; all of it for a snapshot."""
    now = now.astimezone(UTC).replace(microsecond=0)
    if not endpoint.incremental:
        return Window("snapshot", None, now, 0.0)
    start = (now - days * DAY).replace(hour=0, minute=0, second=0)
    return Window("incremental", start, now, 0.0, start)


def _next(
    paging: Paging, ask: PageRequest, facts: PageInfo, counted: int | None
) -> PageRequest | None:
    """The page that a run would ask for next: planned by the count, else by this page."""
    known = replace(facts, total=facts.total if counted is None else counted)
    planned = paging.planned(ask, known)
    if planned is None:
        return paging.next_request(ask, known)
    return next(iter(planned)).request


def first_request(paging: Paging, window: Window) -> PageRequest:
    """The first page of a window."""
    first = paging.first_request()
    return replace(first, window=window.as_text) if paging.needs_window else first


def number_in(token: object) -> int | None:
    """The one number in a token, which may be in base64 (Relay's ``arrayconnection:99``)."""
    text = str(token)
    with suppress(ValueError):
        text = b64decode(text, validate=True).decode("ascii") if not text.isdigit() else text
    numbers = re.findall(r"\d+", text)
    return int(numbers[0]) if len(numbers) == 1 and len(numbers[0]) < 16 else None


def half_of(probe: ProbeResult) -> Window | None:
    """A window that some of the rows lie before, some after; None if there can't be one.

    The end of the first window is now, so that nothing shows whether the API knows the filter.
    """
    cursor, table = probe.endpoint.cursor, probe.pages[0].table
    if cursor is None or probe.endpoint.window.end == "none" or table.num_rows == 0:
        return None
    column = pc.cast(table[cursor], INSTANT)
    first, last = (bound.as_py() for bound in pc.min_max(column).values())
    step_s = max(1.0, probe.endpoint.window.resolution_s)
    if first is None or (last - first).total_seconds() < 8 * step_s:
        return None
    form = probe.endpoint.window.model_copy(update={"resolution_s": step_s})
    return replace(probe.window, end=cut_before(form, first + (last - first) / 2))


def is_whole(endpoint: Endpoint, window: Window) -> bool:
    """Whether a run would ask for it at once, and not in parts."""
    return not window_slices(window, endpoint.window)


def later_than(table: pa.Table, endpoint: Endpoint, window: Window) -> int:
    """The number of rows that lie after the window that the API was asked for."""
    latest = may_come(endpoint.window, window.start, window.end)[1]
    column = pc.cast(table[endpoint.cursor], INSTANT)
    return pc.sum(pc.greater(column, pa.scalar(latest, INSTANT))).as_py() or 0


async def _page(
    pages: PageSource, ask: PageRequest, probe: ProbeResult, paging: Paging
) -> ParsedPage | None:
    """A page; None if the API has no such page, behind as many rows as there are."""
    try:
        return await pages.page(ask)
    except RequestRefused as error:
        total = (
            probe.pages[0].info.total if probe.pages and probe.counted is None else probe.counted
        )
        if probe.pages and is_end(error, paging.first_request(), ask, total):
            return None
        raise


async def _before_first(pages: PageSource, paging: Paging) -> ParsedPage | None:
    """The page before the first one; None where an API has none, or no lower number."""
    before = paging.before_first()
    if before is None:
        return None
    try:
        return await pages.page(before)
    except HeadraceError:
        return None


async def look(
    source: Source,
    name: str,
    sender: Sender,
    window: Window,
    most_pages: int = 2,
    of: PartitionValue | None = None,
    most_rows: int = 0,
) -> ProbeResult:
    """Count, then read up to ``most_pages`` pages, one after the other.

    :param most_rows: read on until so many rows have come.
    """
    endpoint = source.endpoints[name]
    probe = ProbeResult(name, endpoint, window, of.value if of else None)
    shape = shape_of(endpoint, source.limits.max_body_bytes)
    reader = endpoint.format.decoder(shape, label=f"{source.source}/{name}")
    watching = Watching(sender, probe.responses)

    def pages_in(part: Window, by: Sender = watching) -> PageFetcher:
        return PageFetcher(by, source, name, part, reader, RequestCounts())

    def with_value(pages: PageFetcher) -> PageSource:
        return pages if of is None else PagesOfValue(pages, of)

    pages, paging = pages_in(window), paging_of(endpoint)
    first = first_request(paging, window)
    ask: PageRequest | None = first
    try:
        probe.counted = await with_value(pages).count(first)
        while ask is not None and (len(probe.pages) < most_pages or probe.rows < most_rows):
            page = await _page(with_value(pages), ask, probe, paging)
            if page is None:
                break
            probe.pages.append(page)
            if page.info.rows:
                response = probe.responses[-1]
                decoded = reader.read(response.body)
                probe.raw.append(decoded.table)
                probe.tables.append(pages.with_added_columns(decoded, page.request, response))
            ask = _next(paging, ask, page.info, probe.counted) if page.info.rows else None
        unseen = with_value(pages_in(window, sender))
        probe.zeroth = await _before_first(unseen, paging) if probe.pages else None
        if (part := half_of(probe)) is not None:
            probe.half = await with_value(pages_in(part)).page(first_request(paging, part))
            if probe.half.outside:
                response = probe.responses[-1]
                decoded = reader.read(response.body)
                table = pages.with_added_columns(decoded, probe.half.request, response)
                probe.later = later_than(table, endpoint, part)
        ever = replace(window, start=None)
        if endpoint.incremental and not endpoint.feed and is_whole(endpoint, ever):
            try:
                probe.ever = await with_value(pages_in(ever)).page(first_request(paging, ever))
            except HeadraceError as error:
                probe.ever_error = error
    except HeadraceError as error:
        probe.error = error
    probe.converted, probe.naive_columns = pages.converted, pages.naive_columns
    return probe
