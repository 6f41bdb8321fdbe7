"""The base of every kind of auth, the registry of the kinds, and the origin that credentials are
for.

The origin of a URL is its scheme, host and port. Credentials never leave that of ``base_url``, and
those of the endpoints that have a ``base_url`` of their own.
Hosts are compared as they are sent: an international name and its ASCII form are one, and so are a
scheme's own port and none.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import httpx

from pipeline.errors import ConfigError, ContractBroken
from pipeline.kinds import Kinds
from pipeline.model import Model, fits_header
from pipeline.redaction import contains_piece, contains_secret, redact, secrets_in

FOR_TOKENS: Final = "headrace.for_tokens"
"""The extension of a request that goes to the token endpoint, and not to the API: a function that
is called with the error if no response comes."""
SIGN: Final = "headrace.sign"
"""The extension of a request that is signed once more when it leaves: it may have waited for its
send slot for longer than its token lives."""
SIGNED_BY: Final = "headrace.signed_by"
"""The extension of a request that a token of the run has signed: its ``messages.TokenUse``."""


@dataclass(frozen=True)
class AuthContext:
    """The run, as far as its auth needs it.

    :ivar clock: seconds that only grow, by which tokens run out.
    :ivar first_wait_s: how long a token endpoint that failed is left alone; each further time in a
        row is twice as long, up to ``max_wait_s``.
    :ivar retry_after_s: reads the wait that a response's headers name; None if they name none.
    :ivar waits_for_turn: what a wait for a token is done in, as it is no time of the request's own.
    """

    clock: Callable[[], float] = time.monotonic
    first_wait_s: float = 0.5
    max_wait_s: float = 30.0
    retry_after_s: Callable[[Mapping[str, str]], float | None] = lambda headers: None
    waits_for_turn: Callable[[], AbstractContextManager[None]] = nullcontext


class Auth(Model):
    """The credentials of a source: the model of its YAML under ``auth``, and what signs requests.

    A kind is one class in one file. Whatever must not be shown is a ``SecretStr``: it is then
    redacted in each text, and the budget of the API is named by it, with nothing more to do. A kind
    that sends a key and the hour that it is used in:

        from collections.abc import Generator
        from datetime import UTC, datetime
        from typing import Literal

        import httpx
        from pydantic import Field, SecretStr

        from pipeline.auth.base import AUTH, Auth, AuthContext, for_header


        @AUTH.register("key_of_the_hour")
        class KeyOfTheHour(Auth):
            '''A key with the hour, in UTC, in the header ``X-Key``.'''

            kind: Literal["key_of_the_hour"]
            key: SecretStr = Field(description="the key, a setting")

            def make(self, context: AuthContext) -> httpx.Auth:
                return HourSigner(for_header(self.key.get_secret_value(), "auth.key"))


        class HourSigner(httpx.Auth):
            def __init__(self, key: str) -> None:
                self._key = key

            def auth_flow(
                self, request: httpx.Request
            ) -> Generator[httpx.Request, httpx.Response, None]:
                request.headers["X-Key"] = f"{self._key}-{datetime.now(UTC):%H}"
                yield request

    The YAML is then ``auth: {kind: key_of_the_hour, key: "${SHOP_KEY}"}``. A signer that gets
    secrets during a run has them in ``secrets``, a set of texts, or ``token``.
    """

    kind: str

    def make(self, context: AuthContext) -> httpx.Auth:
        """The signer of the requests of one run.

        :raises ConfigError: the credentials can't be sent as they are.
        """
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """The text that tells two users of the API apart; the budget's name is a digest of it.

        Empty: everybody is the same to the API. A kind that has a public name of the user gives
        that, so that the budget stays when the secret is exchanged.
        """
        secrets = secrets_in(self)
        if len(secrets) == 1:
            return next(iter(secrets.values()))
        return "|".join(f"{name}={value}" for name, value in secrets.items())

    @property
    def is_anonymous(self) -> bool:
        """True if no secret is set: a request says nothing of who sends it."""
        return not any(secrets_in(self).values())

    @property
    def derived_secrets(self) -> Iterable[str]:
        """Texts that are as secret as what they are made of, such as Basic's base64."""
        return ()

    @property
    def url_parameter(self) -> str | None:
        """The query parameter that carries a secret, which no URL may be kept with."""
        return None

    @property
    def token_host(self) -> str | None:
        """The host of the token endpoint, if tokens are fetched from one."""
        return None


