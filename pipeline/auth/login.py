"""A login of an API's own, which gives a token that each request carries."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import httpx
from pydantic import Field, SecretStr, model_validator

from pipeline.auth.base import AUTH, Auth, AuthContext, Secrets, for_header
from pipeline.auth.token_auth import TokenAuth, TokenGrant, token_request
from pipeline.model import DottedPath, HeaderName, HeaderText, HostUrl, split_path

_PARTS = ("body", "form", "params", "headers")


@AUTH.register("login")
class LoginAuth(Auth):
    """A login that gives a token, which every request carries until the API takes it no more."""

    kind: Literal["login"]
    token_url: HostUrl = Field(description="where to log in")
    method: Literal["POST", "GET"] = Field("POST", description="of the login")
    body: dict[str, SecretStr] = Field(
        {}, description="what is sent, as a JSON object, e.g. username and password"
    )
    form: dict[str, SecretStr] = Field({}, description="what is sent, as a form")
    params: dict[str, SecretStr] = Field(
        {},
        description="what is sent in the URL, for an API that reads it nowhere else: logs of "
        "servers on the way show it",
    )
    headers: dict[HeaderName, SecretStr] = Field({}, description="what is sent in headers")
    username: SecretStr | None = Field(None, description="with password: HTTP's Basic")
    password: SecretStr | None = Field(None, description="with username")
    token_at: DottedPath = Field("token", description="where the token is in the response")
    name: HeaderName = Field("Authorization", description="the header that carries it")
    prefix: HeaderText = Field("Bearer ", description="put before the token")
    lifetime_s: float = Field(
        3600.0, gt=0, description="a new one is requested after it, and on a 401"
    )
    renew_before_s: float = Field(
        60.0, ge=0, description="before it runs out; at most half of its life"
    )

    @model_validator(mode="after")
    def _says_who(self) -> "LoginAuth":
        """:raises ValueError: the parts of the login don't fit each other."""
        if self.password is not None and self.username is None:
            raise ValueError("`password` without `username`: add it")
        if self.body and self.form:
            raise ValueError("a login has a `body` or a `form`: take one of them out")
        if self.method == "GET" and (self.body or self.form):
            raise ValueError("`method: GET` sends no `body` and no `form`: use `params` or POST")
        if self.method == "POST" and not any(self._named):
            raise ValueError(
                "the login has no user and no password: add `body`, `form`, `params`, `headers`, "
                "or `username` and `password`"
            )
        return self

    @property
    def _named(self) -> Iterator[str]:
        """The keys of what the login sends, as the YAML has them."""
        for part in _PARTS:
            yield from (f"`auth.{part}.{name}`" for name in getattr(self, part))
        yield from ("`auth.username`", "`auth.password`") if self.username is not None else ()

    def make(self, context: AuthContext) -> httpx.Auth:
        for name, value in self._sent_headers.items():
            for_header(value, f"auth.headers.{name}")
        grant = TokenGrant(
            self._request,
            Secrets(self),
            f"Check {', '.join(self._named) or '`auth.token_url`'} and `auth.token_at`.",
            token_at=split_path(self.token_at),
            name=self.name,
            prefix=self.prefix,
            lifetime_s=self.lifetime_s,
        )
        return TokenAuth(grant, self.renew_before_s, context)

    def _request(self, refresh: str) -> httpx.Request:
        arguments: dict[str, Any] = {}
        if self.body:
            arguments["json"] = _revealed(self.body)
        if self.form:
            arguments["data"] = _revealed(self.form)
        if self.params:
            url_params = httpx.URL(self.token_url).params
            arguments["params"] = url_params.merge(_revealed(self.params))
        return token_request(self.token_url, self._sent_headers, self.method, **arguments)

    @property
    def _sent_headers(self) -> dict[str, str]:
        basic = {"Authorization": f"Basic {self._basic}"} if self._basic else {}
        return basic | _revealed(self.headers)

    @property
    def _basic(self) -> str:
        if self.username is None:
            return ""
        password = self.password.get_secret_value() if self.password else ""
        return b64encode(f"{self.username.get_secret_value()}:{password}".encode()).decode()

    @property
    def derived_secrets(self) -> Iterable[str]:
        return (self._basic,) if self._basic else ()

    @property
    def token_host(self) -> str | None:
        return httpx.URL(self.token_url).host


def _revealed(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}
