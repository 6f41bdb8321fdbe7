"""Deadlines of a request: for each stage, and for the whole response from when the request left.

This transport stands behind the budget, whose waits are no fault of the API. Requests that an auth
makes come without timeouts of their own, and get the same ones.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from pipeline.auth.token_auth import FOR_TOKENS

_LEFT = "send_request_headers.complete"  # the trace's event, of HTTP/1.1 and of HTTP/2


class DeadlineTransport(httpx.AsyncBaseTransport):
    """A transport whose responses have come as a whole in time, or are an ``httpx.ReadTimeout``."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, stages: httpx.Timeout, total_s: float
    ) -> None:
        """:param stages: timeouts of a request that has none of its own."""
        self._inner = inner
        self._stages = stages.as_dict()
        self._total_s = total_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._respond(request)
        except httpx.TransportError as error:
            if report := request.extensions.get(FOR_TOKENS):
                report(error)
            raise

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as limit:

                def start() -> None:
                    limit.reschedule(now() + self._total_s)

                with leaving(request, start, {"timeout": self._stages}) as sent:
                    response = await self._inner.handle_async_request(sent)
        except TimeoutError:
            raise _late(request) from None
        until = limit.when() or now() + self._total_s  # a transport may tell no event
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _BodyWithDeadline(until, response.stream, request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BodyWithDeadline(httpx.AsyncByteStream):
    """A body that ends before an instant of the loop's clock."""

    def __init__(self, until: float, inner: httpx.AsyncByteStream, request: httpx.Request) -> None:
        self._until = until
        self._inner = inner
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout_at(self._until):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise _late(self._request) from None
            if chunk is None:
                return
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _late(request: httpx.Request) -> httpx.ReadTimeout:
    return httpx.ReadTimeout("the response did not come in time", request=request)


@contextmanager
def leaving(
    request: httpx.Request, left: Callable[[], object], defaults: Mapping[str, Any] | None = None
) -> Iterator[httpx.Request]:
    """The request, with a trace that calls ``left`` when its headers go out.

    A retry may send the same request and trace it anew: its extensions are put back.

    :param defaults: extensions that the request gets unless it has them.
    """
    before = request.extensions
    theirs = before.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_LEFT):
            left()
        if theirs is not None:
            await theirs(event, info)

    request.extensions = {**(defaults or {}), **before, "trace": trace}
    try:
        yield request
    finally:
        request.extensions = before
