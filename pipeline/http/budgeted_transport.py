"""The wire: every request to the API takes a permit and a send slot of the budget here.

The permit is held from before the send slot until the body has been read or dropped, so that the
budget counts what the server sees. The budget is told when the headers leave: late if there was a
connection to open first.

Every request to the API's origin counts, whatever its path: a next link may lead out of
``base_url``'s. Requests for tokens pass, also where the token endpoint is at the same origin, and
so do those to other hosts.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import Final

import httpx

from pipeline.auth.token_auth import FOR_TOKENS, SIGN
from pipeline.http.deadlines import leaving
from pipeline.messages import LateRequest
from pipeline.ratelimit import Budget

LATE: Final = "headrace.late"
"""The extension of a request whose content is decided when it may go: its ``LateRequest``."""
LATENCY_S: Final = "headrace.latency_s"
"""The extension of a response: seconds from when its request left until its headers came."""
WAITED_SLOT_S: Final = "headrace.waited_slot_s"
"""The extension of a response: seconds that its request waited for a send slot."""
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
        """:param free_304: the API does not count a request to which it responds with 304."""
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
                self._budget.departed(grant)

            with leaving(_final(request), left) as sent:
                response = await self._inner.handle_async_request(sent)
            response.extensions = {
                **response.extensions,
                LATENCY_S: monotonic() - left_at,
                WAITED_SLOT_S: grant.waited_slot_s,
            }
            if self._free_304 and response.status_code == 304:
                self._budget.not_counted(grant)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _PermitBody(response.stream, stack.pop_all())
        return response

    def counts(self, request: httpx.Request) -> bool:
        """True if a request uses the quota of the API."""
        return FOR_TOKENS not in request.extensions and _origin(request.url) == self._origin

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _final(request: httpx.Request) -> httpx.Request:
    """The request to send, with the headers of the one that waited: they have the credentials."""
    late: LateRequest | None = request.extensions.get(LATE)
    if late is None:
        return request
    decided = late.final()
    final = httpx.Request(
        decided.method,
        decided.whole_url,
        headers=dict(decided.headers),
        content=decided.content,
        extensions={"timeout": request.extensions.get("timeout", {})},
    )
    for name, value in request.headers.items():
        if name not in _OF_THE_BODY:
            final.headers[name] = value
    return final


class _PermitBody(httpx.AsyncByteStream):
    """A body that gives its permit back when it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, held: AsyncExitStack) -> None:
        self._inner = inner
        self._held = held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        async with self._held:
            await self._inner.aclose()
