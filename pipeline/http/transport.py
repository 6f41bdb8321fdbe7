"""The transports below the client: the budget, then the deadlines, then the connections.

*Budget*: each request to the API takes a permit and a send slot. The permit is held from before the
send slot until the body has come, so that the budget counts what the server sees. The budget is
told when the headers leave: late if there was a connection to open first.

Every request to an origin of the API counts, whatever its path: a next link may lead out of
``base_url``'s. Requests for tokens pass, also where the token endpoint is at the same origin, and
so do those to other hosts.

*Deadlines*, for each stage of a request, and for the whole response from when the request left,
stand behind the budget, whose waits are no fault of the API. Requests that an auth makes come
without timeouts of their own, and get the same ones. The body is read here, as it comes and up to
its bound: one timer a response, and no layer around each piece of it.

*Connections* are aiohttp's: a page costs 5 ms less CPU than over httpcore's. The behaviour is that
of httpx's own: no proxies but the one named, no cookies, no redirects, no request sent twice, URLs
and headers as they are given, bodies as they come (httpx decompresses). Errors are httpx's. Of the
events of httpx's ``trace`` extension there is one: the headers are sent. Measured in
docs/decisions/0007-fast-path.md.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import httpx
import yarl

from pipeline.auth.base import FOR_TOKENS, SIGN
from pipeline.auth.token_auth import MOST_TOKEN_BYTES
from pipeline.http.network import Proxies
from pipeline.http.reading_time import waits_for_turn
from pipeline.http.response_body import BodyLimit
from pipeline.messages import Body, Incoming, LateRequest
from pipeline.ratelimit import Budget

_LEFT = "send_request_headers.complete"  # the trace's event, of HTTP/1.1 and of HTTP/2


WHOLE: Final = "headrace.whole_body"
"""The extension of a response: its body as it came, which the stream gives too."""
LEFT_AT: Final = "headrace.left_at"
"""The extension of a response: when its request left, on the monotonic clock."""
LATENCY_S: Final = "headrace.latency_s"
"""The extension of a response: seconds from when its request left until its headers came."""
RESPONDED: Final = "headrace.responded"
"""The extension of a request: a function that is called when the headers of its response came."""
_PIECE_BYTES: Final = 2**16
"""Of a body that is decompressed: a piece may become a thousand times as long."""


class WholeBody(httpx.AsyncByteStream):
    """A body that has come, in pieces."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), _PIECE_BYTES):
            yield bytes(self._body[at : at + _PIECE_BYTES])


class DeadlineTransport(httpx.AsyncBaseTransport):
    """A transport whose responses have come as a whole in time, or are an ``httpx.ReadTimeout``."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        stages: httpx.Timeout,
        total_s: float,
        body_limit: BodyLimit,
    ) -> None:
        """:param stages: timeouts of a request that has none of its own."""
        self._inner = inner
        self._stages = stages.as_dict()
        self._total_s = total_s
        self._body_limit = body_limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """:raises ContractBroken: the body is longer than allowed."""
        try:
            return await self._respond(request)
        except httpx.TransportError as error:
            if report := request.extensions.get(FOR_TOKENS):
                report(error)
            raise

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        now = asyncio.get_running_loop().time
        left_at = 0.0
        try:
            async with asyncio.timeout(None) as limit:

                def start() -> None:
                    nonlocal left_at
                    left_at = monotonic()
                    limit.reschedule(now() + self._total_s)

                with leaving(request, start, {"timeout": self._stages}) as sent:
                    response = await self._inner.handle_async_request(sent)
                if limit.when() is None:  # a transport may tell no event
                    start()
                if responded := request.extensions.get(RESPONDED):
                    responded()
                timed = {LEFT_AT: left_at, LATENCY_S: monotonic() - left_at}
                body = await self._body(response, of_token=FOR_TOKENS in request.extensions)
        except TimeoutError:
            raise _late(request) from None
        response.extensions = {**response.extensions, **timed, WHOLE: body}
        response.stream = WholeBody(body)
        return response

    async def _body(self, response: httpx.Response, *, of_token: bool) -> Body:
        """The body as it comes. A token's that is too long is cut: ``token_auth`` refuses it."""
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = Incoming()
        try:
            async for piece in response.stream:
                body.add(piece)
                if not of_token:
                    self._body_limit.check(body.size)
                elif body.size > MOST_TOKEN_BYTES:
                    break
        finally:
            await response.stream.aclose()
        return body.whole()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _late(request: httpx.Request) -> httpx.ReadTimeout:
    return httpx.ReadTimeout("the response did not come in time", request=request)


