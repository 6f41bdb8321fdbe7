"""A token that does not change, in the header ``Authorization``."""

from typing import Literal

import httpx
from pydantic import Field, SecretStr

from pipeline.auth.api_key import HeaderSigner
from pipeline.auth.base import AUTH, Auth, AuthContext, for_header


@AUTH.register("bearer")
class BearerTokenAuth(Auth):
    """A fixed token. Without one (empty), nothing is sent: some APIs send less then."""

    kind: Literal["bearer"]
    token: SecretStr | None = Field(None, description="the token, a setting")

    def make(self, context: AuthContext) -> httpx.Auth:
        token = self.token.get_secret_value() if self.token else ""
        value = f"Bearer {for_header(token, 'auth.token')}" if token else ""
        return HeaderSigner("Authorization", value)
