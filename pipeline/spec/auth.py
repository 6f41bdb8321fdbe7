"""Who asks: the ways in which an API is told the credentials."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from pipeline.spec.model import HostUrl, Model


class NoAuth(Model):
    kind: Literal["none"] = "none"


class ApiKey(Model):
    """A key in a header or a query parameter. Without a key (empty), nothing is sent."""

    kind: Literal["api_key"]
    place: Literal["header", "query"] = "header"
    name: str
    key: SecretStr | None = None
    prefix: str = Field("", description="put before the key, e.g. 'Token '")


class Basic(Model):
    kind: Literal["basic"]
    username: str
    password: SecretStr


class Bearer(Model):
    """A fixed token. Without one (empty), nothing is sent: some APIs answer less then."""

    kind: Literal["bearer"]
    token: SecretStr | None = None


class ClientCredentials(Model):
    """OAuth2 client credentials (RFC 6749, 4.4), the secret in the form body, never in a URL."""

    kind: Literal["oauth2_client_credentials"]
    token_url: HostUrl
    client_id: SecretStr
    client_secret: SecretStr
    scope: str | None = None
    client_id_header: str | None = Field(
        None, description="a header that carries the client id as well (IGDB: Client-ID)"
    )
    renew_before_s: float = Field(60.0, ge=0)


class RefreshToken(Model):
    """OAuth2 refresh token (RFC 6749, 6). One that comes in its place does not outlive the run."""

    kind: Literal["oauth2_refresh_token"]
    token_url: HostUrl
    refresh_token: SecretStr
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    renew_before_s: float = Field(60.0, ge=0)


class CustomAuth(Model):
    """A class of the user's own, a subclass of ``httpx.Auth``, by import path."""

    kind: Literal["python"]
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:Class")
    options: dict[str, SecretStr] = {}


Auth = Annotated[
    NoAuth | ApiKey | Basic | Bearer | ClientCredentials | RefreshToken | CustomAuth,
    Field(discriminator="kind"),
]
