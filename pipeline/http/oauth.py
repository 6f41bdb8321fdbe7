"""What a token endpoint is asked, and what its answer may be.

OAuth2's grants (RFC 6749), and the login of an API's own. Secrets go into the body, or into a
header; never into a URL.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
from pydantic import SecretStr

from pipeline.config.auth import ClientCredentialsAuth, LoginAuth, RefreshTokenAuth
from pipeline.errors import ApiUnavailable, AuthError, cut
from pipeline.model import split_path

_MOST_BYTES: Final = 2**16  # no API takes a header of that length
_AN_HOUR_S: Final = 3600.0
_CREATED: Final = (200, 201)
_CLIENT: Final = (
    "are the client id and the client secret right, and is it asked as its docs say (client_auth, "
    "scope, params)?"
)
_SAID: Final = ("error", "error_description", "message", "errors")
"""Where an endpoint says why: RFC 6749, 5.2, and as APIs of their own have it."""
_REFRESHING: Final = (
    "are the refresh token, the client id and the client secret right? An endpoint that gives a "
    "new refresh token at each renewal takes the old one no more: an earlier run may have used it"
)


@dataclass(frozen=True)
class TokenGrant:
    """One way to a token.

    :ivar request: what is sent; given the refresh token that came in place of the source's.
    :ivar token_at: where the token is in the answer.
    :ivar name: the header that carries the token, behind ``prefix``.
    :ivar remedy: what to look at if it is refused.
    :ivar lifetime_s: seconds that a token lives for; None: as the answer says.
    :ivar refreshes: whether a refresh token in the answer is the one to use from then on.
    """

    request: Callable[[str], httpx.Request]
    token_at: tuple[str, ...] = ("access_token",)
    name: str = "Authorization"
    prefix: str = "Bearer "
    remedy: str = _CLIENT
    lifetime_s: float | None = None
    refreshes: bool = False

    async def answered(self, response: httpx.Response) -> "AccessToken":
        """:raises AuthError: not a token. :raises ApiUnavailable: the endpoint is ill (5xx, 429)"""
        data = await _json_of(response)
        found = _at(data, self.token_at)
        if response.status_code not in _CREATED or not _is_token(found):
            raise self._refusal(response.status_code, data)
        told = data if isinstance(data, dict) else {}
        refresh = told.get("refresh_token") if self.refreshes else None
        lifetime_s = self.lifetime_s or _lifetime_s(told.get("expires_in"))
        return AccessToken(str(found), refresh if isinstance(refresh, str) else "", lifetime_s)

    def _refusal(self, status: int, data: object) -> AuthError:
        told = data if isinstance(data, dict) else {}
        said = cut(": ".join(str(told[name]) for name in _SAID if told.get(name)), 200)
        refused = f"refused the credentials with status {status}"
        if status in _CREATED:
            refused = f"answered {status} without a token at {'.'.join(self.token_at)}"
        said = f" ({said})" if said else ""
        return AuthError(f"the token endpoint {refused}{said}: {self.remedy}")


@dataclass(frozen=True, repr=False)
class AccessToken:
    """What came.

    :ivar refresh: a refresh token to use from now on, if one came.
    """

    text: str
    refresh: str
    lifetime_s: float


def grant_of(spec: ClientCredentialsAuth | RefreshTokenAuth | LoginAuth) -> TokenGrant:
    """How a source's token is had."""
    match spec:
        case ClientCredentialsAuth():
            return TokenGrant(lambda _: _form(spec, {"grant_type": "client_credentials"}))
        case RefreshTokenAuth():

            def refreshed(newest: str) -> httpx.Request:
                token = newest or spec.refresh_token.get_secret_value()
                return _form(spec, {"grant_type": "refresh_token", "refresh_token": token})

            return TokenGrant(refreshed, remedy=_REFRESHING, refreshes=True)
        case LoginAuth():
            return TokenGrant(
                lambda _: _post(spec.token_url, json=_revealed(spec.body)),
                token_at=split_path(spec.token_at),
                name=spec.name,
                prefix=spec.prefix,
                remedy=f"are {', '.join(spec.body)} right, and token_at?",
                lifetime_s=spec.lifetime_s,
            )


def _form(
    spec: ClientCredentialsAuth | RefreshTokenAuth, of_kind: Mapping[str, str]
) -> httpx.Request:
    client = {"client_id": spec.client_id, "client_secret": spec.client_secret}
    basic = client_in_header(spec)
    known = {} if basic else _revealed({name: value for name, value in client.items() if value})
    headers = {"Authorization": f"Basic {basic}"} if basic else {}
    scope = {"scope": spec.scope} if spec.scope else {}
    form = {**known, **of_kind, **scope, **_revealed(spec.params)}
    return _post(spec.token_url, data=form, headers=headers)


def client_in_header(spec: ClientCredentialsAuth | RefreshTokenAuth) -> str:
    """The client's id and secret, as they go into a header (RFC 6749, 2.3.1); empty if not.

    It is a secret like what is in it.
    """
    if spec.client_auth != "basic" or spec.client_id is None or spec.client_secret is None:
        return ""
    both = (spec.client_id, spec.client_secret)
    text = ":".join(quote_plus(value.get_secret_value()) for value in both)
    return b64encode(text.encode()).decode()


def _post(url: str, headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Request:
    """Some endpoints answer a form if they are not told (GitHub's)."""
    return httpx.Request(
        "POST", url, headers={"Accept": "application/json", **(headers or {})}, **body
    )


def _revealed(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}


async def _json_of(response: httpx.Response) -> object:
    status = response.status_code
    if status == 429 or status >= 500:
        raise ApiUnavailable(f"the token endpoint answered {status}: it is asked again later")
    await _read(response)
    try:
        return response.json()
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type")
        raise AuthError(
            f"expected a JSON token from the token endpoint, got status {status} with {kind}: "
            "is token_url right?"
        ) from None


def _at(data: object, path: tuple[str, ...]) -> object:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _is_token(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable()


def _lifetime_s(said: object) -> float:
    """Seconds that a token lives for; an hour if the endpoint does not say."""
    try:
        seconds = float(str(said))
    except ValueError:
        return _AN_HOUR_S
    return seconds if seconds > 0 else _AN_HOUR_S


async def _read(response: httpx.Response) -> None:
    """:raises AuthError: more comes than a token is, as it is or packed more than once."""
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
