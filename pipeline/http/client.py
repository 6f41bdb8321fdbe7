"""The only sender: auth, budget, send, classify, and try again within bounds.

``fetch`` sends one request and hands the answer to a reader; a body that the reader can't read
counts as a failure of the request, and is asked for again. What is told to the user names the page
and the status, never a header, a URL or a body of a request.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from pipeline.body import Body
from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody, ThrottledInBody, UnexpectedPage
from pipeline.dialects.http_request import HttpRequest
from pipeline.errors import (
    ApiUnavailable,
    AuthError,
    ConfigError,
    HeadraceError,
    RequestRefused,
    Retryable,
)
from pipeline.http import classify, retry
from pipeline.http.aiohttp_transport import AiohttpTransport
from pipeline.http.auth import hidden, make_auth
from pipeline.http.breaker import Breaker, BreakerState
from pipeline.http.budgeted_transport import LATENCY_S, SETTLED, BudgetedTransport
from pipeline.http.classify import ResponseKind
from pipeline.http.deadlines import DeadlineTransport
from pipeline.http.error_messages import is_of_token, lost, refusal, whom, with_whence
from pipeline.http.log_filters import keep_secrets_out
from pipeline.http.rate_limit_headers import RateLimitListener
from pipeline.http.response_body import read_body
from pipeline.http.retry import AttemptFailed, FailureKind, RetryBudget
from pipeline.ratelimit import Budget

T = TypeVar("T")
log = logging.getLogger("headrace.client")


@dataclass(frozen=True)
class HttpResponse:
    """An answer with its whole body, decompressed. Header names are in lower case.

    :ivar latency_s: from when the request left until the headers came; 0 of one from the cache.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    url: str = field(default="", repr=False)
    latency_s: float = 0.0


@dataclass(eq=False)
class RequestCounts:
    """What went out for one partition: requests on the wire, and those that had to be repeated."""

    requests: int = 0
    throttled: int = 0
    retried: int = 0


