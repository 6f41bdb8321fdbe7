"""Who asks: the ways in which an API is told the credentials."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from pipeline.model import DottedPath, HeaderText, HostUrl, Model


class NoAuth(Model):
    kind: Literal["none"] = "none"


class ApiKeyAuth(Model):
    """A key in a header or a query parameter. Without a key (empty), nothing is sent."""

    kind: Literal["api_key"]
    place: Literal["header", "query"] = "header"
    name: str
    key: SecretStr | None = None
    prefix: str = Field("", description="put before the key, e.g. 'Token '")


class BasicAuth(Model):
    kind: Literal["basic"]
    username: str
    password: SecretStr


class BearerTokenAuth(Model):
    """A fixed token. Without one (empty), nothing is sent: some APIs answer less then."""

    kind: Literal["bearer"]
    token: SecretStr | None = None


class OAuth2(Model):
    """What the ways to a token of RFC 6749 have in common. The secret is never in a URL."""

    token_url: HostUrl
    scope: str | None = None
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


class ClientCredentialsAuth(OAuth2):
    """OAuth2 client credentials (RFC 6749, 4.4)."""

    kind: Literal["oauth2_client_credentials"]
    client_id: SecretStr
    client_secret: SecretStr
    client_id_header: str | None = Field(
        None, description="a header that carries the client id as well (IGDB: Client-ID)"
    )


class RefreshTokenAuth(OAuth2):
    """OAuth2 refresh token (RFC 6749, 6). One that comes in its place does not outlive the run."""

    kind: Literal["oauth2_refresh_token"]
    refresh_token: SecretStr
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _basic_has_both(self) -> "RefreshTokenAuth":
        if self.client_auth == "basic" and not (self.client_id and self.client_secret):
            raise ValueError("client_auth: basic needs client_id and client_secret: add them")
        return self


class LoginAuth(Model):
    """A login that gives a token, which every request carries until the API takes it no more."""

    kind: Literal["login"]
    token_url: HostUrl = Field(description="where to log in, by POST")
    body: dict[str, SecretStr] = Field(
        min_length=1, description="what is sent, as a JSON object, e.g. username and password"
    )
    token_at: DottedPath = Field("token", description="where the token is in the answer")
    name: HeaderText = Field("Authorization", description="the header that carries it")
    prefix: HeaderText = Field("Bearer ", description="put before the token")
    lifetime_s: float = Field(
        3600.0, gt=0, description="a new one is asked for after it, and on a 401"
    )
    renew_before_s: float = Field(
        60.0, ge=0, description="before it runs out; at most half of its life"
    )


class CustomAuth(Model):
    """A class of the user's own, a subclass of ``httpx.Auth``, by import path."""

    kind: Literal["python"]
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:Class")
    options: dict[str, SecretStr] = {}


Auth = Annotated[
    NoAuth
    | ApiKeyAuth
    | BasicAuth
    | BearerTokenAuth
    | ClientCredentialsAuth
    | RefreshTokenAuth
    | LoginAuth
    | CustomAuth,
    Field(discriminator="kind"),
]
