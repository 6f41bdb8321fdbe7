"""The only sender: auth, budget, send, classify, and retry within bounds.

``fetch`` sends one request and hands the response to a reader; a body that the reader can't read
counts as a failure of the request, which is retried. Messages name the page and the status, never a
header, a URL or a body of a request.
"""

import asyncio
import logging
import math
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from time import monotonic, time
from typing import Final, TypeVar

import httpx

from pipeline.auth import AuthContext, Secrets
from pipeline.auth.base import SIGNED_BY, check_origin
from pipeline.config.source import Source
from pipeline.decode.body_checks import (
    BadBody,
    CutShort,
    Malformed,
    OtherFormat,
    SignedOutInBody,
    ThrottledInBody,
    UnexpectedPage,
)
from pipeline.errors import (
    CUT,
    ApiUnavailable,
    AuthError,
    ConfigError,
    HeadraceError,
    RequestRefused,
    Retryable,
    TokenThrottled,
    WrongFormat,
    numbered,
)
from pipeline.http import classify, retry
from pipeline.http.classify import (
    NOT_QUOTED,
    ResponseKind,
    is_conditional,
    redirects_to_itself,
    refusal,
    with_remedies,
)
from pipeline.http.connection_faults import (
    is_of_proxy,
    is_of_token,
    is_unreadable,
    no_response,
    says_nothing_of_the_api,
    standing_fault,
    unavailable,
    unreachable,
)
from pipeline.http.network import Proxies, tls_context
from pipeline.http.rate_limit_headers import RateLimitListener, retry_after_s
from pipeline.http.reading_time import request_of_reading, waits_for_turn
from pipeline.http.response_body import BodyLimit, MalformedBodies, read_body
from pipeline.http.retry import AttemptFailed, Breaker, BreakerState, FailureKind, RetryBudget
from pipeline.http.session import HttpSession
from pipeline.http.transport import (
    LATE,
    LATENCY_S,
    LEFT_AT,
    RESPONDED,
    WAITED_SLOT_S,
    WHOLE,
    AiohttpTransport,
    BudgetedTransport,
    DeadlineTransport,
)
from pipeline.messages import Body, HttpRequest, HttpResponse, Read, RequestCounts
from pipeline.ratelimit import Budget, BudgetStats
from pipeline.redaction import keep_secrets_out

RETRIES_LOGGED_EVERY_S: Final = 30.0
T = TypeVar("T")
log = logging.getLogger("headrace.client")