class Client:
    """One source's API, opened inside the run's event loop by ``open_client``."""

    def __init__(
        self, source: Source, http: httpx.AsyncClient, budget: Budget, breaker: Breaker
    ) -> None:
        self._source = source
        self._http = http
        self._breaker = breaker
        self._probe = asyncio.Lock()
        self.budget = budget
        self._hearing = RateLimitListener(source, budget)
        self.spent = RetryBudget()
        self.requests = 0
        self.max_body_bytes = 64 * 2**20

    @property
    def breaker_state(self) -> str:
        return self._breaker.state.value

    async def fetch(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: object,
        sent: RequestCounts,
    ) -> T:
        """Send ``request`` until ``read`` has read its answer.

        :param what: the page in the user's words (``str`` of it), for messages.
        :param sent: counts what goes out.
        :raises ApiUnavailable: the bounded tries are used up, or the breaker is open.
        :raises AuthError, RequestRefused, ContractBroken: for good.
        """
        tries = dict.fromkeys(FailureKind, 0)
        try:
            while True:
                try:
                    return await self._gated(request, read, what, sent)
                except AttemptFailed as failed:
                    sent.throttled += failed.kind is FailureKind.THROTTLED
                    sent.retried += failed.kind is not FailureKind.THROTTLED
                    await self._wait(failed, tries, what)
        except HeadraceError as error:
            raise self.redacted(with_whence(error, self._source)) from None

    def redacted(self, error: HeadraceError) -> HeadraceError:
        """An API may say a key or a token again, in its refusal or in a page."""
        error.args = (hidden(str(error), self._source.auth, self._http.auth),)
        return error

    async def _gated(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: object,
        sent: RequestCounts,
    ) -> T:
        """Half open, one request goes out and the others wait for how it fares."""
        if self._breaker.state is BreakerState.HALF_OPEN:
            async with self._probe:
                if self._breaker.state is BreakerState.HALF_OPEN:
                    return await self._once(request, read, what, sent)
        if self._breaker.state is BreakerState.OPEN:
            raise self._down(what, "the API failed too often in a row")
        return await self._once(request, read, what, sent)

    async def _once(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: object,
        sent: RequestCounts,
    ) -> T:
        try:
            answer = await self._send(request, sent)
            self._judge(answer, what)
            found = await read(answer)
        except AttemptFailed as failed:
            if not failed.of_token:  # all who waited for a token fail together
                self._fared(up=failed.kind is FailureKind.THROTTLED)
            raise
        except (AuthError, RequestRefused):
            self._fared(up=True)  # an API that says no is up
            raise
        except ThrottledInBody as error:
            self._fared(up=True)
            self._hearing.throttled(answer.headers)
            raise AttemptFailed(FailureKind.THROTTLED, f"{error} (too many requests)") from None
        except BadBody as error:
            self._fared(up=isinstance(error, UnexpectedPage))
            raise AttemptFailed(FailureKind.ERROR, str(error)) from None
        self._fared(up=True)
        return found

    def _fared(self, *, up: bool) -> None:
        breaker = self._breaker.succeeded() if up else self._breaker.failed()
        if breaker.state is not self._breaker.state:
            log.log(
                logging.WARNING if breaker.state is BreakerState.OPEN else logging.INFO,
                "%s: the breaker is %s (%d failures in a row)",
                self._source.source,
                breaker.state.value,
                breaker.failures,
            )
        self._breaker = breaker

    async def _send(self, request: HttpRequest, sent: RequestCounts) -> HttpResponse:
        sent.requests += 1
        self.requests += 1
        try:
            return await self._read_body(self._built(request))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise ConfigError("the URL of the API is not one: is base_url right?") from None
        except httpx.HTTPError as error:
            kind = (
                FailureKind.TIMEOUT
                if isinstance(error, httpx.TimeoutException)
                else FailureKind.ERROR
            )
            raise AttemptFailed(kind, lost(error), of_token=is_of_token(error)) from None
        except ApiUnavailable as error:
            raise AttemptFailed(FailureKind.ERROR, str(error), of_token=True) from None
        except Retryable:  # of the budget: it did not go
            sent.requests -= 1
            self.requests -= 1
            raise

    def _built(self, request: HttpRequest) -> httpx.Request:
        built = self._http.build_request(
            request.method,
            request.whole_url,
            headers=dict(request.headers),
            content=request.content,
        )
        if request.settled is not None:
            later = request.settled
            built.extensions = {**built.extensions, SETTLED: lambda: self._built(later())}
        return built

    async def _read_body(self, request: httpx.Request) -> HttpResponse:
        response = await self._http.send(request, stream=True)
        self.spent.answered = True
        body = await read_body(response, self.max_body_bytes, self._source.source)
        latency_s = response.extensions.get(LATENCY_S, 0.0)
        headers = dict(response.headers)
        return HttpResponse(response.status_code, headers, body, str(response.url), latency_s)

    def _judge(self, answer: HttpResponse, what: object) -> None:
        """Raise unless the answer can be read."""
        self._hearing.answered(answer.headers)
        rate = self._source.limits.headers
        meaning = classify.classify(
            answer.status, answer.headers, self._source.answers, rate, answer.body
        )
        if meaning in (ResponseKind.OK, ResponseKind.EMPTY, ResponseKind.NOT_MODIFIED):
            return
        if meaning is ResponseKind.THROTTLED:
            self._hearing.throttled(answer.headers)
            raise AttemptFailed(
                FailureKind.THROTTLED, f"the API answered {answer.status} (too many requests)"
            )
        if meaning is ResponseKind.RETRY:
            raise AttemptFailed(FailureKind.ERROR, f"the API answered {answer.status}")
        raise refusal(meaning, answer.status, answer.headers, answer.body, str(what))

    async def _wait(
        self, failed: AttemptFailed, tries: dict[FailureKind, int], what: object
    ) -> None:
        tries[failed.kind] += 1
        self.spent.failures[failed.kind] += 1
        policy = self._source.retries
        wait_s = retry.wait_s(failed.kind, tries[failed.kind], self.spent, policy, random.random)
        if wait_s is None or self._breaker.state is BreakerState.OPEN:
            number = sum(tries.values())
            said = f"{failed}, after {number} {'try' if number == 1 else 'tries'}"
            raise self._down(what, said, of_token=failed.of_token) from None
        first = failed.kind is FailureKind.ERROR and self.spent.failures[FailureKind.ERROR] == 1
        if not self.spent.answered and (failed.kind is FailureKind.TIMEOUT or first):
            log.warning("%s: %s, it has not answered once yet; tried again", what, failed)
        self.spent.waited_s += wait_s
        await asyncio.sleep(wait_s)

    def _down(self, what: object, reason: str, *, of_token: bool = False) -> ApiUnavailable:
        who = whom(self._source, of_token=of_token)
        known = of_token or self.spent.answered
        never = "" if known else ": it has not answered once, is its address right?"
        return ApiUnavailable(
            f"{what}: {reason}. {who} seems to be down or unreachable "
            f"(breaker {self._breaker.state.value}){never}",
            wait_s=self._source.breaker.open_s,
        )


@asynccontextmanager
async def open_client(
    source: Source,
    budget: Budget,
    *,
    half_open: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Client]:
    """A client whose connections live as long as the ``async with``.

    :param half_open: the last try ended with an open breaker: begin with one request alone.
    """
    keep_secrets_out()
    t, free_304 = source.timeouts, source.limits.not_modified_is_free
    if transport is None:
        tls = await asyncio.to_thread(httpx.create_ssl_context)
        transport = AiohttpTransport(source.limits.in_flight + 2, tls)
    stages = httpx.Timeout(t.read_s, connect=t.connect_s, pool=None)
    timed = DeadlineTransport(transport, stages, t.total_s)
    http = httpx.AsyncClient(
        auth=make_auth(source.auth),
        headers={"User-Agent": "headrace", **source.headers},
        timeout=stages,
        transport=BudgetedTransport(timed, budget, httpx.URL(source.base_url), free_304=free_304),
        follow_redirects=False,
    )
    state = BreakerState.HALF_OPEN if half_open else BreakerState.CLOSED
    async with budget, http:
        yield Client(source, http, budget, Breaker(source.breaker.failures, state))
