"""No credentials: the API is open to everybody."""

from typing import Literal

import httpx

from pipeline.auth.base import AUTH, Auth, AuthContext


@AUTH.register("none")
class NoAuth(Auth):
    kind: Literal["none"] = "none"

    def make(self, context: AuthContext) -> httpx.Auth:
        return httpx.Auth()
