"""The fetcher: a page is requested, parsed, and held against the request.

A page that does not fit (rows outside the window, another order, other rows than requested) is
requested again, since a sick API sends odd pages; a page that stays so is ``ContractBroken``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import pyarrow as pa

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import BadBody, UnexpectedPage
from pipeline.decode.types import INSTANT, instants
from pipeline.dialects.http_request import build_count_request, build_page_request
from pipeline.dialects.placeholders import slice_of, whole_slice_of
from pipeline.errors import ContractBroken, PageTokenDead, RequestRefused
from pipeline.extract.capped_page import looks_incomplete
from pipeline.extract.clock import clock_warning
from pipeline.extract.confirmation import LIMITS
from pipeline.extract.early_times import EarlyTimes
from pipeline.extract.error_pages import refuse_error, refuse_throttle
from pipeline.extract.feed import FeedPage, validators_of
from pipeline.extract.page_checks import (
    check_keys,
    check_names,
    check_order,
    count_in,
    duplicates_at_edges,
    edges_of,
    ends,
    in_order_of,
    in_strict_order,
    key_before_last,
    latest_of_page,
    without_bounds,
    without_duplicates,
)
from pipeline.extract.pages import ContextColumns, PageContext, ParsedPage, with_hashed_columns
from pipeline.extract.prefetch import ParseBatcher
from pipeline.extract.shared_keys import check_shared_keys
from pipeline.extract.window_checks import after_end, inside, newer_than, with_first_cursor
from pipeline.extract.window_cuts import reaching_back
from pipeline.hooks import load_function, transformed
from pipeline.http.classify import ResponseKind, classify
from pipeline.messages import (
    CachePolicy,
    HttpRequest,
    HttpResponse,
    Read,
    RequestCounts,
    Sender,
    server_time,
    shows_end,
)
from pipeline.model import fits_header
from pipeline.pagination.page import PageContent, PageInfo, PageRequest
from pipeline.partitions.window import Window

T = TypeVar("T")
_LINGER_S: Final = 0.1
_UNCERTAIN: Final = timedelta(minutes=15)
"""By how much an API's index and clock may be behind: a row may have changed so long before."""


