"""One page: asked for, read, and held against what was asked.

What does not fit (rows outside the window, another order, rows that were not to come) is asked for
again, since a sick API sends odd pages; if it stays so it is ``ContractBroken``.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import ThrottledInBody, UnexpectedPage
from pipeline.decode.exact_json import shorten
from pipeline.decode.types import INSTANT, parse_type
from pipeline.dialects.http_request import build_count_request, build_page_request
from pipeline.dialects.window_format import slice_of
from pipeline.errors import ContractBroken
from pipeline.extract.feed import Feed
from pipeline.extract.page_checks import check_keys, check_order, edges_of, ends, in_order_of
from pipeline.extract.parse_batching import ParseBatcher
from pipeline.extract.totals import count_in
from pipeline.extract.window_filter import check_names, inside
from pipeline.hooks import load_function, transformed
from pipeline.http.classify import ResponseKind, asks_to_wait, classify
from pipeline.messages import CachePolicy, HttpRequest, HttpResponse, RequestCounts, Sender
from pipeline.pagination.page import PageContent, PageInfo, PageRequest, PageToken
from pipeline.partitions.window import Window

T = TypeVar("T")
_ASK_AGAIN = 2


@dataclass(frozen=True)
class ParsedPage:
    """A page: what was asked, what it says of itself, and its rows (with ``_extracted_at``).

    :ivar outside: rows that the API had to give, since its bounds are coarser than the window.
    :ivar arrow_bytes: of the table as it was read.
    :ivar body_bytes: of the answer.
    :ivar latency_s: of the answer, as the client has it.
    :ivar back: where rows are the tokens, that of a row before the last one, and how many rows lie
        behind it.
    :ivar lost: the row that the page was asked for behind is not there any more.
    """

    ask: PageRequest
    facts: PageInfo
    table: pa.Table
    outside: int = 0
    arrow_bytes: int = 0
    body_bytes: int = 0
    latency_s: float = 0.0
    back: tuple[PageToken, int] = (None, 0)
    lost: bool = False


class PageSource(Protocol):
    """Where an extraction gets its pages from."""

    async def page(self, ask: PageRequest) -> ParsedPage: ...

    async def count(self, ask: PageRequest) -> int | None: ...


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
        self._types = {name: column.type for name, column in self._endpoint.columns.items()}
        chain = not self._endpoint.paging.one_page
        self._feed = Feed(window.start, window.end, chain=chain) if self._endpoint.feed else None
        self._conditions: Mapping[str, str] = {}
        self.not_modified = False
        self._together = ParseBatcher(self._read_all, lambda: reader.reads_together)

    def ask_if_changed(self, conditions: Mapping[str, str]) -> None:
        """Send these headers with the next page's request; a 304 to it is an empty page."""
        self._conditions = conditions

    def feed_facts(self) -> dict[str, Any]:
        """What was seen of a feed, for the manifest; nothing of another endpoint."""
        return self._feed.facts() if self._feed else {}

    async def page(self, ask: PageRequest) -> ParsedPage:
        """One page, read and checked.

        :raises ContractBroken: the page is not what was asked for, however often.
        """
        request = build_page_request(
            self._source.base_url, self._name, self._endpoint, self._window, ask
        )
        conditions, self._conditions = self._conditions, {}
        request = replace(request, headers={**request.headers, **conditions})
        what = f"{self._source.source}/{self._name}, {_where(ask, self._endpoint)}"

        async def read(answer: HttpResponse) -> ParsedPage:
            if conditions and answer.status == 304:
                self.not_modified = True
                return self._nothing(ask)
            return await self._together.result_of((ask, answer), len(answer.body))

        return await self._fetch(request, read, what)

    async def count(self, ask: PageRequest) -> int | None:
        """How many rows match, or None if the API can't say."""
        if self._endpoint.count is None:
            return None
        spec = self._endpoint.count
        request = build_count_request(
            self._source.base_url, self._name, self._endpoint, spec, self._window, ask
        )

        async def read(answer: HttpResponse) -> int | None:
            return count_in(self._endpoint.format, answer.body, spec.at)

        return await self._fetch(request, read, f"{self._source.source}/{self._name}, count")

    async def _fetch(
        self, request: HttpRequest, read: Callable[[HttpResponse], Awaitable[T]], what: str
    ) -> T:
        """What breaks the contract is asked for again; it is for good if it stays so."""
        doubts = 0

        async def doubting(answer: HttpResponse) -> T:
            nonlocal doubts
            try:
                return await read(answer)
            except ContractBroken as error:
                doubts += 1
                if doubts > min(_ASK_AGAIN, self._source.retries.errors):
                    raise ContractBroken(f"{what}: {error}") from None
                raise UnexpectedPage(str(error)) from None

        if self._endpoint.cache_s is not None:
            request = replace(request, keep=CachePolicy(self._name, self._endpoint.cache_s))
        return await self._sender.fetch(request, doubting, what, self._sent)

    def _read_all(
        self, answers: Sequence[tuple[PageRequest, HttpResponse]]
    ) -> list[ParsedPage | Exception]:
        """In a reader's thread: as one where all are as usual, else one by one."""
        bodies = {n: a.body for n, (_, a) in enumerate(answers) if not self._is_empty(a)}
        together = self._reader.read_together([*bodies.values()]) if len(bodies) > 1 else None
        pages = dict(zip(bodies, together or (), strict=False))
        found: list[ParsedPage | Exception] = []
        for number, (ask, answer) in enumerate(answers):
            try:
                found.append(self._read(ask, answer, pages.get(number)))
            except Exception as error:
                found.append(error)
        return found

    def _read(self, ask: PageRequest, answer: HttpResponse, page: DecodedPage | None) -> ParsedPage:
        """JSON to Arrow, then the checks."""
        if self._feed and self._endpoint.paging.is_first(ask):
            self._feed.begin(answer.headers)
        if self._is_empty(answer):
            return self._nothing(ask)
        page = page or self._reader.read(answer.body)
        self.converted.update(page.converted)
        if page.extras.get("error"):
            error = shorten(page.extras["error"], 200)
            said = f"the API answered with an error in a {answer.status}: {error}"
            waits = asks_to_wait(answer.headers, self._source.answers, answer.body)
            raise ThrottledInBody(said) if waits else ContractBroken(said)
        check_order(page.table, self._endpoint, ask)
        # Pages go by the API's own rows.
        content = self._content(page, answer)
        facts = self._facts(content)
        made = self.made(page.table, ask)
        check_keys(made, self._endpoint)
        made = in_order_of(page.table, made, self._endpoint)
        if self._feed and self._endpoint.cursor is not None and made.num_rows:
            self._feed.saw(made[self._endpoint.cursor])
        table = inside(made, self._endpoint, *slice_of(self._window, ask))
        check_names(table, self._endpoint)
        outside = page.table.num_rows - table.num_rows
        # Asking a table for its bytes looks at every column: 2 % of the CPU of a run.
        as_read = table is made and self._transform is None
        arrow_bytes = page.arrow_bytes if as_read else table.nbytes
        return ParsedPage(
            ask,
            facts,
            _stamped(table),
            outside=outside,
            arrow_bytes=arrow_bytes,
            body_bytes=len(answer.body),
            latency_s=answer.latency_s,
            back=self._endpoint.paging.token_before_last(content),
        )

    def made(self, rows: pa.Table, ask: PageRequest) -> pa.Table:
        """What the user's function makes of the API's rows, with the parent, which they lack."""
        if self._transform is not None:
            path, needed = str(self._endpoint.transform), self._endpoint.needed
            rows = transformed(rows, self._transform, path, needed)
        return self._of_parent(rows, ask)

    def _of_parent(self, rows: pa.Table, ask: PageRequest) -> pa.Table:
        if self._endpoint.column_of_parent is None:
            return rows
        field = parent_field(self._endpoint)
        value = pa.scalar(ask.parent).cast(field.type)
        return rows.append_column(field, pa.repeat(value, rows.num_rows))

    def _is_empty(self, answer: HttpResponse) -> bool:
        """Whether the answer means that there are no rows, whatever its body says."""
        said = self._source.limits.headers
        return (
            classify(answer.status, answer.headers, self._source.answers, said)
            is ResponseKind.EMPTY
        )

    def _nothing(self, ask: PageRequest) -> ParsedPage:
        none = self._of_parent(self._reader.schema.empty_table(), ask)
        return ParsedPage(ask, PageInfo(0, told_empty=True), _stamped(none))

    def _content(self, page: DecodedPage, answer: HttpResponse) -> PageContent:
        return PageContent(
            page.table,
            page.extras,
            answer.headers,
            url=answer.url,
            base_url=self._source.base_url,
            secret_param=self._source.auth.url_parameter,
            types=self._types,
        )

    def _facts(self, content: PageContent) -> PageInfo:
        first, last = ends(content.table, self._endpoint)
        edges = edges_of(content.table, self._endpoint)
        return replace(
            self._endpoint.paging.info_of(content),
            first=first,
            last=last,
            cursor=edges.cursor,
            begins=edges.begins,
            again=edges.again,
            since=edges.since,
        )


def _stamped(table: pa.Table) -> pa.Table:
    """With when the rows came."""
    now = pa.scalar(datetime.now(UTC), INSTANT)
    return table.append_column("_extracted_at", pa.repeat(now, table.num_rows))


def parent_field(endpoint: Endpoint) -> pa.Field:
    """The column of a child's rows that gets the parent's value."""
    name = str(endpoint.column_of_parent)
    return pa.field(name, parse_type(endpoint.columns[name].type).arrow)


def _where(ask: PageRequest, endpoint: Endpoint) -> str:
    """The page in the user's words."""
    named = {"offset": ask.offset, "page": ask.page, "after": ask.after}
    named["each" if endpoint.each else "parent"] = ask.parent
    given = [f"{name} {value}" for name, value in named.items() if value is not None]
    return "page at " + ", ".join(given) if given else "page"
