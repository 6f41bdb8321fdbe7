"""The wire: every request to the API takes its place in the budget here, whoever sent it.

The place in flight is held from before the rate slot until the body has been read or dropped, so
that what the budget counts is what the server sees. The budget is told when the headers leave: late
if there was a connection to open first.

What goes to the API's origin counts, whatever its path: a next link may lead out of ``base_url``'s.
Requests for tokens pass, also where the token endpoint is at the same origin, and so do those to
other hosts.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import Final

import httpx

from pipeline.http.deadlines import leaving
from pipeline.http.token_auth import FOR_TOKENS, SIGN
from pipeline.ratelimit import Budget

SETTLED = "headrace.settled"
"""The extension of a request that is made anew when it may go."""
LATENCY_S: Final = "headrace.latency_s"
"""The extension of a response: seconds from when its request left until its headers came."""
_OF_THE_BODY = frozenset({"content-length", "content-type", "transfer-encoding"})


class BudgetedTransport(httpx.AsyncBaseTransport):
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
        self._origin = _origin(api)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.counts(request):
            return await self._inner.handle_async_request(request)
        async with AsyncExitStack() as stack:
            grant = await stack.enter_async_context(self._budget.request())
            if sign := request.extensions.get(SIGN):
                sign(request)
            left_at = monotonic()

            def left() -> None:
                nonlocal left_at
                left_at = monotonic()
                self._budget.left(grant)

            with leaving(_settled(request), left) as sent:
                response = await self._inner.handle_async_request(sent)
            response.extensions = {**response.extensions, LATENCY_S: monotonic() - left_at}
            if self._free_304 and response.status_code == 304:
                self._budget.not_counted(grant)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Held(response.stream, stack.pop_all())
        return response

    def counts(self, request: httpx.Request) -> bool:
        """True if a request uses the API's quota."""
        return FOR_TOKENS not in request.extensions and _origin(request.url) == self._origin

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


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
