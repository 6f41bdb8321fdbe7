"""The wire: every request to the API takes its place in the budget here, whoever sent it.

The place in flight is held from before the rate slot until the body has been read or dropped, so
that what the budget counts is what the server sees. The budget is told when the headers leave: late
if there was a connection to open first. Requests to other hosts (a token endpoint) are no use of
this API's quota and pass.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import httpx

from pipeline.budget import Budget, Grant

SETTLED = "headrace.settled"
"""The extension of a request that is made anew when it may go."""
_LEFT = "send_request_headers.complete"  # the trace's event, of HTTP/1.1 and of HTTP/2
_OF_THE_BODY = frozenset({"content-length", "content-type", "transfer-encoding"})


class Metered(httpx.AsyncBaseTransport):
    """A transport that sends within the budget."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        budget: Budget,
        api: httpx.URL,
        *,
        free_304: bool = False,
    ) -> None:
        """:param free_304: the API does not count what it answers with 304."""
        self._inner = inner
        self._free_304 = free_304
        self._budget = budget
        self._api = api

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.counts(request.url):
            return await self._inner.handle_async_request(request)
        async with AsyncExitStack() as stack:
            grant = await stack.enter_async_context(self._budget.request())
            with self._leaving(_settled(request), grant) as leaving:
                response = await self._inner.handle_async_request(leaving)
            if self._free_304 and response.status_code == 304:
                self._budget.not_counted(grant)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Held(response.stream, stack.pop_all())
        return response

    def counts(self, url: httpx.URL) -> bool:
        """True if a request to this URL uses the API's quota."""
        same_host = (url.host, url.port) == (self._api.host, self._api.port)
        return same_host and f"{url.path}/".startswith(f"{self._api.path.rstrip('/')}/")

    @contextmanager
    def _leaving(self, request: httpx.Request, grant: Grant) -> Iterator[httpx.Request]:
        """The request, with a trace that tells the budget when it has left.

        It may be sent again, with another grant: its extensions are put back.
        """
        before = request.extensions
        theirs = before.get("trace")

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(_LEFT):
                self._budget.left(grant)
            if theirs is not None:
                await theirs(event, info)

        request.extensions = {**before, "trace": trace}
        try:
            yield request
        finally:
            request.extensions = before

    async def aclose(self) -> None:
        await self._inner.aclose()


def _settled(request: httpx.Request) -> httpx.Request:
    """The request that goes, with the headers of the one that waited: its credentials are there."""
    make = request.extensions.get(SETTLED)
    if make is None:
        return request
    made: httpx.Request = make()
    for name, value in request.headers.items():
        if name not in _OF_THE_BODY:
            made.headers[name] = value
    made.extensions = {**made.extensions, "timeout": request.extensions.get("timeout", {})}
    return made


class _Held(httpx.AsyncByteStream):
    """A body that gives its place in flight back when it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, held: AsyncExitStack) -> None:
        self._inner = inner
        self._held = held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        async with self._held:
            await self._inner.aclose()
