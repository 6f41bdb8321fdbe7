"""HTTP's Basic authentication (RFC 7617): a name and a password."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Literal

import httpx
from pydantic import SecretStr

from pipeline.auth.base import AUTH, Auth, AuthContext


@AUTH.register("basic")
class BasicAuth(Auth):
    kind: Literal["basic"]
    username: str
    password: SecretStr

    def make(self, context: AuthContext) -> httpx.Auth:
        return httpx.BasicAuth(self.username, self.password.get_secret_value())

    @property
    def identity(self) -> str:
        return self.username

    @property
    def derived_secrets(self) -> Iterable[str]:
        both = f"{self.username}:{self.password.get_secret_value()}"
        return (b64encode(both.encode()).decode(),)