@contextmanager
def leaving(
    request: httpx.Request,
    on_leaving: Callable[[], object],
    defaults: Mapping[str, Any] | None = None,
) -> Iterator[httpx.Request]:
    """The request, with a trace that calls ``on_leaving`` when its headers go out.

    A retry may send the same request and trace it anew: its extensions are put back.

    :param defaults: extensions that the request gets unless it has them.
    """
    before = request.extensions
    theirs = before.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_LEFT):
            on_leaving()
        if theirs is not None:
            await theirs(event, info)

    request.extensions = {**(defaults or {}), **before, "trace": trace}
    try:
        yield request
    finally:
        request.extensions = before


DIRECT: Final = Proxies(None)
_CHUNK_BYTES: Final = 2**20
_STAGES_OF_A_WAY: Final = 3  # to the proxy, its response, TLS behind it
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
            response = await self._sent(request)
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error, request) from error
        except ValueError as error:  # also for a host that none can have: a UnicodeError
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response, request),
            request=request,
        )

    async def _sent(self, request: httpx.Request) -> aiohttp.ClientResponse:
        headers, waits = request.headers, request.extensions.get("timeout", {})
        encoding, body = headers.encoding, await request.aread() or None
        return await self._open_session().request(
            request.method,
            _wire_url(str(request.url)),
            headers=[
                (name.decode(encoding), value.decode(encoding)) for name, value in headers.raw
            ],
            data=body,
            skip_auto_headers=_ADDED_BY_AIOHTTP,
            allow_redirects=False,
            proxy=self._proxies.url_for(request.url),
            trace_request_ctx=(request.extensions.get("trace"), body is not None),
            timeout=_timeout(waits.get("pool"), waits.get("connect"), waits.get("read")),
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(
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


class _Connector(aiohttp.TCPConnector):
    """Connections whose whole way has a bound: the name, the proxy, its response, TLS behind it.

    aiohttp bounds the stages of a socket alone: a proxy that takes CONNECT and stays silent would
    hang a request for ever. The wait for a free connection has no bound.
    """

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> aiohttp.client_proto.ResponseHandler:
        stage_s = timeout.sock_connect
        async with asyncio.timeout(None if stage_s is None else _STAGES_OF_A_WAY * stage_s):
            return await super()._create_connection(req, traces, timeout)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.read(_CHUNK_BYTES):
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error, self._request) from error

    async def aclose(self) -> None:
        self._response.close()  # a connection whose response was read to its end is back already


@lru_cache(maxsize=256)
def _wire_url(url: str) -> yarl.URL:
    """The URL as it is written. Of pages that are asked for in a body it is always the same."""
    return yarl.URL(url, encoded=True)


@lru_cache(maxsize=16)
def _timeout(
    pool: float | None, connect: float | None, read: float | None
) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=pool, sock_connect=connect, sock_read=read)


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


def _as_httpx(error: Exception, request: httpx.Request) -> httpx.TransportError:
    kind = next(kind for ours, kind in _ERRORS if isinstance(error, ours))
    return kind(str(error) or type(error).__name__, request=request)


LATE: Final = "headrace.late"
"""The extension of a request whose content is decided when it may go: its ``LateRequest``."""
WAITED_SLOT_S: Final = "headrace.waited_slot_s"
"""The extension of a response: seconds that its request waited for a send slot."""
_OF_THE_BODY = frozenset({"content-length", "content-type", "transfer-encoding"})


class BudgetedTransport(httpx.AsyncBaseTransport):
    """A transport that sends within the budget.

    :param inner: gives whole responses: the permit is free as soon as one has come.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        budget: Budget,
        *api: httpx.URL,
        free_304: bool = False,
    ) -> None:
        """:param api: its addresses.
        :param free_304: the API does not count a request to which it responds with 304."""
        self._inner = inner
        self._free_304 = free_304
        self._budget = budget
        self._origins = frozenset(map(_origin, api))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.counts(request):
            return await self._inner.handle_async_request(request)
        with waits_for_turn():
            grant = await self._budget.acquire()
        try:
            if sign := request.extensions.get(SIGN):
                sign(request)
            with leaving(_final(request), lambda: self._budget.departed(grant)) as sent:
                response = await self._inner.handle_async_request(sent)
        finally:
            self._budget.release(grant)
        response.extensions[WAITED_SLOT_S] = grant.waited_slot_s
        if self._free_304 and response.status_code == 304:
            self._budget.not_counted(grant)
        return response

    def counts(self, request: httpx.Request) -> bool:
        """True if a request uses the quota of the API."""
        return FOR_TOKENS not in request.extensions and _origin(request.url) in self._origins

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _final(request: httpx.Request) -> httpx.Request:
    """The request to send, with the headers of the one that waited: they have the credentials."""
    late: LateRequest | None = request.extensions.get(LATE)
    if late is None:
        return request
    decided, known = late.final(), request.extensions
    final = httpx.Request(
        decided.method,
        decided.whole_url,
        headers=dict(decided.headers),
        content=decided.content,
        extensions={n: known[n] for n in ("timeout", RESPONDED) if n in known},
    )
    for name, value in request.headers.items():
        if name not in _OF_THE_BODY:
            final.headers[name] = value
    return final
