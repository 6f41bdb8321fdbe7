"""One page: requested, parsed, and held against the request.

A page that does not fit (rows outside the window, another order, other rows than requested) is
requested again, since a sick API sends odd pages; a page that stays so is ``ContractBroken``.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

from pipeline.body import Body
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode import Format
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import ThrottledInBody, UnexpectedPage
from pipeline.decode.exact_json import shorten
from pipeline.decode.types import INSTANT
from pipeline.dialects.http_request import build_count_request, build_page_request
from pipeline.dialects.window_format import slice_of
from pipeline.errors import ContractBroken, cut_bytes
from pipeline.extract.confirmation import LIMITS
from pipeline.extract.context_columns import ContextColumns, PageContext
from pipeline.extract.feed import Feed
from pipeline.extract.page_checks import (
    check_keys,
    check_names,
    check_order,
    edges_of,
    ends,
    in_order_of,
    inside,
)
from pipeline.extract.parse_batching import ParseBatcher
from pipeline.extract.parsed_page import ParsedPage
from pipeline.extract.row_rules import hashed
from pipeline.hooks import load_function, transformed
from pipeline.http.classify import ResponseKind, asks_to_wait, classify
from pipeline.messages import CachePolicy, HttpRequest, HttpResponse, RequestCounts, Sender
from pipeline.model import split_path
from pipeline.pagination.base import whole_total
from pipeline.pagination.page import PageContent, PageInfo, PageRequest
from pipeline.partitions.window import Window

T = TypeVar("T")


class PageFetcher:
    """The pages of one endpoint in one window."""

    def __init__(
        self,
        sender: Sender,
        source: Source,
        name: str,
        window: Window,
        reader: Decoder,
        sent: RequestCounts,
    ) -> None:
        self._sender = sender
        self._source = source
        self._name = name
        self._endpoint: Endpoint = source.endpoints[name]
        self._window = window
        self._reader = reader
        self._sent = sent
        path = self._endpoint.transform
        self._transform = load_function(path, "transform") if path else None
        self.converted: Counter[str] = Counter()
        self._added = ContextColumns(self._endpoint)
        self._types = {name: column.type for name, column in self._endpoint.columns.items()}
        self._feeds: dict[str | int | None, Feed] = {}
        self._conditions: Mapping[str, str] = {}
        self.not_modified = False
        self._together = ParseBatcher(self._read_all, lambda: reader.reads_together)

    def ask_if_changed(self, conditions: Mapping[str, str]) -> None:
        """Send these headers with the next page's request; a 304 to it is an empty page."""
        self._conditions = conditions

    def feed_facts(self) -> dict[str, Any]:
        """Facts of a feed, for the manifest; empty for another endpoint.

        Of a feed for each value, how far back each reached, and how far it had to.
        """
        if not self._endpoint.fans_out:
            return self._feeds[None].facts() if None in self._feeds else self._no_feed()
        return {"feeds": {str(value): feed.reach_facts() for value, feed in self._feeds.items()}}

    def _no_feed(self) -> dict[str, Any]:
        return self._feed_of(PageRequest(0)).facts() if self._endpoint.feed else {}

    def _feed_of(self, request: PageRequest) -> Feed:
        """The feed that a page is of: each value has one of its own."""
        if request.parent not in self._feeds:
            chain = not self._endpoint.paging.one_page
            bounds = slice_of(self._window, request)
            self._feeds[request.parent] = Feed(*bounds, chain=chain)
        return self._feeds[request.parent]

    async def page(self, request: PageRequest) -> ParsedPage:
        """One page, parsed and checked.

        :raises ContractBroken: the page stays another than the requested one.
        """
        http_request = build_page_request(
            self._source.base_url, self._name, self._endpoint, self._window, request
        )
        conditions, self._conditions = self._conditions, {}
        http_request = replace(http_request, headers={**http_request.headers, **conditions})
        subject = f"{self._source.source}/{self._name}, {_where(request, self._endpoint)}"

        async def read(response: HttpResponse) -> ParsedPage:
            if conditions and response.status == 304:
                self.not_modified = True
                return self._nothing(request)
            return await self._together.result_of((request, response), len(response.body))

        return await self._fetch(http_request, read, subject)

    async def count(self, request: PageRequest) -> int | None:
        """How many rows match, or None if the API can't say."""
        if self._endpoint.count is None:
            return None
        spec = self._endpoint.count
        http_request = build_count_request(
            self._source.base_url, self._name, self._endpoint, spec, self._window, request
        )

        async def read(response: HttpResponse) -> int | None:
            return count_in(self._endpoint.format, response.body, spec.at)

        return await self._fetch(http_request, read, f"{self._source.source}/{self._name}, count")

    async def _fetch(
        self, http_request: HttpRequest, read: Callable[[HttpResponse], Awaitable[T]], subject: str
    ) -> T:
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

    def _read_all(
        self, responses: Sequence[tuple[PageRequest, HttpResponse]]
    ) -> list[ParsedPage | Exception]:
        """In a reader's thread: as one where all are as usual, else one by one."""
        bodies = {n: a.body for n, (_, a) in enumerate(responses) if not self._is_empty(a)}
        together = self._reader.read_together([*bodies.values()]) if len(bodies) > 1 else None
        pages = dict(zip(bodies, together or (), strict=False))
        parsed: list[ParsedPage | Exception] = []
        for number, (request, response) in enumerate(responses):
            try:
                parsed.append(self._read(request, response, pages.get(number)))
            except Exception as error:
                parsed.append(error)
        return parsed

    def _read(
        self, request: PageRequest, response: HttpResponse, page: DecodedPage | None
    ) -> ParsedPage:
        """JSON to Arrow, then the checks."""
        feed = self._feed_of(request) if self._endpoint.feed else None
        if feed and self._endpoint.paging.is_first(request):
            feed.begin(response.headers)
        if self._is_empty(response):
            return self._nothing(request)
        page = page or self._reader.read(response.body)
        self.converted.update(page.converted)
        if page.extras.get("error"):
            error = shorten(page.extras["error"], 200)
            error_text = f"The API sent an error in a {response.status}: {error}"
            waits = asks_to_wait(response.headers, self._source.answers, response.body)
            raise ThrottledInBody(error_text) if waits else ContractBroken(error_text)
        check_order(page.table, self._endpoint, request)
        # Pages go by the API's own rows.
        content = self._content(page, response)
        info = self._info(content, page.items)
        made = self.made(page, request, response)
        check_keys(made, self._endpoint)
        made = in_order_of(page.table, made, self._endpoint)
        if feed and self._endpoint.cursor is not None and made.num_rows:
            feed.record(made[self._endpoint.cursor])
        table = inside(made, self._endpoint, *slice_of(self._window, request))
        check_names(table, self._endpoint)
        outside = page.items - table.num_rows
        # Asking a table for its bytes looks at every column: 2 % of the CPU of a run.
        as_read = table is made and self._transform is None and not self._endpoint.hash
        arrow_bytes = page.arrow_bytes if as_read else table.nbytes
        return ParsedPage(
            request,
            info,
            _stamped(table),
            outside=outside,
            arrow_bytes=arrow_bytes,
            body_bytes=len(response.body),
            latency_s=response.latency_s,
            earlier_row=self._endpoint.paging.token_before_last(content),
        )

    def made(self, page: DecodedPage, request: PageRequest, response: HttpResponse) -> pa.Table:
        """What the user's function makes of the API's rows, with the columns that they lack."""
        rows = page.table
        if self._transform is not None:
            path, needed = str(self._endpoint.transform), self._endpoint.needed
            rows = transformed(rows, self._transform, path, needed)
        if self._endpoint.hash and self._source.hash_salt is not None:
            salt = self._source.hash_salt.get_secret_value()
            rows = hashed(rows, self._endpoint.hash, salt)
        if not self._added.fields:
            return rows
        start, end = slice_of(self._window, request)
        context = PageContext(
            values={**request.fields, "each": request.parent, "parent": request.parent},
            start=start or self._endpoint.window.floor_at,
            end=end,
            members=page.extras,
            headers=response.headers,
            now=datetime.now(UTC),
        )
        return self._added.add(rows, context)

    def _is_empty(self, response: HttpResponse) -> bool:
        """Whether the response means that there are no rows, whatever its body has."""
        advertised = self._source.limits.headers
        return (
            classify(response.status, response.headers, self._source.answers, advertised)
            is ResponseKind.EMPTY
        )

    def _nothing(self, request: PageRequest) -> ParsedPage:
        none = self._added.add(self._reader.schema.empty_table(), PageContext())
        return ParsedPage(request, PageInfo(0, explicit_empty=True), _stamped(none))

    def _content(self, page: DecodedPage, response: HttpResponse) -> PageContent:
        return PageContent(
            page.table,
            page.extras,
            response.headers,
            url=response.url,
            base_url=self._source.base_url,
            secret_param=self._source.auth.url_parameter,
            types=self._types,
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
        first, last = ends(content.table, self._endpoint)
        edges = edges_of(content.table, self._endpoint)
        return replace(
            self._endpoint.paging.info_of(content),
            rows=items,
            first=first,
            last=last,
            cursor=edges.cursor,
            first_keys=edges.first_keys,
            boundary_keys=edges.boundary_keys,
            first_cursor=edges.first_cursor,
        )


def _stamped(table: pa.Table) -> pa.Table:
    """With when the rows came."""
    now = pa.scalar(datetime.now(UTC), INSTANT)
    return table.append_column("_extracted_at", pa.repeat(now, table.num_rows))


def _where(request: PageRequest, endpoint: Endpoint) -> str:
    """The page in the user's words."""
    named = {"offset": request.offset, "page": request.page, "after": request.after}
    named["each" if endpoint.each else "parent"] = request.parent
    given = [f"{name} {value}" for name, value in named.items() if value is not None]
    return "page at " + ", ".join(given) if given else "page"


def count_in(format: Format, body: Body, path: str) -> int | None:
    """The count at a path of a response.

    :raises BadBody: the body is not of the format. :raises ContractBroken: there is no count.
    """
    try:
        value = format.value_at(body, split_path(path))
    except (KeyError, TypeError):
        raise _no_count(body, path) from None
    try:
        return whole_total(value)
    except ContractBroken:
        raise _no_count(body, path) from None


def _no_count(body: Body, path: str) -> ContractBroken:
    return ContractBroken(
        f"The response to a count is {cut_bytes(body, 100)!r}, expected a number at `{path}`. "
        "Check: 1. count.path; 2. count.at"
    )
