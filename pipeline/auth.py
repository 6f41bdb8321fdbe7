"""Credentials, as ``httpx.Auth`` generators: testable without a server.

A token is fetched once, shared by every request of the run, renewed before it runs out, and once
more when the API answers 401 to it. Secrets go into headers and form bodies, never into URLs — but
for an API that takes its key as a query parameter only, where the key is put in just before
sending.
"""

import asyncio
import importlib
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from pipeline.errors import ApiUnavailable, AuthError, ConfigError
from pipeline.spec.auth import (
    ApiKey,
    Auth,
    Basic,
    Bearer,
    ClientCredentials,
    CustomAuth,
    NoAuth,
    RefreshToken,
)


def make_auth(spec: Auth, *, clock: Callable[[], float] = time.monotonic) -> httpx.Auth:
    """The ``httpx.Auth`` of a source."""
    match spec:
        case NoAuth():
            return httpx.Auth()
        case ApiKey():
            return KeyAuth(spec)
        case Basic():
            return httpx.BasicAuth(spec.username, spec.password.get_secret_value())
        case Bearer():
            return BearerAuth(spec.token)
        case ClientCredentials():
            return TokenAuth(
                spec.token_url, _client_form(spec), spec.renew_before_s, clock, _ids(spec)
            )
        case RefreshToken():
            return TokenAuth(spec.token_url, _refresh_form(spec), spec.renew_before_s, clock, {})
        case CustomAuth():
            return _custom(spec)


def hidden(text: str, spec: Auth, auth: httpx.Auth | None = None) -> str:
    """``text`` without the secrets of a source, which an API may have said again."""
    values = [getattr(spec, name, None) for name in _SECRETS]
    secrets = [value for value in values if isinstance(value, SecretStr)]
    secrets += spec.options.values() if isinstance(spec, CustomAuth) else []
    found = {secret.get_secret_value() for secret in secrets} | {getattr(auth, "token", "")}
    if isinstance(spec, Basic):
        both = f"{spec.username}:{spec.password.get_secret_value()}"
        found.add(b64encode(both.encode()).decode())
    for value in sorted(found, key=len, reverse=True):
        if len(value) >= _SHORTEST_HIDDEN:
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return text


_SECRETS = ("key", "password", "token", "client_secret", "refresh_token")
_SHORTEST_HIDDEN = 4


def _for_header(value: str, what: str) -> str:
    """:raises ConfigError: httpx would name the value in its error."""
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"auth: {what} has a line break or a letter beyond ASCII, which no header can carry: "
            "is it copied right?"
        )
    return value


class KeyAuth(httpx.Auth):
    """A key in a header or a query parameter."""

    def __init__(self, spec: ApiKey) -> None:
        self._spec = spec
        self._key = spec.key.get_secret_value() if spec.key else ""
        if spec.place == "header":
            _for_header(spec.prefix + self._key, "the key")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        key = self._key
        if key and self._spec.place == "header":
            request.headers[self._spec.name] = self._spec.prefix + key
        elif key:
            request.url = request.url.copy_merge_params({self._spec.name: key})
        yield request


class BearerAuth(httpx.Auth):
    """A fixed token."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = _for_header(token.get_secret_value(), "the token") if token else ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class TokenAuth(httpx.Auth):
    """A token from a token endpoint (RFC 6749), one for all requests of a run.

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
        self._good_until = float("-inf")
        self._lock = asyncio.Lock()
        self._refused: AuthError | None = None
        self.renewals = 0

    @property
    def token(self) -> str:
        return self._token

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self._lock:
            self._raise_if_refused()
            if self._clock() >= self._good_until:
                self._keep(await _read((yield self._token_request())))
        used = self._token
        response = yield self._signed(request, used)
        if response.status_code != 401:
            return
        async with self._lock:
            self._raise_if_refused()
            if self._token == used:
                self._keep(await _read((yield self._token_request())))
        yield self._signed(request, self._token)

    def _signed(self, request: httpx.Request, token: str) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        request.headers.update(self._extra)
        return request

    def _token_request(self) -> httpx.Request:
        return httpx.Request("POST", self._token_url, data=dict(self._form()))

    def _raise_if_refused(self) -> None:
        """A refusal holds for the run: asking again, once for each who waits, changes nothing."""
        if self._refused is not None:
            raise AuthError(*self._refused.args)

    def _keep(self, response: httpx.Response) -> None:
        try:
            data = _token_answer(response)
        except AuthError as error:
            self._refused = error
            raise
        self._token = data["access_token"]
        lifetime_s = _lifetime_s(data.get("expires_in"))
        self._good_until = self._clock() + lifetime_s - min(self._renew_before_s, lifetime_s / 2)
        self.renewals += 1


def _lifetime_s(said: object) -> float:
    """Seconds that a token lives for; an hour if the endpoint does not say."""
    try:
        seconds = float(str(said))
    except ValueError:
        return 3600.0
    return seconds if seconds > 0 else 3600.0


async def _read(response: httpx.Response) -> httpx.Response:
    await response.aread()
    return response


def _token_answer(response: httpx.Response) -> dict[str, Any]:
    """:raises AuthError: not a token. :raises ApiUnavailable: the endpoint is ill (5xx, 429)."""
    status = response.status_code
    if status == 429 or status >= 500:
        raise ApiUnavailable(f"the token endpoint answered {status}: it is asked again later")
    try:
        data = response.json()
    except ValueError:
        kind = response.headers.get("content-type", "no content type")
        raise AuthError(
            f"expected a JSON token from the token endpoint, got status {status} with {kind}: "
            "is token_url right?"
        ) from None
    token = data.get("access_token") if isinstance(data, dict) else None
    if status != 200 or not isinstance(data, dict) or not _is_token(token):
        said = (
            str(data.get("message") or data.get("error") or "")[:200]
            if isinstance(data, dict)
            else ""
        )
        raise AuthError(
            f"the token endpoint refused the credentials with status {status}"
            + (f" ({said})" if said else "")
            + ": are the client id and the client secret right?"
        )
    return data


def _is_token(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable()


def _client_form(spec: ClientCredentials) -> Callable[[], Mapping[str, str]]:
    def form() -> Mapping[str, str]:
        values = {
            "client_id": spec.client_id.get_secret_value(),
            "client_secret": spec.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
        }
        return values | ({"scope": spec.scope} if spec.scope else {})

    return form


def _ids(spec: ClientCredentials) -> Mapping[str, str]:
    header = spec.client_id_header
    return {header: _for_header(spec.client_id.get_secret_value(), "client_id")} if header else {}


def _refresh_form(spec: RefreshToken) -> Callable[[], Mapping[str, str]]:
    def form() -> Mapping[str, str]:
        pairs = {
            "refresh_token": spec.refresh_token,
            "client_id": spec.client_id,
            "client_secret": spec.client_secret,
        }
        given = {name: value.get_secret_value() for name, value in pairs.items() if value}
        return {"grant_type": "refresh_token", **given}

    return form


def _custom(spec: CustomAuth) -> httpx.Auth:
    module, _, name = spec.path.partition(":")
    options = {key: value.get_secret_value() for key, value in spec.options.items()}
    try:
        made = getattr(importlib.import_module(module), name)(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"auth.path {spec.path!r} can't be used: {type(error).__name__}: expected an "
            f"importable "
            "subclass of httpx.Auth that takes the options"
        ) from None
    if not isinstance(made, httpx.Auth):
        raise ConfigError(f"auth.path {spec.path!r} is not a subclass of httpx.Auth")
    return made
