"""A login of an API's own, which gives a token that each request carries."""

from typing import Literal

import httpx
from pydantic import Field, SecretStr

from pipeline.auth.base import AUTH, Auth, AuthContext, Secrets
from pipeline.auth.token_auth import TokenAuth, TokenGrant, token_request
from pipeline.model import DottedPath, HeaderName, HeaderText, HostUrl, split_path


@AUTH.register("login")
class LoginAuth(Auth):
    """A login that gives a token, which every request carries until the API takes it no more."""

    kind: Literal["login"]
    token_url: HostUrl = Field(description="where to log in, by POST")
    body: dict[str, SecretStr] = Field(
        min_length=1, description="what is sent, as a JSON object, e.g. username and password"
    )
    token_at: DottedPath = Field("token", description="where the token is in the response")
    name: HeaderName = Field("Authorization", description="the header that carries it")
    prefix: HeaderText = Field("Bearer ", description="put before the token")
    lifetime_s: float = Field(
        3600.0, gt=0, description="a new one is requested after it, and on a 401"
    )
    renew_before_s: float = Field(
        60.0, ge=0, description="before it runs out; at most half of its life"
    )

    def make(self, context: AuthContext) -> httpx.Auth:
        grant = TokenGrant(
            self._request,
            Secrets(self),
            f"Check {', '.join(f'`auth.body.{name}`' for name in self.body)} and `auth.token_at`.",
            token_at=split_path(self.token_at),
            name=self.name,
            prefix=self.prefix,
            lifetime_s=self.lifetime_s,
        )
        return TokenAuth(grant, self.renew_before_s, context.clock)

    def _request(self, refresh: str) -> httpx.Request:
        body = {name: value.get_secret_value() for name, value in self.body.items()}
        return token_request(self.token_url, json=body)

    @property
    def token_host(self) -> str | None:
        return httpx.URL(self.token_url).host
