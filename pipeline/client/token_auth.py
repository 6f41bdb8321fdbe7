"""A token from a token endpoint (RFC 6749).

It is fetched once and shared by every request of the run. It is renewed before it runs out, and
once more when the API answers 401 to it; again if it had run out by then. While one request fetches
it, the others wait: so the wait has a bound (`in_time`), and so has the answer's length, here. If
it can't be had, all who waited fail: to ask again for each of them would take many times as long.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any, Final

import httpx

from pipeline.errors import ApiUnavailable, AuthError, cut
from pipeline.spec.auth import ClientCredentials, RefreshToken

FOR_TOKENS: Final = "headrace.for_tokens"
"""The extension of a request that goes to the token endpoint, and not to the API: what is to be
told of it if no answer comes."""
SIGN: Final = "headrace.sign"
"""The extension of a request that is signed once more when it leaves: it may have waited for its
place in the budget for longer than its token lives."""
_MOST_RENEWALS: Final = 4
"""For one request, whose tokens run out on their way."""
_MOST_BYTES: Final = 2**16  # no API takes a header of that length


class TokenAuth(httpx.Auth):
    """One token for all requests of a run.

    :raises AuthError: the token endpoint refuses, or answers something that is no token.
    """

    requires_response_body = True

    def __init__(
        self,
        token_url: str,
        form: Callable[[], Mapping[str, str]],
        renew_before_s: float,
        clock: Callable[[], float],
        extra_headers: Mapping[str, str],
    ) -> None:
        self._token_url = token_url
        self._form = form
        self._renew_before_s = renew_before_s
        self._clock = clock
        self._extra = dict(extra_headers)
        self._token = ""
        self._rotated = ""  # what the endpoint gave in place of the source's refresh token
        self._given: set[str] = set()
        self._good_until = float("-inf")
        self._lock = asyncio.Lock()
        self._refused: AuthError | None = None
        self._failure: Exception | None = None

    @property
    def secrets(self) -> frozenset[str]:
        """All that was given in the run: a page may still be refused with the token before."""
        return frozenset(self._given)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        since = self._failure
        async with self._lock:
            self._raise_if_refused()
            if not self._is_good:
                self._raise_if_failed(since)
                await self._keep((yield self._token_request()))
        for tries in count(1):
            response = yield self._signed(request)
            if response.status_code != 401:
                return
            since = self._failure
            async with self._lock:
                self._raise_if_refused()
                is_newest = request.headers["Authorization"] == self._authorization
                if tries > _MOST_RENEWALS or (is_newest and tries > 1 and self._is_good):
                    return  # a new token is refused as well
                if is_newest:
                    self._raise_if_failed(since)
                    await self._keep((yield self._token_request()))

    @property
    def _is_good(self) -> bool:
        return self._clock() < self._good_until

    @property
    def _authorization(self) -> str:
        return f"Bearer {self._token}"

    def _signed(self, request: httpx.Request) -> httpx.Request:
        self._sign(request)
        request.headers.update(self._extra)
        # Of no closure over the request: in a circle it would keep the bodies of its pack.
        request.extensions = {**request.extensions, SIGN: self._sign}
        return request

    def _sign(self, request: httpx.Request) -> None:
        request.headers["Authorization"] = self._authorization

    def _token_request(self) -> httpx.Request:
        form = dict(self._form())
        if self._rotated:
            form["refresh_token"] = self._rotated
        return httpx.Request(
            "POST", self._token_url, data=form, extensions={FOR_TOKENS: self.failed}
        )

    def _raise_if_refused(self) -> None:
        """A refusal holds for the run: asking again, once for each who waits, changes nothing."""
        if self._refused is not None:
            raise AuthError(*self._refused.args)

    def failed(self, error: Exception) -> None:
        """No token came."""
        self._failure = error

    def _raise_if_failed(self, since: Exception | None) -> None:
        """Fail if the request that was waited for got no token.

        :param since: the last failure when the wait for the token began.
        """
        if self._failure is not None and self._failure is not since:
            raise self._failure.with_traceback(None)

    async def _keep(self, response: httpx.Response) -> None:
        refreshes = "refresh_token" in self._form()
        try:
            data = await _token_answer(response, _REFRESHING if refreshes else _CLIENT)
        except AuthError as error:
            self._refused = error
            raise
        except (httpx.TransportError, ApiUnavailable) as error:
            self.failed(error)
            raise
        self._token = data["access_token"]
        rotated = data.get("refresh_token")
        if refreshes and rotated and isinstance(rotated, str):
            self._rotated = rotated
        self._given |= {self._token, self._rotated}
        lifetime_s = _lifetime_s(data.get("expires_in"))
        self._good_until = self._clock() + lifetime_s - min(self._renew_before_s, lifetime_s / 2)


def _lifetime_s(said: object) -> float:
    """Seconds that a token lives for; an hour if the endpoint does not say."""
    try:
        seconds = float(str(said))
    except ValueError:
        return 3600.0
    return seconds if seconds > 0 else 3600.0


async def _read(response: httpx.Response) -> None:
    """Read the body of an answer, up to a bound.

    :raises AuthError: it is longer than any token, or compressed more than once.
    """
    if "," in response.headers.get("content-encoding", ""):
        raise AuthError(
            "the token endpoint's answer is compressed more than once: expected one "
            "Content-Encoding: is token_url right?"
        )
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.stream = _Short(response.stream)
    await response.aread()


class _Short(httpx.AsyncByteStream):
    """A body that may not be long."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > _MOST_BYTES:
                raise AuthError(
                    f"expected a JSON token of at most {_MOST_BYTES:,} bytes from the token "
                    "endpoint, got more: is token_url right?"
                )
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


_CLIENT = "are the client id and the client secret right?"
_REFRESHING = (
    "are the refresh token, the client id and the client secret right? An endpoint that gives a "
    "new refresh token at each renewal takes the old one no more: an earlier run may have used it"
)


async def _token_answer(response: httpx.Response, remedy: str) -> dict[str, Any]:
    """What a token endpoint answered.

    :raises AuthError: not a token.
    :raises ApiUnavailable: the endpoint is ill (5xx, 429).
    """
    status = response.status_code
    if status == 429 or status >= 500:
        raise ApiUnavailable(f"the token endpoint answered {status}: it is asked again later")
    await _read(response)
    try:
        data = response.json()
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type")
        raise AuthError(
            f"expected a JSON token from the token endpoint, got status {status} with {kind}: "
            "is token_url right?"
        ) from None
    token = data.get("access_token") if isinstance(data, dict) else None
    if status != 200 or not isinstance(data, dict) or not _is_token(token):
        told = data if isinstance(data, dict) else {}
        said = cut(str(told.get("message") or told.get("error") or ""), 200)
        raise AuthError(
            f"the token endpoint refused the credentials with status {status}"
            + (f" ({said})" if said else "")
            + f": {remedy}"
        )
    return data


def _is_token(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable()


def client_form(spec: ClientCredentials) -> Callable[[], Mapping[str, str]]:
    def form() -> Mapping[str, str]:
        values = {
            "client_id": spec.client_id.get_secret_value(),
            "client_secret": spec.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
        }
        return values | ({"scope": spec.scope} if spec.scope else {})

    return form


def refresh_form(spec: RefreshToken) -> Callable[[], Mapping[str, str]]:
    def form() -> Mapping[str, str]:
        pairs = {
            "refresh_token": spec.refresh_token,
            "client_id": spec.client_id,
            "client_secret": spec.client_secret,
        }
        given = {name: value.get_secret_value() for name, value in pairs.items() if value}
        return {"grant_type": "refresh_token", **given}

    return form