class PageFetcher:
    """The pages of one endpoint in one window."""

    def __init__(
        self,
        sender: Sender,
        source: Source,
        name: str,
        window: Window,
        decoder: Decoder,
        sent: RequestCounts,
        began: datetime | None = None,
    ) -> None:
        """:param began: when the reading began: rows change from then on. Default: now."""
        self._began = began or datetime.now(UTC)
        self._changed_before = self._began - _UNCERTAIN
        self._sender = sender
        self._source = source
        self._name = name
        self._endpoint: Endpoint = reaching_back(source.endpoints[name], window)
        self._answers = source.answers_of(name)
        self._window = window
        self._decoder = decoder
        self._sent = sent
        path = self._endpoint.transform
        self._transform = load_function(path, "transform") if path else None
        self.converted: Counter[str] = Counter()
        self._added = ContextColumns(self._endpoint)
        self.naive_columns: frozenset[str] = frozenset()  # whose zone nothing says
        self.rows_after_end = 0
        self._types = {name: column.type for name, column in self._endpoint.columns.items()}
        self.early_times = EarlyTimes(self._types)
        self.earliest_response_at: datetime | None = None  # by the API's clock
        self.clock_warning: str | None = None
        self._conditions: Mapping[str, str] = {}
        self.not_modified = False
        self._under_way: set[object] = set()
        self._checked_schema: pa.Schema | None = None
        self._together = ParseBatcher(self._parse_all, lambda: decoder.reads_together)

    def ask_if_changed(self, conditions: Mapping[str, str]) -> None:
        """Send these headers with the next page's request; a 304 to it is an empty page."""
        named = ((name.lower(), value) for name, value in conditions.items())
        self._conditions = {name: value for name, value in named if _is_condition(name, value)}

    async def page(self, request: PageRequest) -> ParsedPage:
        """Request a page, parse it and check it.

        :raises ContractBroken: the page stays another than the requested one.
        """
        http_request = build_page_request(
            self._source.base_url_of(self._name), self._name, self._endpoint, self._window, request
        )
        conditions, self._conditions = self._conditions, {}
        if conditions:
            http_request = replace(http_request, headers={**http_request.headers, **conditions})
        subject = f"{self._source.source}/{self._name}, {_where(request, self._endpoint)}"

        requested_at = datetime.now(UTC)

        async def read(response: HttpResponse) -> ParsedPage:
            self._note_clock(response.headers, requested_at)
            if conditions and response.status == 304:
                self.not_modified = True
                return self._nothing(request, response)
            self._under_way.discard(this)
            return await self._together.result_of(
                (request, response), len(response.body), self._linger_s(response)
            )

        this = object()
        self._under_way.add(this)
        try:
            page = await self._fetch(http_request, read, subject)
            if page.info.explicit_empty and self._is_requested_twice():
                page = await self._fetch(http_request, read, subject)
            return page
        except RequestRefused as error:
            raise self._with_hint(error, request) from None
        finally:
            self._under_way.discard(this)

    def _is_requested_twice(self) -> bool:
        """Whether a status that means no rows is confirmed: a gateway may send one by mistake, and
        it would be the end of the pages. Most parents have no children: theirs are believed.
        """
        return not self.not_modified and self._endpoint.parents is None

    def _linger_s(self, response: HttpResponse) -> float:
        """How long a page may wait to be parsed with those that are on their way.

        Waiting is free for as long as the next request would wait for its slot anyway.
        """
        return min(_LINGER_S, response.waited_slot_s / 2) if self._under_way else 0.0

    def _note_clock(self, headers: Mapping[str, str], sent: datetime) -> None:
        at = server_time(headers)
        if at is not None and (self.earliest_response_at is None or at < self.earliest_response_at):
            self.earliest_response_at = at
        self.clock_warning = self.clock_warning or clock_warning(headers, sent, datetime.now(UTC))

    def _with_hint(self, error: RequestRefused, request: PageRequest) -> RequestRefused:
        """A token may mean the end, have expired, or be refused beside other parameters."""
        if (
            error.status not in (400, 404, 410, 422)
            or isinstance(error, PageTokenDead)
            or error.code  # of a lane: what it means is known
            or request.token is None
            or self._endpoint.paging.is_first(request)
        ):
            return error
        if meaning := self._endpoint.paging.may_mean(request):
            return RequestRefused(f"{error}. {meaning}", error.status)
        expired = (
            f"{error}. If this means that the page token has expired: `answers: {{dead_page_token: "
            f"[{error.status}]}}`, or `dead_page_token_text` with the words of the refusal, and "
            "the chain begins anew"
        )
        names = self._endpoint.request.token_params
        if error.status in (404, 410) or names is None:
            return RequestRefused(expired, error.status)
        return RequestRefused(
            f"{expired}. If the API takes a token without the other parameters, leave them out: "
            f"`request: {{with_token: [{', '.join(names) or 'token'}]}}`",
            error.status,
        )

    async def count(self, request: PageRequest) -> int | None:
        """How many rows match, or None if the API can't say."""
        if self._endpoint.count is None:
            return None
        spec = self._endpoint.count
        http_request = build_count_request(
            self._source.base_url_of(self._name),
            self._name,
            self._endpoint,
            spec,
            self._window,
            request,
        )

        async def read(response: HttpResponse) -> int | None:
            return count_in(self._endpoint.format, response.body, spec.at)

        return await self._fetch(http_request, read, f"{self._source.source}/{self._name}, count")

    async def _fetch(self, http_request: HttpRequest, read: Read[T], subject: str) -> T:
        """A response that breaks the contract is retried; the error is raised if it stays so."""
        broken = 0

        async def checked(response: HttpResponse) -> T:
            nonlocal broken
            try:
                return await read(response)
            except ContractBroken as error:
                broken += 1
                if broken > min(LIMITS.broken_page_retries, self._source.retries.errors):
                    raise ContractBroken(f"{subject}: {error}") from None
                raise UnexpectedPage(str(error)) from None

        if self._endpoint.cache_s is not None:
            http_request = replace(
                http_request, keep=CachePolicy(self._name, self._endpoint.cache_s)
            )
        return await self._sender.fetch(http_request, checked, subject, self._sent)

    def _parse_all(
        self, responses: Sequence[tuple[PageRequest, HttpResponse]]
    ) -> list[ParsedPage | Exception]:
        """Parse pages in a reader's thread: as one where all are as usual, else one by one."""
        bodies = {n: a.body for n, (_, a) in enumerate(responses) if not self._is_empty(a)}
        together = self._decoder.read_together([*bodies.values()]) if len(bodies) > 1 else None
        pages = dict(zip(bodies, together or (), strict=False))
        parsed: list[ParsedPage | Exception] = []
        for number, (request, response) in enumerate(responses):
            try:
                if number in bodies:
                    parsed.append(self._parse(request, response, pages.get(number)))
                else:
                    parsed.append(self._nothing(request, response))
            except Exception as error:
                parsed.append(error)
        return parsed

    def _parse(
        self, request: PageRequest, response: HttpResponse, page: DecodedPage | None
    ) -> ParsedPage:
        """JSON to Arrow, then the checks."""
        page = self._decode(response, page)
        as_sent, page = page.table, self._with_rows_in_bounds(page, request)
        content = self._content(page, response)
        info = self._info(content, page.items)
        with_columns = self.with_added_columns(page, request, response)
        check_keys(with_columns, self._endpoint)
        latest = latest_of_page(with_columns, self._endpoint)
        with_columns = in_order_of(page.table, latest, self._endpoint)
        in_window = self._rows_in_window(with_columns, request)
        # Asking a table for its bytes looks at every column: 2 % of the CPU of a run.
        as_decoded = in_window is with_columns and not (self._transform or self._endpoint.hash)
        newer = not in_window.num_rows and newer_than(with_columns, self._endpoint, self._began)
        bookmark = self._endpoint.bookmark
        return ParsedPage(
            request,
            info,
            _stamped(in_window, response),
            outside=page.items - in_window.num_rows,
            duplicates=as_sent.num_rows - page.table.num_rows,
            duplicates_at_edges=duplicates_at_edges(as_sent, page.table, self._endpoint),
            arrow_bytes=page.arrow_bytes if as_decoded else in_window.nbytes,
            body_bytes=len(response.body),
            latency_s=response.latency_s,
            earlier_row=self._endpoint.paging.token_before_last(content),
            response_columns=self._endpoint.response_columns,
            of_feed=self._of_feed(with_columns, response),
            looks_incomplete=looks_incomplete(
                self._endpoint,
                as_sent.num_rows,
                response,
                info,
                is_first=self._endpoint.paging.is_first(request),
            ),
            newer_than_reading=newer,
            bookmark=bookmark.of_page(content) if bookmark else None,
            open_ended=self._is_open_ended(request, response, info),
        )

    def _is_open_ended(self, request: PageRequest, response: HttpResponse, info: PageInfo) -> bool:
        """Whether rows may be missing at the end of the body, and nothing would show it."""
        if self._endpoint.format.shows_end or shows_end(response.headers):
            return False
        is_full = info.rows == request.limit and not self._endpoint.paging.one_page
        return not (is_full and bytes(response.body[-1:]) == b"\n")

    def _decode(self, response: HttpResponse, page: DecodedPage | None) -> DecodedPage:
        """The page as the API sent it. :raises ContractBroken: it is an error with status 200."""
        try:
            page = page or self._decoder.read(response.body)
            refuse_error(self._endpoint, self._answers, self._decoder, page, response)
        except (ContractBroken, BadBody) as error:
            refuse_throttle(self._decoder, error, response)
            raise
        self.converted.update(page.converted)
        if self._endpoint.window.timezone is None:
            self.naive_columns |= page.naive_columns
        self.early_times.note(page.table)
        return page

    def _with_rows_in_bounds(self, page: DecodedPage, request: PageRequest) -> DecodedPage:
        """The rows that the next request goes by: each once, without those at excluded bounds."""
        ordered = in_strict_order(page.table, self._endpoint)
        distinct = page.table if ordered else without_duplicates(page.table, self._endpoint)
        in_bounds = without_bounds(distinct, self._endpoint, request)
        check_order(in_bounds, self._endpoint, request, ordered=ordered)
        if in_bounds is page.table:
            return page
        at_bounds = distinct.num_rows - in_bounds.num_rows
        return replace(page, table=in_bounds, items=page.items - at_bounds)

    def _of_feed(self, rows: pa.Table, response: HttpResponse) -> FeedPage | None:
        """What the page shows of the feed; None if the endpoint is none."""
        if not self._endpoint.feed:
            return None
        name = self._endpoint.cursor
        if name is None or not rows.num_rows:
            return FeedPage(validators=validators_of(response.headers))
        return FeedPage.of(instants(rows[name], self._endpoint.window.zone), response.headers)

    def _rows_in_window(self, rows: pa.Table, request: PageRequest) -> pa.Table:
        """The rows of the requested part of the window, checked."""
        bounds = slice_of(self._window, request)
        in_window = inside(rows, self._endpoint, *bounds, self._window.bookmarks)
        if in_window is not rows:
            self.rows_after_end += after_end(rows, self._endpoint, *bounds, self._changed_before)
        if in_window.schema != self._checked_schema:
            check_names(in_window, self._endpoint)
            self._checked_schema = in_window.schema
        if not self._endpoint.by_key:
            check_shared_keys(in_window, self._endpoint)
        return in_window

    def with_added_columns(
        self, page: DecodedPage, request: PageRequest, response: HttpResponse
    ) -> pa.Table:
        """The rows after the user's function, with the columns that the API's rows lack."""
        rows = page.table
        if self._transform is not None:
            path, needed = str(self._endpoint.transform), self._endpoint.needed
            rows = transformed(rows, self._transform, path, needed)
        if self._endpoint.hash and self._source.hash_salt is not None:
            salt = self._source.hash_salt.get_secret_value()
            rows = with_hashed_columns(rows, self._endpoint.hash, salt)
        if not self._added.fields:
            return with_first_cursor(rows, self._endpoint)
        start, end = whole_slice_of(self._window, request)
        context = PageContext(
            values={**request.fields, "each": request.parent, "parent": request.parent},
            start=start or self._endpoint.window.floor_at,
            end=end,
            members=page.extras,
            headers=response.headers,
            now=datetime.now(UTC),
        )
        return with_first_cursor(self._added.add(rows, context), self._endpoint)

    def _is_empty(self, response: HttpResponse) -> bool:
        """Whether the response means that there are no rows, whatever its body has."""
        advertised = self._source.limits.headers
        return (
            classify(response.status, response.headers, self._answers, advertised, response.body)
            is ResponseKind.EMPTY
        )

    def _nothing(self, request: PageRequest, response: HttpResponse) -> ParsedPage:
        none = self._added.add_without_values(self._decoder.schema.empty_table())
        none = with_first_cursor(none, self._endpoint)
        info, of_feed = PageInfo(0, explicit_empty=True), self._of_feed(none, response)
        return ParsedPage(request, info, _stamped(none, response), of_feed=of_feed)

    def _content(self, page: DecodedPage, response: HttpResponse) -> PageContent:
        return PageContent(
            page.table,
            page.extras,
            response.headers,
            url=response.url,
            base_url=self._source.base_url_of(self._name),
            secret_param=self._source.auth.url_parameter,
            types=self._types,
            zone=self._endpoint.window.zone,
            naive_columns=page.naive_columns,
        )

    def _info(self, content: PageContent, items: int) -> PageInfo:
        """:param items: what the API counts as rows of the page.

        :raises ContractBroken: pages go by rows, and none of the items is one.
        """
        rows = content.table.num_rows
        if self._endpoint.pages_go_by_rows:
            if items and not rows:
                raise ContractBroken(
                    f"The page has {items:,} items and no row, and pages go by their rows. Check: "
                    "1. `rows`; 2. another kind of paging, such as `token` or `link`"
                )
            items = rows
        first, last = ends(content, self._endpoint)
        edges = edges_of(with_first_cursor(content.table, self._endpoint), self._endpoint)
        return replace(
            self._endpoint.paging.info_of(content),
            rows=items,
            first=first,
            last=last,
            before_last=key_before_last(content, self._endpoint),
            cursor=edges.cursor,
            first_keys=edges.first_keys,
            boundary_keys=edges.boundary_keys,
            first_cursor=edges.first_cursor,
        )


def _is_condition(name: str, value: object) -> bool:
    """Whether a header is a validator: a manifest, where it was kept, may have been changed."""
    known = name in ("if-none-match", "if-modified-since")
    return known and isinstance(value, str) and fits_header(value)


def _stamped(table: pa.Table, response: HttpResponse) -> pa.Table:
    """With when the rows came, and not when they were read: they may be from the cache, or have
    waited, and a sweep that has begun since knows more of what is deleted."""
    at = pa.scalar(datetime.fromtimestamp(response.received_at_s, UTC), INSTANT)
    return table.append_column(EXTRACTED_AT, pa.repeat(at, table.num_rows))


def _where(request: PageRequest, endpoint: Endpoint) -> str:
    """The page in the user's words."""
    named = {"offset": request.offset, "page": request.page, "after": request.after}
    named["each" if endpoint.each else "parent"] = request.parent
    members = [f"{name} {value}" for name, value in named.items() if value is not None]
    return "page at " + ", ".join(members) if members else "page"
