"""A token that is fetched, by whatever grant, and the requests that carry it.

The token is fetched once and shared by every request of the run. It is renewed before it runs out,
and once more when the API responds with 401; again if it had run out by then. While one request
fetches the token, the others wait: so the wait has a bound (``pipeline.http.transport``), and so
has the length of the response, here. If no token can be had, all that waited fail: a request for
each of them would take many times as long.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final

import httpx

from pipeline.auth.base import FOR_TOKENS, SIGN, SIGNED_BY, AuthContext, Secrets
from pipeline.auth.token_file import KeptToken, TokenFile
from pipeline.auth.token_pause import TokenPause, throttled
from pipeline.errors import ApiUnavailable, AuthError, TokenThrottled, cut
from pipeline.messages import TokenUse, codings
from pipeline.redaction import contains_secret

log = logging.getLogger("headrace.auth")
_MOST_RENEWALS: Final = 4
"""For one request, whose tokens run out on their way."""
MOST_TOKEN_BYTES: Final = 2**16
"""Of a response with a token: no API takes a header of that length."""
_AN_HOUR_S: Final = 3600.0
_CREATED: Final = (200, 201)
_NOT_THERE: Final = (404, 405, 410)
_REASONS: Final = ("error", "error_description", "message", "errors")
"""Where an endpoint says why: RFC 6749, 5.2, and as APIs of their own have it."""
_ILL: Final = ("server_error", "temporarily_unavailable")
"""An `error` that says nothing of the credentials (RFC 6749, 4.1.2.1), whatever the status."""
_TOO_MANY: Final = "slow_down"
"""The same of too many requests (RFC 8628, 3.5)."""


class _NoJson(AuthError):
    """A response of the token endpoint without JSON: another address, or a page of an outage."""


@dataclass(frozen=True)
class TokenGrant:
    """A way to a token.

    :ivar request: makes the request; given the refresh token that came in place of the source's.
    :ivar secrets: of the source: a response that contains one is not quoted.
    :ivar remedy: what to check if the credentials are refused, as a sentence.
    :ivar token_at: the path of the token in the response.
    :ivar name: the header that carries the token, behind ``prefix``.
    :ivar lifetime_s: seconds that a token lives for; None: as the response says.
    :ivar refreshes: whether a refresh token in the response is the one to use from then on.
    :ivar file: where tokens are kept for the next run; None: in memory alone.
    """

    request: Callable[[str], httpx.Request]
    secrets: Secrets
    remedy: str
    token_at: tuple[str, ...] = ("access_token",)
    name: str = "Authorization"
    prefix: str = "Bearer "
    lifetime_s: float | None = None
    refreshes: bool = False
    file: TokenFile | None = None

    async def token_of(
        self, response: httpx.Response, request_secrets: frozenset[str]
    ) -> "AccessToken":
        """The token in a response of the endpoint.

        :param request_secrets: the tokens that came before in this run.
        :raises AuthError: it has none.
        :raises ApiUnavailable: the endpoint is ill (5xx, or it says so), or wants fewer requests.
        """
        data = await _json_of(response)
        _raise_if_ill(response, data)
        token = _at(data, self.token_at)
        if response.status_code not in _CREATED or not _is_token(token):
            raise self._refusal(response, data, request_secrets)
        members = data if isinstance(data, dict) else {}
        refresh = members.get("refresh_token") if self.refreshes else None
        lifetime_s = self.lifetime_s or _lifetime_s(members.get("expires_in"))
        return AccessToken(str(token), refresh if isinstance(refresh, str) else "", lifetime_s)

    def _refusal(
        self, response: httpx.Response, data: object, request_secrets: frozenset[str]
    ) -> AuthError:
        status = response.status_code
        members = data if isinstance(data, dict) else {}
        reason = cut(": ".join(str(members[name]) for name in _REASONS if members.get(name)), 200)
        if reason and contains_secret(response.text, self.secrets.known | request_secrets):
            reason = "not quoted, since the response repeats a secret"
        refused = f"refused the credentials with status {status}"
        if status in _CREATED:
            refused = f"responded with {status}, without a token at `{'.'.join(self.token_at)}`"
        elif status in _NOT_THERE:
            refused = f"is not at its address in `auth`: status {status}"
        reason = f" ({reason})" if reason else ""
        return AuthError(f"The token endpoint {refused}{reason}. {self.remedy}")


@dataclass(frozen=True, repr=False)
class AccessToken:
    """A token from the endpoint.

    :ivar refresh: a refresh token to use from now on; empty if none came.
    """

    text: str
    refresh: str
    lifetime_s: float


def token_request(
    url: str, headers: Mapping[str, str] | None = None, method: str = "POST", **content: Any
) -> httpx.Request:
    """A request that asks for JSON: some endpoints send a form if they are not told (GitHub's)."""
    return httpx.Request(
        method, url, headers={"Accept": "application/json", **(headers or {})}, **content
    )


class TokenAuth(httpx.Auth):
    """The token of a run, one for all its requests.

    :raises AuthError: the token endpoint refuses, or sends something that is no token.
    """

    requires_response_body = True

    def __init__(
        self,
        grant: TokenGrant,
        renew_before_s: float,
        context: AuthContext,
        extra_headers: Mapping[str, str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """:param wall: seconds since 1970, by which other processes read when a token runs out."""
        self._grant = grant
        self._renew_before_s = renew_before_s
        self._clock = context.clock
        self._pause = TokenPause(context)
        self._waits_for_turn = context.waits_for_turn
        self._wall = wall
        self._extra = dict(extra_headers or {})
        self._token = ""
        self._refresh = ""  # what the endpoint gave in place of the source's refresh token
        self._tokens: set[str] = set()
        self._good_until = float("-inf")
        self._lock = asyncio.Lock()
        self._refused: AuthError | None = None
        self._failure: Exception | None = None
        self._number = 0  # of the token
        self._use = self._use_of(0)
        self._fetched = 0  # the newest token that this process fetched itself
        self._is_dead = False  # no token was fetched since the API called one dead
        self._replacement = 0  # the token that was fetched since
        self._accepted = 0  # the newest token that the API took

    def note_dead(self, number: int) -> bool:
        """Note that the API calls a token dead.

        :param number: of the token.
        :return: whether another one is worth a retry.
        """
        if number == self._number:
            if self._accepted < number == self._replacement:
                return False  # a new token is dead as well
            self._good_until = float("-inf")
            self._is_dead = True
        return True

    def note_accepted(self, number: int) -> None:
        """Note that the API took a token."""
        self._accepted = max(self._accepted, number)
        if number == self._number:
            self._is_dead = False

    @property
    def secrets(self) -> frozenset[str]:
        """All tokens of the run: a page may still be refused with the token before."""
        return frozenset(self._tokens)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        since = self._failure
        if not self._is_good or self._refused or self._lock.locked():
            async with self._turn():
                self._raise_if_refused()
                if not self._is_good:
                    self._raise_if_failed(since)
                    await self._pause.wait()
                    async with self._alone():
                        if not self._is_good:
                            await self._keep((yield self._token_request()))
        for attempt in count(1):
            response = yield self._signed(request)
            if response.status_code != 401:
                return
            since = self._failure
            async with self._turn():
                self._raise_if_refused()
                is_newest = request.headers[self._grant.name] == self._signature
                is_new = is_newest and attempt > 1 and self._is_good and self._is_own
                if attempt > _MOST_RENEWALS or is_new:
                    return  # a new token is refused as well
                if is_newest:
                    self._raise_if_failed(since)
                    await self._pause.wait()
                    async with self._alone():
                        if request.headers[self._grant.name] == self._signature:
                            await self._keep((yield self._token_request()))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One request renews, or waits for the endpoint, and all others wait for it."""
        with self._waits_for_turn():
            await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Renew while no other process does; with what it kept, if it has renewed meanwhile."""
        if self._grant.file is None:
            yield
            return
        async with self._grant.file.alone():
            saved = await asyncio.to_thread(self._grant.file.read)
            if saved is not None:
                self._adopt(saved)
            yield

    def _adopt(self, saved: KeptToken) -> None:
        """Take a token that another process kept, unless it was in use here already.

        Another process may have fetched it before the API called its tokens dead: if the API does
        not take it, a renewal is still due.
        """
        left_s = saved.good_until - self._wall()
        self._refresh = saved.refresh
        is_new = saved.access not in self._tokens
        self._tokens |= {saved.refresh, saved.access}
        if left_s > 0 and is_new:
            self._exchange(saved.access)
            self._good_until = self._clock() + left_s

    def _exchange(self, token: str) -> None:
        """Take a token in place of the one before."""
        self._token, self._number = token, self._number + 1
        self._use = self._use_of(self._number)

    def _use_of(self, number: int) -> TokenUse:
        return TokenUse(partial(self.note_dead, number), partial(self.note_accepted, number))

    @property
    def _is_good(self) -> bool:
        return self._clock() < self._good_until

    @property
    def _is_own(self) -> bool:
        """Whether the token was fetched here, and not by another process."""
        return self._fetched == self._number

    @property
    def _signature(self) -> str:
        return f"{self._grant.prefix}{self._token}"

    def _signed(self, request: httpx.Request) -> httpx.Request:
        self._sign(request)
        for name, value in self._extra.items():
            request.headers[name] = value
        # No closure over the request: in a circle it would keep the bodies of its batch.
        request.extensions = {**request.extensions, SIGN: self._sign}
        return request

    def _sign(self, request: httpx.Request) -> None:
        if request.extensions.get(SIGNED_BY) is not self._use:
            request.headers[self._grant.name] = self._signature
            request.extensions = {**request.extensions, SIGNED_BY: self._use}

    def _token_request(self) -> httpx.Request:
        request = self._grant.request(self._refresh)
        request.extensions = {FOR_TOKENS: self.failed}
        return request

    def _raise_if_refused(self) -> None:
        """A refusal holds for the run: a retry for each request that waits changes nothing."""
        if self._refused is not None:
            raise AuthError(*self._refused.args)

    def failed(self, error: Exception, headers: Mapping[str, str] | None = None) -> None:
        """Note that no token came.

        :param headers: of a response that refuses the request as one too many.
        """
        self._failure = error
        self._pause.begin(headers)

    def _raise_if_failed(self, since: Exception | None) -> None:
        """Fail if the request that was waited for got no token.

        :param since: the last failure when the wait for the token began.
        """
        if self._failure is not None and self._failure is not since:
            raise self._failure.with_traceback(None)

    async def _keep(self, response: httpx.Response) -> None:
        try:
            token = await self._token_of(response)
        except AuthError as error:
            self._refused = error
            raise
        except TokenThrottled as error:
            self.failed(error, response.headers)
            raise
        except (httpx.TransportError, ApiUnavailable) as error:
            self.failed(error)
            raise
        self._pause.end()
        left_s = token.lifetime_s - min(self._renew_before_s, token.lifetime_s / 2)
        self._warn_if_lost(token.refresh)
        self._exchange(token.text)
        self._fetched = self._number
        if self._is_dead:
            self._replacement, self._is_dead = self._number, False
        self._refresh = token.refresh or self._refresh
        self._tokens |= {self._token, self._refresh}
        if self._grant.file is not None and token.refresh:
            saved = KeptToken(token.refresh, token.text, self._wall() + left_s)
            await asyncio.to_thread(self._grant.file.write, saved)
        self._good_until = self._clock() + left_s

    async def _token_of(self, response: httpx.Response) -> AccessToken:
        """The token in a response.

        :raises ApiUnavailable: it has no JSON, and earlier ones had: the endpoint has an outage.
        """
        try:
            return await self._grant.token_of(response, self.secrets)
        except _NoJson as error:
            if not self._fetched:
                raise
            reason = str(error).partition(". ")[0]
            raise ApiUnavailable(f"t{reason[1:]}, expected a token in JSON") from None

    def _warn_if_lost(self, refresh: str) -> None:
        if refresh and self._grant.file is None and not self._refresh:
            if refresh in self._grant.secrets.known:
                return
            log.warning(
                "The token endpoint gave a new refresh token, which ends with this run. If the API "
                "takes each refresh token once, the next run is refused: set `auth.token_folder`"
            )


async def _json_of(response: httpx.Response) -> object:
    status = response.status_code
    if error := throttled(response):
        raise error
    if status >= 500:
        raise ApiUnavailable(f"the token endpoint responded with {status}")
    await _read(response)
    try:
        return response.json()
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type")
        raise _NoJson(
            f"The token endpoint responded with {status} and {kind}. Expected a token in JSON. "
            "Check `auth.token_url`."
        ) from None


def _raise_if_ill(response: httpx.Response, data: object) -> None:
    """:raises ApiUnavailable: the endpoint says that it is ill, or wants fewer requests."""
    word = data.get("error") if isinstance(data, dict) else None
    if word == _TOO_MANY:
        raise TokenThrottled(f"the token endpoint responded with {word} (too many requests)")
    if word in _ILL:
        raise ApiUnavailable(f"the token endpoint responded with {response.status_code} ({word})")


def _at(data: object, path: tuple[str, ...]) -> object:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _is_token(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable()


def _lifetime_s(expires_in: object) -> float:
    """Seconds that a token lives for: an hour if the endpoint does not say."""
    try:
        seconds = float(str(expires_in))
    except ValueError:
        return _AN_HOUR_S
    return seconds if seconds > 0 else _AN_HOUR_S


async def _read(response: httpx.Response) -> None:
    """Read the body. :raises AuthError: larger than a token, or compressed more than once."""
    if len(codings(response.headers)) > 1:
        raise AuthError(
            "The response of the token endpoint is compressed more than once. Expected one "
            "Content-Encoding. Check `auth.token_url`."
        )
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.stream = _BoundedBody(response.stream)
    await response.aread()


class _BoundedBody(httpx.AsyncByteStream):
    """A body with a bound on its length."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MOST_TOKEN_BYTES:
                raise AuthError(
                    "The response of the token endpoint is longer than "
                    f"{MOST_TOKEN_BYTES:,} bytes. Expected a token in JSON. Check `auth.token_url`."
                )
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
