"""The session of a run with its API: the headers of every request, the cookies, the signer.

Public parts of httpx, put together for what the client does with each page: one request is built
and signed, and one response comes back. ``httpx.AsyncClient`` does the same with merged settings,
redirects, hooks and a log line, which took a seventh of the loop's time where pages are small.

A request for a token runs to its end, also if the page that sent it is cancelled meanwhile: the
endpoint may have spent a refresh token that is good once, and the next one is in its response.

With cookies an API can change what later requests mean, or make them too large. They are sent back
where the source says ``cookies: true``, or says nothing and the API has refused a request without
them: few, and only those of the run.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.request import Request

import httpx

from pipeline.auth.base import FOR_TOKENS

_DEFAULT_HEADERS: Final = {
    "Accept": "*/*",
    # A transport: without one the environment's proxies and certificates are read at import.
    "Accept-Encoding": httpx.AsyncClient(transport=httpx.AsyncBaseTransport()).headers[
        "Accept-Encoding"
    ],
    "Connection": "keep-alive",
    "User-Agent": "headrace",
}
"""Those of httpx: it decompresses what it names."""
_WITH_CONTENT: Final = ("POST", "PUT", "PATCH")
"""Methods whose requests say how long their content is, also if there is none."""
MAX_COOKIE_BYTES: Final = 8192
"""Of all cookies together: many servers refuse longer headers."""
T = TypeVar("T")


class HttpSession:
    """Builds and sends the requests of one run. No redirect is followed."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: httpx.Auth,
        headers: Mapping[str, str] | None = None,
        *,
        cookies: bool | None = None,
    ) -> None:
        """:param headers: of every request; a request's own go before them.
        :param cookies: those that the API sets are sent back to it; None: once they are needed.
        """
        self.auth = auth
        self._transport = transport
        self._cookies = _ResponseCookies(
            CookieJar(_NoCookies()) if cookies is False else _few_cookies()
        )
        self.sends_cookies = bool(cookies)
        self._tried_with: object = None
        self._headers = _by_lower_name(_DEFAULT_HEADERS) | _by_lower_name(headers or {})
        self._merged_headers = lru_cache(maxsize=256)(self._merge_headers)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        at: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(kind, error, at)

    def try_cookies(self, refused: object) -> bool:
        """Whether a request that was refused without cookies is to be sent again with those that
        the API has set: once a run. Then all requests have them, until ``leave_cookies_off``.
        """
        if self._tried_with is not None or self.sends_cookies or not len(self._cookies.jar):
            return False
        self._tried_with, self.sends_cookies = refused, True
        return True

    def leave_cookies_off(self) -> None:
        """Send none from here on: they were not what a refused request lacked."""
        self.sends_cookies = False

    def may_lack_cookies(self, refused: object) -> bool:
        """Whether a request went without cookies, also when it was tried again."""
        return not self.sends_cookies and refused is not self._tried_with

    def build_request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> httpx.Request:
        """A request with the headers and cookies of the session, not signed yet.

        :raises httpx.InvalidURL: the URL is none.
        """
        address = _url(url)
        request = httpx.Request(
            method,
            address,
            headers=self._merged_headers(address.netloc, tuple(headers.items())),
            stream=httpx.ByteStream(content or b""),
        )
        request.read()
        if content or request.method in _WITH_CONTENT:
            request.headers["Content-Length"] = str(len(content or b""))
        if self.sends_cookies and len(self._cookies.jar):
            self._cookies.set_cookie_header(request)
        return request

    def _merge_headers(self, host: bytes, headers: tuple[tuple[str, str], ...]) -> httpx.Headers:
        """The headers of a request without those of its content: most pages have the same."""
        merged = self._headers | _by_lower_name(dict(headers))
        sent = httpx.Headers([*merged.values()])
        return sent if "Host" in sent else httpx.Headers([(b"Host", host), *sent.raw])

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Sign a request and send it, with the requests that the signer needs before or after it.

        :raises httpx.TransportError: no whole response came.
        """
        flow = self.auth.async_auth_flow(request)
        try:
            signed: httpx.Request | None = await anext(flow)
            while signed is not None:
                if signed is not request:
                    self._name_sender(signed)
                step = self._step(flow, signed)
                for_token = FOR_TOKENS in signed.extensions
                response, signed = await (_to_its_end(step) if for_token else step)
            return response
        finally:
            await flow.aclose()

    def _name_sender(self, request: httpx.Request) -> None:
        """Say in a request of the signer's own, as for a token, who sends it: servers and
        firewalls refuse one without a ``User-Agent``. Other headers of the pages are not its."""
        request.headers.setdefault(*self._headers["user-agent"])

    async def _step(
        self, flow: AsyncGenerator[httpx.Request, httpx.Response], signed: httpx.Request
    ) -> tuple[httpx.Response, httpx.Request | None]:
        """The response to a request, and the request that the signer sends next; None: no more."""
        response = await self._response(signed)
        self._cookies.extract_cookies(response)
        try:
            following = await flow.asend(response)
        except StopAsyncIteration:
            return response, None
        await response.aread()
        return response, following

    async def _response(self, request: httpx.Request) -> httpx.Response:
        """The response, or the error, of which each knows its request."""
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.RequestError as error:
            error.request = request
            raise
        response.request = request
        return response


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end. If the caller is cancelled before that, it learns so afterwards."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait for a task, however often the caller is cancelled."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # retrieved: there is nobody left to raise it for


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """The URL, read once: of pages that are asked for in a body it is always the same."""
    return httpx.URL(text)


def _by_lower_name(headers: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Name and value as they are written; a header replaces another that is written otherwise."""
    return {name.lower(): (name, value) for name, value in headers.items()}


class _NoCookies(DefaultCookiePolicy):
    """Takes none, and sends none."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        return False

    def return_ok(self, cookie: Cookie, request: Request) -> bool:
        return False


class _FewCookies(DefaultCookiePolicy):
    """Takes cookies that fit; by the rules of hosts and paths."""

    jar: CookieJar

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        others = sum(_bytes(other) for other in self.jar if other.name != cookie.name)
        return others + _bytes(cookie) <= MAX_COOKIE_BYTES and super().set_ok(cookie, request)


class _ResponseCookies(httpx.Cookies):
    """The cookies of a session. httpx prepares the reading of cookies for responses without any."""

    def extract_cookies(self, response: httpx.Response) -> None:
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


def _few_cookies() -> CookieJar:
    policy = _FewCookies()
    policy.jar = jar = CookieJar(policy)
    return jar


def _bytes(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value or "")