class Secrets:
    """The secrets of one source: those of its YAML, and the tokens that came during the run."""

    def __init__(
        self, auth: Auth, signer: httpx.Auth | None = None, others: Iterable[str] = ()
    ) -> None:
        """:param others: secrets of the source that are not of its auth."""
        self._fixed = frozenset(secrets_in(auth).values()).union(auth.derived_secrets, others)
        self._signer = signer

    @property
    def known(self) -> frozenset[str]:
        """All of them, as of now."""
        return self._fixed.union(signer_secrets(self._signer))

    def are_in(self, text: str) -> bool:
        """True if a text has one of them, in whatever spelling."""
        return contains_secret(text, self.known)

    def are_partly_in(self, text: str) -> bool:
        """True if a text has a piece of one of them, which may also be there by chance."""
        return contains_piece(text, self.known)

    def redacted(self, text: str, *, withheld: str = "***") -> str:
        """The text with stars in place of each.

        :param withheld: what is said instead if one is there in an odd spelling.
        """
        return redact(text, self.known, withheld=withheld)


def signer_secrets(signer: httpx.Auth | None) -> Iterator[str]:
    """What a signer has got and must not be shown; it may be a class of the user's."""
    yield from getattr(signer, "secrets", ())
    yield str(getattr(signer, "token", ""))


AUTH: Final[Kinds[Auth]] = Kinds("auth", Auth)


def for_header(value: str, name: str) -> str:
    """The value, if a header can carry it.

    :param name: of the setting, for the message.
    :raises ConfigError: a header can't; without the value, which httpx's own error would name.
    """
    if not fits_header(value):
        raise ConfigError(
            f"`{name}` has a line break or a letter beyond ASCII, which no header can carry. Check "
            "that it is copied right."
        )
    return value


MAX_URL_CHARS: Final = 65_536
"""Of a URL; httpx builds no longer one."""
_ENDS: Final = ("/", "?", "")
NO_URL: Final = "the next page's link is no URL: expected http(s)://… without a user in it"


def origin_of(url: str) -> str:
    """The origin of an absolute URL, such as ``https://api.example:443``.

    :raises ContractBroken: the text is no absolute URL of HTTP.
    """
    if len(url) > MAX_URL_CHARS:
        raise ContractBroken(
            f"the next page's link has {len(url):,} characters, expected at most {MAX_URL_CHARS:,}"
        )
    try:
        parts = httpx.URL(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        host = parts.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ContractBroken(NO_URL) from None
    if not host or port is None or parts.userinfo:
        raise ContractBroken(NO_URL)
    return f"{parts.scheme}://{host}:{port}"


def check_origin(url: str, base_url: str, *others: str) -> None:
    """Refuse to send credentials elsewhere.

    :param base_url: of the source; the origin of it is where they may go.
    :param others: the addresses of endpoints that have one of their own: there, too.
    :raises ContractBroken: the URL leads to another scheme, host or port, or is none.
    """
    for base in (base_url, *others):
        start = base.rstrip("/")
        tail = url[len(start) : len(start) + 1]
        if len(url) <= MAX_URL_CHARS and url.startswith(start) and tail in _ENDS:
            return  # the host ends where that of the address does
    origin, expected = origin_of(url), origin_of(base_url)
    if origin != expected and origin not in map(origin_of, others):
        raise ContractBroken(
            f"the next page's link leads to {origin}, expected {expected}: it is not followed, "
            "since the credentials would go there. Check: 1. `base_url`: whether it is the address "
            "that the API writes into its links; 2. whether the page has the token of that link, "
            "too: `paging: {kind: token, next: …}`"
        )
