"""OAuth2's grants (RFC 6749) that need no browser: client credentials, and a refresh token.

Secrets go into the body, or into a header; never into a URL.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Final, Literal
from urllib.parse import quote_plus

import httpx
from pydantic import Field, SecretStr, model_validator

from pipeline.auth.base import AUTH, Auth, AuthContext, Secrets, for_header
from pipeline.auth.token_auth import TokenAuth, TokenGrant, token_request
from pipeline.auth.token_file import TokenFile
from pipeline.model import HeaderName, HostUrl

_CHECK_CLIENT: Final = (
    "Check: 1. `auth.client_id` and `auth.client_secret`; 2. that the request is as the API's docs "
    "say (`auth.client_auth`, `auth.scope`, `auth.params`)."
)
_CHECK_REFRESH: Final = (
    "Check `auth.refresh_token`, `auth.client_id` and `auth.client_secret`. An endpoint that gives "
    "a new refresh token at each renewal accepts the old one no more: an earlier run may have used "
    "it: sign in anew, and set `auth.token_folder`, which keeps the new ones."
)
_CHECK_KEPT: Final = (
    "Check: 1. `auth.client_id` and `auth.client_secret`; 2. that nobody else uses this refresh "
    "token; 3. sign in anew at the API and set `auth.refresh_token`: what `auth.token_folder` "
    "keeps of the old one is passed over then."
)


class OAuth2(Auth):
    """The common part of RFC 6749's grants. The secret is never in a URL."""

    token_url: HostUrl = Field(description="where a token is had")
    scope: str | None = Field(None, description="of the token")
    params: dict[str, SecretStr] = Field(
        {},
        description="members of the form beside those of the RFC, e.g. audience; a grant_type here "
        "is sent in place of the kind's own",
    )
    client_auth: Literal["body", "basic"] = Field(
        "body", description="where the client's id and secret go (RFC 6749, 2.3.1)"
    )
    renew_before_s: float = Field(
        60.0, ge=0, description="before it runs out; at most half of its life"
    )
    client_id: SecretStr | None = Field(None, description="the id of the client, a setting")
    client_secret: SecretStr | None = Field(None, description="the secret of the client, a setting")

    @property
    def identity(self) -> str:
        return self.client_id.get_secret_value() if self.client_id else super().identity

    @property
    def derived_secrets(self) -> Iterable[str]:
        basic = self._client_in_header
        return (basic,) if basic else ()

    @property
    def token_host(self) -> str | None:
        return httpx.URL(self.token_url).host

    @property
    def _client_in_header(self) -> str:
        """The client's id and secret, as they go into a header (RFC 6749, 2.3.1); empty if not."""
        if self.client_auth != "basic" or self.client_id is None or self.client_secret is None:
            return ""
        both = (self.client_id, self.client_secret)
        text = ":".join(quote_plus(value.get_secret_value()) for value in both)
        return b64encode(text.encode()).decode()

    def _form(self, of_kind: Mapping[str, str]) -> httpx.Request:
        client = {"client_id": self.client_id, "client_secret": self.client_secret}
        basic = self._client_in_header
        credentials = {} if basic else {name: value for name, value in client.items() if value}
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        scope = {"scope": self.scope} if self.scope else {}
        form = {**_revealed(credentials), **of_kind, **scope, **_revealed(self.params)}
        return token_request(self.token_url, data=form, headers=headers)


@AUTH.register("oauth2_client_credentials")
class ClientCredentialsAuth(OAuth2):
    """OAuth2 client credentials (RFC 6749, 4.4)."""

    kind: Literal["oauth2_client_credentials"]
    client_id: SecretStr = Field(description="the id of the client, a setting")
    client_secret: SecretStr = Field(description="the secret of the client, a setting")
    client_id_header: HeaderName | None = Field(
        None, description="a header that carries the client id as well (IGDB: Client-ID)"
    )

    def make(self, context: AuthContext) -> httpx.Auth:
        grant = TokenGrant(
            lambda _: self._form({"grant_type": "client_credentials"}), Secrets(self), _CHECK_CLIENT
        )
        name, value = self.client_id_header, self.client_id.get_secret_value()
        extra = {name: for_header(value, "auth.client_id")} if name else {}
        return TokenAuth(grant, self.renew_before_s, context, extra)


@AUTH.register("oauth2_refresh_token")
class RefreshTokenAuth(OAuth2):
    """OAuth2 refresh token (RFC 6749, 6). One that comes in its place outlives the run in
    ``token_folder`` only.
    """

    kind: Literal["oauth2_refresh_token"]
    refresh_token: SecretStr = Field(description="the refresh token, a setting")
    token_folder: str | None = Field(
        None,
        min_length=1,
        description="a folder of this user alone, for an API that takes each refresh token once: "
        "the next one is kept there, and one process at a time renews",
    )

    @model_validator(mode="after")
    def _basic_has_both(self) -> "RefreshTokenAuth":
        if self.client_auth == "basic" and not (self.client_id and self.client_secret):
            raise ValueError("client_auth: basic needs client_id and client_secret: add them")
        return self

    def make(self, context: AuthContext) -> httpx.Auth:
        file = None
        if self.token_folder is not None:
            of = (self.token_url, self.identity, self.refresh_token.get_secret_value())
            file = TokenFile(self.token_folder, of)
        remedy = _CHECK_REFRESH if file is None else _CHECK_KEPT
        grant = TokenGrant(self._request, Secrets(self), remedy, refreshes=True, file=file)
        return TokenAuth(grant, self.renew_before_s, context)

    def _request(self, newest: str) -> httpx.Request:
        token = newest or self.refresh_token.get_secret_value()
        return self._form({"grant_type": "refresh_token", "refresh_token": token})

    @property
    def identity(self) -> str:
        return (self.client_id or self.refresh_token).get_secret_value()


def _revealed(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}
