"""Many pages in one request: IGDB's ``/multiquery``, up to 10 at the quota of one.

Source: https://api-docs.igdb.com/#multi-query. Pages of one endpoint and of several ride together,
in the order in which they were asked for. A few workers send; pages get on one pack at a time,
until the budget lets that one go. So packs are as full as they can be, and waiting fills them.

If the API refuses a pack, its pages are sent one by one: a page that is refused by itself was the
reason, and only its endpoint fails; if all of them pass, packing is switched off. A pack that gets
no answer is cut in half, and so is every later one. Pages that come with the rows of another page
are sent again, each by itself.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol, TypeVar

from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody
from pipeline.dialects.http_request import HttpRequest
from pipeline.dialects.igdb import split
from pipeline.errors import ApiUnavailable, HeadraceError, RequestRefused
from pipeline.http import retry
from pipeline.http.client import Client, HttpResponse, RequestCounts
from pipeline.http.request_batch import PendingPage, RequestBatch, mixed_up
from pipeline.http.retry import FailureKind
from pipeline.runtime import in_reader

T = TypeVar("T")
_NEXT_PAGE_S = 0.02
"""About the time that it takes to read a page."""


class Sender(Protocol):
    """Whoever gets a request answered: the client, or a packer in front of it."""

    async def fetch(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: str,
        sent: RequestCounts,
    ) -> T: ...


class RequestBatcher:
    """Sends pages in packs through a client."""

    def __init__(self, client: Client, source: Source, size: int) -> None:
        self._client = client
        self._base_url = source.base_url.rstrip("/")
        self._policy = source.retries
        self._wait_s = source.breaker.open_s
        self._waiting: deque[PendingPage] = deque()
        self._some = asyncio.Event()
        self._boarding = asyncio.Lock()
        self._on_their_way = 0
        self.size = size

    async def fetch(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: str,
        sent: RequestCounts,
    ) -> T:
        """As ``Client.fetch``. A page that can't be read is asked for again, alone or in a pack."""
        tries = 0
        try:
            while True:
                page = PendingPage(request, what, sent)
                self._waiting.append(page)
                self._some.set()
                try:
                    return await read(await page.answer)
                except BadBody as error:
                    tries, sent.retried = tries + 1, sent.retried + 1
                    await self._back_off(tries, f"{what}: {error}")
                finally:
                    page.answer.cancel()
        except HeadraceError as error:
            raise self._client.redacted(error) from None

    async def _back_off(self, tries: int, said: str) -> None:
        """Wait as the client does. :raises ApiUnavailable: often enough, for this page or a run."""
        spent = self._client.spent
        spent.failures[FailureKind.ERROR] += 1
        wait_s = retry.wait_s(FailureKind.ERROR, tries, spent, self._policy, random.random)
        if wait_s is None:
            number = "1 try" if tries == 1 else f"{tries} tries"
            raise ApiUnavailable(f"{said}, after {number}", wait_s=self._wait_s) from None
        spent.waited_s += wait_s
        await asyncio.sleep(wait_s)

    async def work(self) -> None:
        """Send packs until cancelled."""
        while True:
            while not self._waiting:
                self._some.clear()
                await self._some.wait()
            await self._boarding.acquire()
            await self._gathered()
            await self._next_pack()

    async def _next_pack(self) -> None:
        """A call of its own: a worker that waits then holds no answer that has long been read."""
        pack = RequestBatch(self._next(1), self._base_url, self._boarding.release)
        try:
            if pack.pages:
                await self._send(pack)
        except Exception as error:  # whoever waits for a page has to learn of it
            _fail(pack.pages, error)
        finally:
            if not pack.settled:  # it failed before it could go
                pack.settle([])

    async def _gathered(self) -> None:
        """While others are on their way, a pack waits for as long as pages keep coming: those that
        have just been answered are being read, and each asks for the one after it."""
        before = 0
        while self._on_their_way and before < len(self._waiting) < self.size:
            before = len(self._waiting)
            await asyncio.sleep(_NEXT_PAGE_S)

    def _next(self, most: int) -> list[PendingPage]:
        pages: list[PendingPage] = []
        while self._waiting and len(pages) < most:
            page = self._waiting.popleft()
            if not page.answer.done():
                pages.append(page)
        return pages

    async def _send(self, pack: RequestBatch) -> None:
        try:
            answers = await self._together(pack)
        except HeadraceError as error:
            await self._failed(pack.pages, error)
            return
        pages = pack.pages
        doubtful = mixed_up([page.request for page in pages], [a.body for a in answers])
        for number, (page, answer) in enumerate(zip(pages, answers, strict=True)):
            if number in doubtful:
                await self._alone(page)
            elif not page.answer.done():
                page.answer.set_result(answer)

    async def _failed(self, pages: Sequence[PendingPage], error: HeadraceError) -> None:
        if len(pages) > 1 and isinstance(error, RequestRefused):
            await self._one_by_one(pages)
        elif (
            len(pages) > 1
            and isinstance(error, ApiUnavailable)
            and self._client.breaker_state != "open"
        ):
            self.size = max(1, len(pages) // 2)
            self._waiting.extendleft(reversed(pages))
            self._some.set()
        else:
            _fail(pages, error)

    async def _together(self, pack: RequestBatch) -> list[HttpResponse]:
        self._on_their_way += 1
        try:
            return await self._answered(pack)
        finally:
            self._on_their_way -= 1

    async def _answered(self, pack: RequestBatch) -> list[HttpResponse]:
        def settled() -> HttpRequest:
            if not pack.settled:  # at a later try nobody gets on: it may be too slow as it is
                pack.settle(self._next(self.size - len(pack.pages)))
            return pack.request()

        async def read(answer: HttpResponse) -> list[HttpResponse]:
            if len(pack.pages) == 1:
                return [answer]
            bodies = await in_reader(split, answer.body, pack.names)
            return [replace(answer, body=body) for body in bodies]

        first = pack.pages[0]
        # The request is counted where its first page belongs, so that sums stay true.
        request = replace(first.request, settled=settled)
        return await self._client.fetch(request, read, pack, first.sent)

    async def _alone(self, page: PendingPage) -> bool:
        """Send a page by itself.

        :return: False if the API refused this very page.
        """

        async def read(answer: HttpResponse) -> HttpResponse:
            return answer

        try:
            answer = await self._client.fetch(page.request, read, page.what, page.sent)
        except HeadraceError as error:
            _fail([page], error)
            return not isinstance(error, RequestRefused)
        if not page.answer.done():
            page.answer.set_result(answer)
        return True

    async def _one_by_one(self, pages: Sequence[PendingPage]) -> None:
        passed = [await self._alone(page) for page in pages]
        if all(passed):
            self.size = 1


def _fail(pages: Sequence[PendingPage], error: Exception) -> None:
    for page in pages:
        if not page.answer.done():
            page.answer.set_exception(error)


@asynccontextmanager
async def batching(client: Client, source: Source) -> AsyncIterator[Sender]:
    """A packer in front of the client if the source's API knows how; else the client itself."""
    if source.pack == 1:
        yield client
        return
    packer = RequestBatcher(client, source, source.pack)
    workers = [asyncio.create_task(packer.work()) for _ in range(source.limits.in_flight)]
    try:
        yield packer
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
