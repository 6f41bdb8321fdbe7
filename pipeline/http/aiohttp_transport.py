"""httpx's transport over aiohttp's connections: a page costs 5 ms less CPU than over httpcore's.

The behaviour is that of httpx's own: no proxies but the one named, no cookies, no redirects, no
request sent twice, URLs and headers as they are given, bodies as they come (httpx decompresses).
Errors are httpx's. Of the events of httpx's ``trace`` extension there is one: the headers are sent.
Measured in docs/decisions/0007-fast-path.md.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Final

import aiohttp
import httpx
import yarl

from pipeline.http.network import Proxies

DIRECT: Final = Proxies(None)
_CHUNK_BYTES: Final = 2**20
_IDLE_S: Final = 5.0  # as httpx keeps an idle connection
_MAX_HEADER_BYTES: Final = 100 * 1024
_ADDED_BY_AIOHTTP: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_ERRORS: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.ReadError),
    (OSError, httpx.ReadError),
)
"""The first that fits. ``ConnectionTimeoutError`` is a ``ServerTimeoutError``, and so on down."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A transport with a bound on its connections, opened in the loop of the first request.

    :param max_connections: open at the same time.
    :param tls: made by the caller, in a thread if there is a loop: reading the certificates takes
        longer than a loop may stand.
    """

    def __init__(
        self, max_connections: int, tls: ssl.SSLContext, proxies: Proxies = DIRECT
    ) -> None:
        self._max_connections = max_connections
        self._tls = tls
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{request.url.scheme} is not HTTP", request=request)
        try:
            with _as_httpx(request):
                response = await self._sent(request)
        except ValueError as error:  # also for a host that none can have: a UnicodeError
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response, request),
            request=request,
        )

    async def _sent(self, request: httpx.Request) -> aiohttp.ClientResponse:
        waits = request.extensions.get("timeout", {})
        body = await request.aread() or None
        return await self._open_session().request(
            request.method,
            yarl.URL(str(request.url), encoded=True),
            headers=list(request.headers.multi_items()),
            data=body,
            skip_auto_headers=_ADDED_BY_AIOHTTP,
            allow_redirects=False,
            proxy=self._proxies.url_for(request.url),
            trace_request_ctx=(request.extensions.get("trace"), body is not None),
            timeout=aiohttp.ClientTimeout(
                connect=waits.get("pool"),
                sock_connect=waits.get("connect"),
                sock_read=waits.get("read"),
            ),
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections, ssl=self._tls, keepalive_timeout=_IDLE_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                trace_configs=[_tracing()],
            )
            # aiohttp would retry a GET, past the budget, when an idle connection turns out dead.
            self._session._retry_connection = False
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            async for chunk in self._response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk

    async def aclose(self) -> None:
        self._response.close()  # a connection whose response was read to its end is back already


def _tracing() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(_headers_left)
    config.on_request_chunk_sent.append(_headers_left)
    return config


async def _headers_left(_: object, context: SimpleNamespace, sent: object) -> None:
    """Report that the headers left: aiohttp traces before it writes, and writes headers and the
    first piece of a body together."""
    trace, has_body = context.trace_request_ctx
    if trace is not None and isinstance(sent, aiohttp.TraceRequestChunkSentParams) == has_body:
        await trace("http11.send_request_headers.complete", {"return_value": None})


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        kind = next(kind for ours, kind in _ERRORS if isinstance(error, ours))
        raise kind(str(error) or type(error).__name__, request=request) from error
