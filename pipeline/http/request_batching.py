"""Request batching: many pages in one request, by IGDB's ``/multiquery``.

Up to 10 pages cost the quota of one request. Source: https://api-docs.igdb.com/#multi-query. Pages
of one endpoint and of several share a batch, in the order in which they were requested. A few
workers send; pages get into one batch at a time, until the budget gives that one its send slot. So
batches are as full as they can be, and waiting fills them.

If the API refuses a batch, its pages are sent one by one: a page that is refused by itself was the
reason, and only its endpoint fails; if all of them pass, batching is switched off. A batch that
gets no response is cut in half, and so is every later one. Pages that come with the rows of another
page are sent again, each by itself.
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Final, TypeVar

from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody
from pipeline.dialects.igdb import multiquery, split
from pipeline.errors import ApiUnavailable, HeadraceError, RequestRefused, WrongFormat
from pipeline.http.client import Client
from pipeline.http.retry import AttemptFailed, FailureKind
from pipeline.messages import Body, HttpRequest, HttpResponse, Read, RequestCounts, Sender
from pipeline.runtime import in_reader

T = TypeVar("T")
_NEXT_PAGE_S: Final = 0.02
"""About the time that it takes to read a page."""
_RARE: Final = "JKQVWXYZ"
"""Letters of names. They are rare in texts: a search for a long name then looks at few bytes."""


@dataclass(eq=False)
class PendingPage:
    """A page that waits for its response."""

    request: HttpRequest
    label: object
    sent: RequestCounts
    response: asyncio.Future[HttpResponse] = field(default_factory=asyncio.Future)


class Queue:
    """The pages that wait for a batch, in order, and the one batch that takes them in."""

    def __init__(self) -> None:
        self._pages: deque[PendingPage] = deque()
        self._some = asyncio.Event()
        self._open_batch = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, page: PendingPage) -> None:
        self._pages.append(page)
        self._some.set()

    def put_back(self, pages: Sequence[PendingPage]) -> None:
        """Put pages in front of all others."""
        self._pages.extendleft(reversed(pages))
        self._some.set()

    def take(self, most: int) -> list[PendingPage]:
        """Up to so many pages, without those that nobody waits for any more."""
        pages: list[PendingPage] = []
        while self._pages and len(pages) < most:
            page = self._pages.popleft()
            if not page.response.done():
                pages.append(page)
        return pages

    async def open_batch(self) -> None:
        """Wait until there are pages, and no other batch takes them in."""
        while not self._pages:
            self._some.clear()
            await self._some.wait()
        await self._open_batch.acquire()

    def close_batch(self) -> None:
        """The batch takes in no more: the next may begin."""
        self._open_batch.release()


class RequestBatch:
    """Pages that share a request: a ``LateRequest``. One page alone goes as it is.

    The batch takes in pages until the budget gives its send slot: then ``final`` decides.
    """

    def __init__(self, queue: Queue, base_url: str, max_pages: Callable[[], int]) -> None:
        self.pages = queue.take(1)
        self.names: list[str] = []
        self._queue = queue
        self._base_url = base_url
        self._max_pages = max_pages
        self._is_open = True

    def final(self) -> HttpRequest:
        """The request, with all pages that wait by now. A retry takes in none: the API may find
        the batch too large as it is."""
        if self._is_open:
            self.pages += self._queue.take(self._max_pages() - len(self.pages))
            self.close()
        first = self.pages[0].request
        if len(self.pages) == 1:
            return first
        paths = [page.request.url.removeprefix(self._base_url).strip("/") for page in self.pages]
        queries = [
            (path, name, page.request.content or b"")
            for path, name, page in zip(paths, self.names, self.pages, strict=True)
        ]
        url = f"{self._base_url}/multiquery"
        return HttpRequest("POST", url, headers=first.headers, content=multiquery(queries))

    def close(self) -> None:
        """Take in no more pages; each has a name from now on."""
        if self._is_open:
            self._is_open = False
            self.names = ["".join(secrets.choice(_RARE) for _ in range(32)) for _ in self.pages]
            self._queue.close_batch()

    async def responses(self, response: HttpResponse) -> list[HttpResponse]:
        """The response of each page, cut out of the whole."""
        if len(self.pages) == 1:
            return [response]
        bodies = await in_reader(split, response.body, self.names)
        return [replace(response, body=body) for body in bodies]

    def __str__(self) -> str:
        number = len(self.pages)
        return str(self.pages[0].label) if number == 1 else f"{number} pages in one request"


class RequestBatcher:
    """Sends pages in batches through a client.

    :ivar size: pages that a batch has at most, by now.
    """

    def __init__(self, client: Client, source: Source, size: int) -> None:
        self._client = client
        self._base_url = source.base_url.rstrip("/")
        self._queue = Queue()
        self._in_flight = 0
        self.size = size

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """As ``Client.fetch``. A page that can't be read is retried, alone or in a batch."""
        failures: Counter[FailureKind] = Counter()
        while True:
            page = PendingPage(request, label, sent)
            self._queue.add(page)
            try:
                return await self._client.read(await page.response, read, label)
            except BadBody as error:
                sent.retried += 1
                failed = AttemptFailed(FailureKind.ERROR, str(error))
                await self._client.back_off(failed, failures, label)
            finally:
                page.response.cancel()

    async def work(self) -> None:
        """Send batches until cancelled."""
        while True:
            await self._queue.open_batch()
            await self._gather()
            await self._next_batch()

    async def _next_batch(self) -> None:
        """A call of its own: a worker that waits then holds no response that was read long ago."""
        batch = RequestBatch(self._queue, self._base_url, lambda: self.size)
        try:
            if batch.pages:
                await self._send(batch)
        except Exception as error:  # all that wait for a page have to learn of it
            _fail(batch.pages, error)
        finally:
            batch.close()

    async def _gather(self) -> None:
        """While others are in flight, wait for as long as pages keep coming: those whose response
        has just come are being read, and each requests the one after it."""
        before = 0
        while self._in_flight and before < len(self._queue) < self.size:
            before = len(self._queue)
            await asyncio.sleep(_NEXT_PAGE_S)

    async def _send(self, batch: RequestBatch) -> None:
        first = batch.pages[0]
        # The request is counted where its first page belongs, so that sums stay true.
        request = replace(first.request, late=batch)
        self._in_flight += 1
        try:
            responses = await self._client.fetch(request, batch.responses, batch, first.sent)
        except HeadraceError as error:
            await self._failed(batch.pages, error)
            return
        finally:
            self._in_flight -= 1
        pages = batch.pages
        doubtful = mixed_up([page.request for page in pages], [r.body for r in responses])
        for number, (page, response) in enumerate(zip(pages, responses, strict=True)):
            if number in doubtful:
                await self._send_alone(page)
            elif not page.response.done():
                page.response.set_result(response)

    async def _failed(self, pages: Sequence[PendingPage], error: HeadraceError) -> None:
        if len(pages) > 1 and isinstance(error, RequestRefused):
            settled = [await self._send_alone(page) for page in pages]
            if all(settled):
                self.size = 1
        elif (
            len(pages) > 1
            and isinstance(error, ApiUnavailable | WrongFormat)
            and self._client.breaker_state != "open"
        ):
            self.size = max(1, len(pages) // 2)
            self._queue.put_back(pages)
        else:
            _fail(pages, error)

    async def _send_alone(self, page: PendingPage) -> bool:
        """Send a page by itself.

        :return: False if the API refused this very page.
        """
        try:
            response = await self._client.fetch(page.request, _as_it_is, page.label, page.sent)
        except HeadraceError as error:
            _fail([page], error)
            return not isinstance(error, RequestRefused)
        if not page.response.done():
            page.response.set_result(response)
        return True


def mixed_up(requests: Sequence[HttpRequest], bodies: Sequence[Body]) -> set[int]:
    """The numbers of the pages that have the rows of another page of the same endpoint.

    Pages by key trust the API that nothing lies between the key and the first row: if the API gave
    a page the response of another, rows would be passed over, and nothing else would show it.
    """
    rows = [n for n, body in enumerate(bodies) if body[:1] == b"[" and len(body) > 2]
    mixed = (
        (first, second)
        for first, second in combinations(rows, 2)
        if bodies[first] == bodies[second]  # mostly told by their lengths
        and requests[first].url == requests[second].url
        and requests[first].content != requests[second].content
    )
    return {number for pair in mixed for number in pair}


async def _as_it_is(response: HttpResponse) -> HttpResponse:
    return response


def _fail(pages: Sequence[PendingPage], error: Exception) -> None:
    for page in pages:
        if not page.response.done():
            page.response.set_exception(error)


@asynccontextmanager
async def batching(client: Client, source: Source) -> AsyncIterator[Sender]:
    """A batcher in front of the client if the source's API has such requests; else the client."""
    if source.pack == 1:
        yield client
        return
    batcher = RequestBatcher(client, source, source.pack)
    workers = [asyncio.create_task(batcher.work()) for _ in range(source.limits.in_flight)]
    try:
        yield batcher
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
