"""Credentials, as ``httpx.Auth`` generators: testable without a server.

Secrets go into headers and form bodies, never into URLs — but for an API that takes its key as a
query parameter only, where the key is put in just before sending. Tokens that have to be fetched:
`pipeline.http.token_auth`, by a grant of `pipeline.http.oauth`.
"""

import importlib
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping

import httpx
from pydantic import SecretStr

from pipeline.config.auth import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerTokenAuth,
    ClientCredentialsAuth,
    CustomAuth,
    LoginAuth,
    NoAuth,
    RefreshTokenAuth,
)
from pipeline.errors import ConfigError
from pipeline.http.oauth import client_in_header, grant_of
from pipeline.http.redaction import SHORTEST, contains_secret, redact
from pipeline.http.token_auth import TokenAuth
from pipeline.pagination.query import query_of, without_param

_SECRETS = ("key", "password", "token", "client_secret", "refresh_token")
_OF_SECRETS = ("options", "params", "body")


def make_auth(spec: Auth, *, clock: Callable[[], float] = time.monotonic) -> httpx.Auth:
    """The ``httpx.Auth`` of a source."""
    match spec:
        case NoAuth():
            return httpx.Auth()
        case ApiKeyAuth():
            return KeyAuth(spec)
        case BasicAuth():
            return httpx.BasicAuth(spec.username, spec.password.get_secret_value())
        case BearerTokenAuth():
            return BearerAuth(spec.token)
        case ClientCredentialsAuth():
            return TokenAuth(grant_of(spec), spec.renew_before_s, clock, _ids(spec))
        case RefreshTokenAuth() | LoginAuth():
            return TokenAuth(grant_of(spec), spec.renew_before_s, clock, {})
        case CustomAuth():
            return _custom(spec)


def hidden(text: str, spec: Auth, auth: httpx.Auth | None = None) -> str:
    """``text`` without the secrets of a source, which an API may have said again."""
    for secret in _secrets(spec, auth):
        text = redact(text, secret)
    return text


def says_a_secret(text: str, spec: Auth) -> bool:
    """True if a text that is whole has a secret in it."""
    return any(contains_secret(text, secret) for secret in _secrets(spec, None))


def _secrets(spec: Auth, auth: httpx.Auth | None) -> list[str]:
    """The longest first: one may be a part of another."""
    values = [getattr(spec, name, None) for name in _SECRETS]
    secrets = [value for value in values if isinstance(value, SecretStr)]
    for name in _OF_SECRETS:
        secrets += getattr(spec, name, {}).values()
    found = {secret.get_secret_value() for secret in secrets}
    found |= auth.secrets if isinstance(auth, TokenAuth) else {str(getattr(auth, "token", ""))}
    if isinstance(spec, BasicAuth):
        both = f"{spec.username}:{spec.password.get_secret_value()}"
        found.add(b64encode(both.encode()).decode())
    if isinstance(spec, ClientCredentialsAuth | RefreshTokenAuth):
        found.add(client_in_header(spec))
    return sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True)


def _for_header(value: str, what: str) -> str:
    """The value, if a header can carry it.

    :raises ConfigError: it can't; without the value, which httpx's own error would name.
    """
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"auth: {what} has a line break or a letter beyond ASCII, which no header can carry: "
            "is it copied right?"
        )
    return value


class KeyAuth(httpx.Auth):
    """A key in a header or a query parameter."""

    def __init__(self, spec: ApiKeyAuth) -> None:
        self._spec = spec
        self._key = spec.key.get_secret_value() if spec.key else ""
        if spec.place == "header":
            _for_header(spec.prefix + self._key, "the key")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        key = self._key
        if key and self._spec.place == "header":
            request.headers[self._spec.name] = self._spec.prefix + key
        elif key:
            request.url = _with(request.url, self._spec.name, key)
        yield request


def _with(url: httpx.URL, name: str, value: str) -> httpx.URL:
    """The URL with one parameter more; the others stay as they are written."""
    parts = [without_param(url.query.decode("ascii"), name), query_of([(name, value)])]
    return url.copy_with(query="&".join(filter(None, parts)).encode("ascii"))


class BearerAuth(httpx.Auth):
    """A fixed token."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = _for_header(token.get_secret_value(), "the token") if token else ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _ids(spec: ClientCredentialsAuth) -> Mapping[str, str]:
    header = spec.client_id_header
    return {header: _for_header(spec.client_id.get_secret_value(), "client_id")} if header else {}


def _custom(spec: CustomAuth) -> httpx.Auth:
    module, _, name = spec.path.partition(":")
    options = {key: value.get_secret_value() for key, value in spec.options.items()}
    try:
        made = getattr(importlib.import_module(module), name)(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"auth.path {spec.path!r} can't be used: {type(error).__name__}: expected an "
            "importable subclass of httpx.Auth that takes the options"
        ) from None
    if not isinstance(made, httpx.Auth):
        raise ConfigError(f"auth.path {spec.path!r} is not a subclass of httpx.Auth")
    return made
