"""A token that is fetched, of whatever grant.

It is fetched once and shared by every request of the run. It is renewed before it runs out, and
once more when the API answers 401 to it; again if it had run out by then. While one request fetches
it, the others wait: so the wait has a bound (`in_time`), and so has the answer's length, here. If
it can't be had, all who waited fail: to ask again for each of them would take many times as long.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import count
from typing import Final

import httpx

from pipeline.errors import ApiUnavailable, AuthError
from pipeline.http.oauth import TokenGrant

FOR_TOKENS: Final = "headrace.for_tokens"
"""The extension of a request that goes to the token endpoint, and not to the API: what is to be
told of it if no answer comes."""
SIGN: Final = "headrace.sign"
"""The extension of a request that is signed once more when it leaves: it may have waited for its
place in the budget for longer than its token lives."""
_MOST_RENEWALS: Final = 4
"""For one request, whose tokens run out on their way."""


class TokenAuth(httpx.Auth):
    """One token for all requests of a run.

    :raises AuthError: the token endpoint refuses, or answers something that is no token.
    """

    requires_response_body = True

    def __init__(
        self,
        grant: TokenGrant,
        renew_before_s: float,
        clock: Callable[[], float],
        extra_headers: Mapping[str, str],
    ) -> None:
        self._grant = grant
        self._renew_before_s = renew_before_s
        self._clock = clock
        self._extra = dict(extra_headers)
        self._token = ""
        self._refresh = ""  # what the endpoint gave in place of the source's refresh token
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
                is_newest = request.headers[self._grant.name] == self._signature
                if tries > _MOST_RENEWALS or (is_newest and tries > 1 and self._is_good):
                    return  # a new token is refused as well
                if is_newest:
                    self._raise_if_failed(since)
                    await self._keep((yield self._token_request()))

    @property
    def _is_good(self) -> bool:
        return self._clock() < self._good_until

    @property
    def _signature(self) -> str:
        return f"{self._grant.prefix}{self._token}"

    def _signed(self, request: httpx.Request) -> httpx.Request:
        self._sign(request)
        request.headers.update(self._extra)
        # Of no closure over the request: in a circle it would keep the bodies of its pack.
        request.extensions = {**request.extensions, SIGN: self._sign}
        return request

    def _sign(self, request: httpx.Request) -> None:
        request.headers[self._grant.name] = self._signature

    def _token_request(self) -> httpx.Request:
        request = self._grant.request(self._refresh)
        request.extensions = {FOR_TOKENS: self.failed}
        return request

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
        try:
            token = await self._grant.answered(response)
        except AuthError as error:
            self._refused = error
            raise
        except (httpx.TransportError, ApiUnavailable) as error:
            self.failed(error)
            raise
        self._token = token.text
        self._refresh = token.refresh or self._refresh
        self._given |= {self._token, self._refresh}
        ahead_s = min(self._renew_before_s, token.lifetime_s / 2)
        self._good_until = self._clock() + token.lifetime_s - ahead_s
