"""The client of one account, region and service: the engine's own, with what AWS's errors mean.

Retries, breaker, budget and deadlines are those of any API; they hold for this lane alone, so that
a region that is ill slows no other down.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from pipeline.auth.base import SIGN
from pipeline.aws import wire
from pipeline.aws.error_codes import ErrorMeaning, meaning_of
from pipeline.aws.service_models import AwsOperation, any_operation
from pipeline.config.source import Source
from pipeline.errors import ApiUnavailable, AuthError, PageTokenDead, RequestRefused, cut
from pipeline.http.client import Client
from pipeline.http.network import Proxies
from pipeline.http.response_body import BodyLimit
from pipeline.http.retry import AttemptFailed, Breaker, FailureKind
from pipeline.http.session import HttpSession
from pipeline.lanes.sessions import AccountSessions
from pipeline.messages import HttpRequest, HttpResponse, server_time
from pipeline.ratelimit import Budget

_MOST_SAID = 200
_APART_S = 240.0
"""Seconds between two clocks; AWS takes signatures that are up to five minutes off."""
_SIGNED_LATER = {"authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}


class LaneSigner(httpx.Auth):
    """Signs the requests of one account, region and service, in the slot in which they leave."""

    def __init__(
        self, sessions: AccountSessions, account: str, endpoint: wire.ServiceEndpoint
    ) -> None:
        self._sessions, self._account, self._endpoint = sessions, account, endpoint

    @property
    def secrets(self) -> set[str]:
        return self._sessions.secrets

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        credentials = await self._sessions.credentials(self._account)

        def sign(sent: httpx.Request) -> None:
            named = {
                name: value
                for name, value in sent.headers.items()
                if name == "content-type"
                or (name.startswith("x-amz-") and name not in _SIGNED_LATER)
            }
            plain = wire.WireRequest(sent.method, str(sent.url), named, sent.content)
            sent.headers.update(wire.signature(plain, credentials, self._endpoint))

        request.extensions = {**request.extensions, SIGN: sign}
        yield request


@dataclass(frozen=True)
class LaneAccount:
    """The account that a lane's calls are for.

    :ivar region_is_off: asks whether the account has not switched the lane's region on.
    """

    sessions: AccountSessions
    number: str
    region_is_off: Callable[[], Awaitable[bool]]


class LaneClient(Client):
    """Sends the calls of one account, region and service."""

    def __init__(
        self,
        source: Source,
        http: HttpSession,
        budget: Budget,
        breaker: Breaker,
        proxies: Proxies,
        body_limit: BodyLimit,
        account: LaneAccount,
    ) -> None:
        super().__init__(source, http, budget, breaker, proxies, body_limit)
        self._account = account

    @property
    def breaker(self) -> Breaker:
        """For the next client of this lane to go on with."""
        return self._breaker

    async def _raise_for_response(
        self, request: HttpRequest, response: HttpResponse, label: object
    ) -> None:
        """Raise unless the response has a page."""
        if response.status < 300:
            return
        code, message = await self._error_in(request, response)
        sentence = f"AWS responded with {response.status} ({code})"
        meaning = meaning_of(code, response.status)
        apart_s = _apart_s(response)
        if meaning is ErrorMeaning.EXPIRED and apart_s > _APART_S:
            meaning = ErrorMeaning.SKEWED
        if meaning is ErrorMeaning.THROTTLED:
            self._rate_limits.throttled(response.headers, response.left_at)
            raise AttemptFailed(FailureKind.THROTTLED, sentence)
        if meaning is ErrorMeaning.RETRY:
            raise AttemptFailed(FailureKind.ERROR, sentence)
        if meaning is ErrorMeaning.EXPIRED:
            if self._account.sessions.drop_expired(self._account.number, response.left_at):
                raise AttemptFailed(FailureKind.ERROR, sentence, of_token=True)
            raise AuthError(f"{label}: {sentence}: the credentials have expired. Renew them.")
        if meaning is ErrorMeaning.PAGE_ENDED:
            raise PageTokenDead(f"{label}: {sentence}: the page token has expired", response.status)
        if meaning is ErrorMeaning.SKEWED:
            refused = AuthError(f"{label}: {sentence}. {_on_signature(apart_s)}")
            refused.code = code
            raise refused
        quoted = f": {cut(message, _MOST_SAID)}" if message else ""
        error = RequestRefused(f"{label}: {sentence}{quoted}", response.status)
        error.code, error.outcome = code, meaning.value
        if meaning is ErrorMeaning.REFUSED:
            error.outcome = "none" if await self._account.region_is_off() else "failed"
        raise error

    async def _error_in(self, request: HttpRequest, response: HttpResponse) -> tuple[str, str]:
        """The code and the words of an error; without a secret that AWS may have repeated."""
        try:
            content = wire.read(
                operation_of(request), response.status, response.headers, bytes(response.body)
            )
        except ValueError:
            return str(response.status), ""
        secret = await self._has_secret(response)
        return content.error, "" if secret else content.message

    async def back_off(
        self, failed: AttemptFailed, failures: Counter[FailureKind], label: object
    ) -> None:
        """:raises ApiUnavailable: as of any API; it knows if AWS has throttled the lane."""
        try:
            await super().back_off(failed, failures, label)
        except ApiUnavailable as error:
            if failed.kind is FailureKind.THROTTLED:
                error.outcome, error.code = "throttled", "Throttling"
            raise


def _apart_s(response: HttpResponse) -> float:
    """Seconds between AWS's clock and this machine's; 0 if AWS does not say."""
    of_aws = server_time(response.headers)
    return abs((datetime.now(UTC) - of_aws).total_seconds()) if of_aws else 0.0


def _on_signature(apart_s: float) -> str:
    if apart_s > _APART_S:
        return (
            f"This machine's clock and AWS's are {apart_s:,.0f} s apart, and at most 300 s are "
            "allowed: set the clock (NTP)"
        )
    return "Check: 1. the secret access key; 2. this machine's clock (NTP)"


def operation_of(request: HttpRequest) -> AwsOperation:
    """The operation that a request calls."""
    assert request.call is not None
    return any_operation(request.call.service, request.call.operation)
