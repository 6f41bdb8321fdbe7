"""The client of one account, region and service: the engine's own, with what AWS's errors mean.

Retries, breaker, budget and deadlines are those of any API; they hold for this lane alone, so that
a region that is ill slows no other down.
"""

from collections import Counter
from collections.abc import AsyncGenerator

import httpx

from pipeline.auth.token_auth import SIGN
from pipeline.aws import wire
from pipeline.aws.error_codes import ErrorMeaning, meaning_of
from pipeline.aws.service_models import AwsOperation, any_operation
from pipeline.config.source import Source
from pipeline.errors import ApiUnavailable, AuthError, RequestRefused, cut
from pipeline.http.client import Client
from pipeline.http.retry import AttemptFailed, Breaker, FailureKind
from pipeline.lanes.sessions import AccountSessions
from pipeline.messages import HttpRequest, HttpResponse
from pipeline.ratelimit import Budget

_MOST_SAID = 200
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


class LaneClient(Client):
    """Sends the calls of one account, region and service."""

    def __init__(
        self,
        source: Source,
        http: httpx.AsyncClient,
        budget: Budget,
        breaker: Breaker,
        *,
        sessions: AccountSessions,
        account: str,
    ) -> None:
        super().__init__(source, http, budget, breaker)
        self._sessions, self._account = sessions, account

    async def _judge(self, request: HttpRequest, response: HttpResponse, label: object) -> None:
        """Raise unless the response has a page."""
        if response.status < 300:
            return
        code, message = await self._error_in(request, response)
        sentence = f"AWS responded with {response.status} ({code})"
        meaning = meaning_of(code, response.status)
        if meaning is ErrorMeaning.THROTTLED:
            self._rate_limits.throttled(response.headers, response.left_at)
            raise AttemptFailed(FailureKind.THROTTLED, sentence)
        if meaning is ErrorMeaning.RETRY:
            raise AttemptFailed(FailureKind.ERROR, sentence)
        if meaning is ErrorMeaning.EXPIRED:
            if self._sessions.drop_expired(self._account, response.left_at):
                raise AttemptFailed(FailureKind.ERROR, sentence, of_token=True)
            raise AuthError(f"{label}: {sentence}: the credentials have expired. Renew them.")
        quoted = f": {cut(message, _MOST_SAID)}" if message else ""
        error = RequestRefused(f"{label}: {sentence}{quoted}", response.status)
        error.outcome = meaning.value
        error.code = code
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


def operation_of(request: HttpRequest) -> AwsOperation:
    """The operation that a request calls."""
    assert request.call is not None
    return any_operation(request.call.service, request.call.operation)
