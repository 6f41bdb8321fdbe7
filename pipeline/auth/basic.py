"""HTTP's Basic authentication (RFC 7617): a name and a password."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import httpx
from pydantic import BeforeValidator, Field, SecretStr

from pipeline.auth.base import AUTH, Auth, AuthContext


def _or_none(value: Any) -> Any:
    """A setting that is empty is None."""
    return "" if value is None else value


@AUTH.register("basic")
class BasicAuth(Auth):
    kind: Literal["basic"]
    username: str = Field(description="a name, or a key")
    password: Annotated[SecretStr, BeforeValidator(_or_none)] = Field(
        description="may be empty (`${X:-}`), where the name is a key (Stripe)"
    )

    def make(self, context: AuthContext) -> httpx.Auth:
        return httpx.BasicAuth(self.username, self.password.get_secret_value())

    @property
    def identity(self) -> str:
        return self.username

    @property
    def derived_secrets(self) -> Iterable[str]:
        password = self.password.get_secret_value()
        both = b64encode(f"{self.username}:{password}".encode()).decode()
        return (both,) if password else (both, self.username)