class Client:
    """The client of a source's API, opened inside the run's event loop by ``open_client``."""

    def __init__(
        self,
        source: Source,
        http: HttpSession,
        budget: Budget,
        breaker: Breaker,
        proxies: Proxies,
        body_limit: BodyLimit,
    ) -> None:
        """:param http: sends by the same proxies, and within the same limit."""
        self._source = source
        self._base_urls = source.base_urls
        self._http = http
        self._breaker = breaker
        self._probe = asyncio.Lock()
        self.budget = budget
        self._proxies = proxies
        self._body_limit = body_limit
        others = [*source.secrets, *proxies.secrets()]
        self.secrets = Secrets(source.auth, http.auth, others)
        self._sets_cookies = False
        self._known_before = breaker.state is BreakerState.HALF_OPEN
        self._rate_limits = RateLimitListener(source, budget)
        self.spent = RetryBudget()
        self.requests = 0
        self._endpoints_read: set[str] = set()
        self._malformed = MalformedBodies()
        self._warned_at = -math.inf
        self._last_failure: AttemptFailed | None = None

    @property
    def stats(self) -> BudgetStats:
        return self.budget.stats

    @property
    def breaker_state(self) -> str:
        return self._breaker.state.value

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """Send ``request`` until ``read`` has read its response.

        :param label: the page in the user's words (``str`` of it), for messages.
        :param sent: counts what goes out.
        :raises ApiUnavailable: the bounded attempts are used up, or the breaker is open.
        :raises AuthError, RequestRefused, ContractBroken: no retry can mend it.
        """
        failures: Counter[FailureKind] = Counter()
        try:
            with request_of_reading():
                while True:
                    try:
                        return await self._fetch_through_breaker(request, read, label, sent)
                    except AttemptFailed as failed:
                        is_throttled = failed.kind is FailureKind.THROTTLED
                        sent.throttled += is_throttled and not failed.of_token
                        sent.retried += not is_throttled
                        await self.back_off(failed, failures, label)
        except HeadraceError as error:
            raise self._without_secrets(with_remedies(error, self._source)) from None

    async def back_off(
        self, failed: AttemptFailed, failures: Counter[FailureKind], label: object
    ) -> None:
        """Wait before the next attempt at a page.

        :param failures: of this page so far, by kind; this one is added.
        :raises ApiUnavailable: there is no next attempt, for this page or for the run.
        """
        self._last_failure = failed
        failures[failed.kind] += 1
        self.spent.failures[failed.kind] += 1
        policy = self._source.retries
        wait_s = retry.wait_s(failed.kind, failures[failed.kind], self.spent, policy, random.random)
        if wait_s is None or self._breaker.state is BreakerState.OPEN:
            raise self._final_error(failed, failures.total(), label) from None
        self._warn_of_retry(failed, label)
        self.spent.waited_s += wait_s
        with waits_for_turn() if failed.kind is FailureKind.THROTTLED else nullcontext():
            await asyncio.sleep(wait_s)

    def _final_error(self, failed: AttemptFailed, attempts: int, label: object) -> HeadraceError:
        """The error of a page that is not requested again."""
        reason = str(failed).removeprefix(f"{_endpoint_of(label)}: ").removesuffix(".")
        if failed.kind is FailureKind.FORMAT:
            return WrongFormat(f"{label}: {reason}")
        reason = f"{reason}, after {attempts} {'attempt' if attempts == 1 else 'attempts'}"
        if failed.kind is FailureKind.BODY:
            return WrongFormat(f"{label}: {reason}. Check: {numbered(failed.checks)}.")
        return self._unreachable_or_unavailable(label, reason, failed)

    def _unreachable_or_unavailable(
        self, label: object, reason: str, failed: AttemptFailed
    ) -> HeadraceError:
        known = self.spent.responded or self._known_before
        if failed.may_be_absent and not known:
            unused_proxy = self._proxies.unused()
            source = self._source_of(label)
            return unreachable(source, f"{label}: {reason}", failed, unused_proxy)
        return self._unavailable(label, reason, failed)

    def _unavailable(
        self, label: object, reason: str, failed: AttemptFailed | None = None
    ) -> ApiUnavailable:
        return unavailable(
            self._source_of(label),
            f"{label}: {reason}",
            failed,
            self._breaker.state,
            has_responded=self.spent.responded,
        )

    def _source_of(self, label: object) -> Source:
        """The source with the address of the endpoint that a label is of."""
        endpoint = _endpoint_of(label).rpartition("/")[2]
        address = self._source.base_url_of(endpoint)
        return self._source.model_copy(update={"base_url": address})

    def _warn_of_retry(self, failed: AttemptFailed, label: object) -> None:
        """Log a failure that took long, or may be the first of many: at most twice a minute."""
        first = failed.kind is FailureKind.ERROR and self.spent.failures[FailureKind.ERROR] == 1
        token_endpoint_responded = failed.of_token and not failed.may_be_absent
        known = self.spent.responded or failed.responded or token_endpoint_responded
        never = "" if known else ", and no response yet in this run"
        if not (failed.kind is FailureKind.TIMEOUT or (first and never)):
            return
        if monotonic() - self._warned_at >= RETRIES_LOGGED_EVERY_S:
            self._warned_at = monotonic()
            log.warning("%s: %s%s; retrying", label, failed, never)

    async def read(self, response: HttpResponse, read: Read[T], label: object) -> T:
        """Have a response read; an error of the reader leaves without secrets.

        Stars in place of a secret are enough where a quote is whole. If a quote was cut, a part of
        a secret may be left: nothing is quoted then of a response that has one.
        """
        try:
            return await read(response)
        except (HeadraceError, BadBody) as error:
            text = str(error)
            start = f"{label}: " if text.startswith(f"{label}: ") else ""
            withheld = f"{start}can't use the response ({response.status}). {NOT_QUOTED}"
            redacted = self.secrets.redacted(text, withheld=withheld)
            is_cut = CUT in redacted or self.secrets.are_partly_in(redacted)
            if is_cut and await self._has_secret(response):
                redacted = withheld
            error.args = (redacted,)
            raise

    async def _has_secret(self, response: HttpResponse) -> bool:
        """Whether a response has a secret, in whatever spelling. In a thread: it may be long."""
        text = f"{' '.join(response.headers.values())} {str(response.body, 'utf-8', 'replace')}"
        return await asyncio.to_thread(self.secrets.are_in, text)

    def _without_secrets(self, error: HeadraceError) -> HeadraceError:
        """A net under all others: no error leaves with a secret."""
        withheld = f"The message of this {type(error).__name__} repeats a secret, and is not shown."
        error.args = (self.secrets.redacted(str(error), withheld=withheld),)
        return error

    async def _fetch_through_breaker(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """Half open, one request goes out and the others wait for its result."""
        if self._breaker.state is BreakerState.HALF_OPEN:
            async with self._probe:
                if self._breaker.state is BreakerState.HALF_OPEN:
                    return await self._attempt(request, read, label, sent)
        if self._breaker.state is BreakerState.OPEN:
            reason = "the API failed too often in a row"
            if self._last_failure is None:
                raise self._unavailable(label, reason)
            raise self._unreachable_or_unavailable(label, reason, self._last_failure)
        return await self._attempt(request, read, label, sent)

    async def _attempt(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        try:
            response = await self._send(request, sent)
            if self._is_refused(request, response) and self._http.try_cookies(request):
                response = await self._send(request, sent)
                if self._is_refused(request, response):
                    self._http.leave_cookies_off()
            await self._raise_for_response(request, response, label)
            result = await self.read(response, read, label)
        except AttemptFailed as failed:
            if not failed.of_token:  # all that waited for a token fail together
                self._record_outcome(up=failed.kind is FailureKind.THROTTLED)
            raise
        except (AuthError, RequestRefused):
            self._record_outcome(up=True)  # an API that refuses is up
            raise
        except SignedOutInBody as error:
            self._record_outcome(up=True)
            self._renew_token(response, f"{error} (dead token)")
            raise AuthError(f"{label}: {error}. A new token is dead, too") from None
        except ThrottledInBody as error:
            self._record_outcome(up=True)
            self._rate_limits.throttled(response.headers, response.left_at)
            raise AttemptFailed(FailureKind.THROTTLED, f"{error} (too many requests)") from None
        except OtherFormat as error:
            # An endpoint that had the right format before has an outage, and shows its page.
            was_read = _endpoint_of(label) in self._endpoints_read
            self._record_outcome(up=not was_read)
            kind = FailureKind.ERROR if was_read else FailureKind.FORMAT
            raise AttemptFailed(kind, str(error), responded=True) from None
        except BadBody as error:
            body = response.body if isinstance(error, Malformed) else b""  # else: not read, maybe
            raise self._unread(error, request, body, label) from None
        self._record_outcome(up=True)
        self._endpoints_read.add(_endpoint_of(label))
        self._rate_limits.passed(response.left_at)
        if response.token is not None:
            response.token.note_accepted()
        return result

    def _unread(
        self, error: BadBody, request: HttpRequest, body: Body, label: object
    ) -> AttemptFailed | WrongFormat:
        """The failure of a body that can't be read; no retry mends one that came before."""
        self._record_outcome(up=isinstance(error, UnexpectedPage))
        is_outage = isinstance(error, UnexpectedPage | CutShort)
        if is_outage or _endpoint_of(label) in self._endpoints_read:
            return AttemptFailed(FailureKind.ERROR, str(error), responded=True, checks=error.checks)
        if isinstance(error, Malformed) and self._malformed.came_before(request, body):
            reason = str(error).removeprefix(f"{_endpoint_of(label)}: ")
            checks = numbered(error.checks)
            return WrongFormat(f"{label}: {reason}, twice in the same body. Check: {checks}.")
        return AttemptFailed(FailureKind.BODY, str(error), responded=True, checks=error.checks)

    def _record_outcome(self, *, up: bool) -> None:
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
            return await self._read_body(self._build_request(request))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise ConfigError("The API has no valid URL. Check `base_url`.") from None
        except httpx.HTTPError as error:
            kind = (
                FailureKind.TIMEOUT
                if isinstance(error, httpx.TimeoutException)
                else FailureKind.ERROR
            )
            if fault := standing_fault(error):
                raise ConfigError(fault) from None
            raise AttemptFailed(
                kind,
                no_response(error),
                of_token=is_of_token(error),
                of_proxy=is_of_proxy(error),
                may_be_absent=says_nothing_of_the_api(error),
                responded=is_unreadable(error),
            ) from None
        except ApiUnavailable as error:
            throttled = isinstance(error, TokenThrottled)
            kind = FailureKind.THROTTLED if throttled else FailureKind.ERROR
            raise AttemptFailed(kind, str(error), of_token=True) from None
        except Retryable:  # of the budget: the request did not go
            sent.requests -= 1
            self.requests -= 1
            raise

    def _build_request(self, request: HttpRequest) -> httpx.Request:
        """The request with its URL held against each ``base_url``: it gets the credentials, and may
        come from a checkpoint that whoever writes to the lake has changed.

        :raises ContractBroken: it leads elsewhere.
        """
        check_origin(request.url, *self._base_urls)
        built = self._http.build_request(
            request.method, request.whole_url, request.headers, request.content
        )
        built.extensions[RESPONDED] = self._note_response
        if request.late is not None:
            built.extensions[LATE] = request.late
        return built

    def _note_response(self) -> None:
        self.spent.responded = True

    async def _read_body(self, request: httpx.Request) -> HttpResponse:
        response = await self._http.send(request)
        facts = response.extensions
        body = await read_body(response, facts[WHOLE], self._body_limit)
        headers = dict(response.headers.items())
        self._sets_cookies = self._sets_cookies or "set-cookie" in headers
        return HttpResponse(
            response.status_code,
            headers,
            body,
            str(response.url),
            received_at_s=time(),
            latency_s=facts[LATENCY_S],
            left_at=facts[LEFT_AT],
            waited_slot_s=facts.get(WAITED_SLOT_S, 0.0),
            token=request.extensions.get(SIGNED_BY),
        )

    def _is_refused(self, request: HttpRequest, response: HttpResponse) -> bool:
        refused = ResponseKind.PERMANENT
        return response.status >= 300 and self._kind(request, response) is refused

    def _kind(self, request: HttpRequest, response: HttpResponse) -> ResponseKind:
        answers, rate = self._source.answers_of(request.endpoint), self._source.limits.headers
        return classify.classify(response.status, response.headers, answers, rate, response.body)

    def _renew_token(self, response: HttpResponse, reason: str) -> None:
        """:raises AttemptFailed: a new token is fetched for a retry."""
        if response.token is not None and response.token.note_dead():
            raise AttemptFailed(FailureKind.ERROR, reason, of_token=True)

    async def _raise_for_response(
        self, request: HttpRequest, response: HttpResponse, label: object
    ) -> None:
        """Raise unless the response can be read. Called with every response before its reader: an
        API whose errors mean something else overrides this (``lanes.lane_client``).

        :raises AttemptFailed: a retry may mend it.
        :raises AuthError, RequestRefused: no retry can.
        """
        status, headers, body = response.status, response.headers, response.body
        kind = self._kind(request, response)
        self._rate_limits.observed(headers)
        if kind in (ResponseKind.OK, ResponseKind.EMPTY):
            return
        if kind is ResponseKind.NOT_MODIFIED and is_conditional(request.headers):
            return
        if kind is ResponseKind.THROTTLED:
            self._rate_limits.throttled(headers, response.left_at)
            raise AttemptFailed(
                FailureKind.THROTTLED, f"the API responded with {status} (too many requests)"
            )
        if kind is ResponseKind.RETRY:
            raise AttemptFailed(FailureKind.ERROR, f"the API responded with {status}")
        if kind is ResponseKind.NOT_MODIFIED:
            text = "the API responded with 304 (not modified) to a request without a condition"
            raise AttemptFailed(FailureKind.ERROR, text, responded=True)
        if self._http.sends_cookies and redirects_to_itself(response):
            text = f"the API redirects ({status}) to the same address, with a cookie"
            raise AttemptFailed(FailureKind.ERROR, text, responded=True)
        if kind is ResponseKind.SIGNED_OUT:
            self._renew_token(response, f"the API responded with {status} (dead token)")
            kind = ResponseKind.AUTH
        has_secret = await self._has_secret(response)
        error = refusal(kind, status, headers, body, str(label), has_secret=has_secret)
        if self._sets_cookies and self._http.may_lack_cookies(request):
            error.args = (
                f"{str(error).rstrip('.')}. The API sets cookies: `cookies: true` sends them back",
            )
        raise error


def _endpoint_of(label: object) -> str:
    """``source/endpoint`` of a page's label."""
    return str(label).partition(",")[0]


@asynccontextmanager
async def open_client(
    source: Source,
    budget: Budget,
    *,
    half_open: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Client]:
    """A client whose connections live as long as the ``async with``.

    :param half_open: the last attempt ended with an open breaker: begin with one request alone.
    """
    keep_secrets_out()
    t, free_304 = source.timeouts, source.limits.not_modified_is_free
    proxies = Proxies.of(source, os.environ)
    body_limit = BodyLimit(source.source, source.limits.max_body_bytes)
    if transport is None:
        tls = await asyncio.to_thread(tls_context, source.tls, os.environ)
        transport = AiohttpTransport(source.limits.in_flight + 2, tls, proxies)
    stages = httpx.Timeout(t.read_s, connect=t.connect_s, pool=None)
    timed = DeadlineTransport(transport, stages, t.total_s, body_limit)
    auth_context = AuthContext(
        first_wait_s=source.retries.first_wait_s,
        max_wait_s=source.retries.max_wait_s,
        retry_after_s=retry_after_s,
        waits_for_turn=waits_for_turn,
    )
    http = HttpSession(
        BudgetedTransport(timed, budget, *map(httpx.URL, source.base_urls), free_304=free_304),
        source.auth.make(auth_context),
        source.headers,
        cookies=source.cookies,
    )
    state = BreakerState.HALF_OPEN if half_open else BreakerState.CLOSED
    breaker = Breaker(source.breaker.failures, state)
    async with budget, http:
        yield Client(source, http, budget, breaker, proxies, body_limit)
