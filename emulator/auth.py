"""Twitch's client-credentials tokens: minted, expired, revoked."""

import secrets
from collections.abc import Callable, Mapping

import orjson

from emulator.reply import Reply
from emulator.settings import EmulatorSettings

MAX_LIVE_TOKENS = 25

_UNAUTHORIZED = {
    "message": "Authorization Failure. Have you tried:",
    "Tip 1": "Ensure you are sending Authorization and Client-ID as headers.",
    "Tip 2": "Ensure Authorization value starts with 'Bearer ', including the space",
    "Tip 3": "Ensure Authorization value ends with the App Access Token you generated, NOT your "
    "Client Secret.",
    "Docs": "https://api-docs.igdb.com/#authentication",
    "Discord": "https://discord.gg/JKsh7ZM2Wb",
}


def unauthorized() -> Reply:
    """IGDB's answer to a missing, wrong or expired token."""
    return Reply(401, orjson.dumps(_UNAUTHORIZED))


class Tokens:
    """The live tokens of the one known app. `clock` is in seconds."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        settings: EmulatorSettings,
        clock: Callable[[], float],
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._settings = settings
        self._clock = clock
        self._expiry: dict[str, float] = {}
        self.minted = 0

    def grant(self, form: Mapping[str, str]) -> Reply:
        """The answer to a token request."""
        for name in ("client_id", "client_secret", "grant_type"):
            if not form.get(name):
                return _refused(400, f"missing {name.replace('_', ' ')}")
        if form["client_id"] != self._client_id:
            return _refused(400, "invalid client")
        if form["grant_type"] != "client_credentials":
            return _refused(400, "invalid grant type")
        if form["client_secret"] != self._client_secret:
            return _refused(403, "invalid client secret")
        granted = {
            "access_token": self.mint(),
            "expires_in": int(self._settings.expires_in_s),
            "token_type": "bearer",
        }
        return Reply(200, orjson.dumps(granted))

    def mint(self) -> str:
        """A new token; the oldest die so that no more than 25 live."""
        now = self._clock()
        self._expiry = {token: end for token, end in self._expiry.items() if end > now}
        while len(self._expiry) >= MAX_LIVE_TOKENS:
            del self._expiry[next(iter(self._expiry))]
        token = secrets.token_hex(15)
        self._expiry[token] = now + self._settings.expires_in_s
        self.minted += 1
        return token

    def allows(self, client_id: str | None, authorization: str | None) -> bool:
        """Whether both headers are there and right; `Bearer` with a capital B."""
        scheme, _, token = (authorization or "").partition(" ")
        if client_id != self._client_id or scheme != "Bearer":
            return False
        return self._expiry.get(token, 0.0) > self._clock()

    def revoke(self, token: str | None = None) -> int:
        """Kill one token, or all; how many died."""
        doomed = list(self._expiry) if token is None else [token]
        return sum(self._expiry.pop(each, None) is not None for each in doomed)


def _refused(status: int, message: str) -> Reply:
    return Reply(status, orjson.dumps({"status": status, "message": message}))
