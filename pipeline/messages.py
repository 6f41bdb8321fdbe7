"""HTTP requests and responses as the engine passes them on, and bodies as they arrive. Pure.

A request has no credentials: ``pipeline.auth`` puts them in when it is sent. A response has its
whole body, and holds nothing of the connection.

A large body grows where it is, since it is mapped by itself (``runtime``): joining its pieces at
the end would take twice its memory, and the loop's time. A page that is cut out of a batch response
is a view of the body.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol, TypeAlias, TypeVar
from urllib.parse import quote, unquote_plus

Body: TypeAlias = bytes | bytearray | memoryview
LARGE_BYTES: Final = 1_000_000
"""A body of more is large: packs, and pages of over a thousand rows."""


class Incoming:
    """A body that comes in pieces.

    :ivar size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._large: bytearray | None = None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._large is not None:
            self._large += piece
            return
        self._pieces.append(piece)
        if self.size > LARGE_BYTES:
            self._large = bytearray().join(self._pieces)
            self._pieces.clear()

    def whole(self) -> bytes | bytearray:
        return b"".join(self._pieces) if self._large is None else self._large


T = TypeVar("T")


@dataclass(frozen=True)
class CachePolicy:
    """The endpoint whose responses may come from the cache, and how old they may be."""

    endpoint: str
    ttl_s: float


class LateRequest(Protocol):
    """A request whose content is decided when the budget lets it go, and not before."""

    def final(self) -> "HttpRequest":
        """Decide, and give the request to send. Called at each attempt, in its send slot."""

    def close(self) -> None:
        """Take in nothing more. Called as often as one likes."""


@dataclass(frozen=True)
class OperationCall:
    """An operation of AWS in one lane: its sender makes the request of it.

    :ivar rows: where the response has its rows.
    """

    service: str
    operation: str
    account: str
    region: str
    rows: str = ""


@dataclass(frozen=True)
class HttpRequest:
    """A request without credentials.

    :ivar params: the query, in order; a repeated name is a list.
    :ivar endpoint: whose page it is: what a status means may depend on that; not sent.
    :ivar keep: allows the cache to keep the response; not sent.
    :ivar late: gives the request that is sent in place of this one, when the budget lets it go.
    :ivar call: the operation that is called, with ``content`` as its parameters in JSON.
    """

    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    endpoint: str = field(default="", compare=False)
    keep: CachePolicy | None = None
    late: LateRequest | None = None
    call: OperationCall | None = None

    @property
    def whole_url(self) -> str:
        """The URL with its query."""
        query = query_of(self.params)
        return f"{self.url}?{query}" if query else self.url


@dataclass(frozen=True)
class TokenUse:
    """How its signer learns what became of a token that has signed a request.

    :ivar note_dead: the API calls the token dead; True: a retry gets another one.
    :ivar note_accepted: the API has taken the token.
    """

    note_dead: Callable[[], bool]
    note_accepted: Callable[[], None]


@dataclass(frozen=True)
class HttpResponse:
    """A response with its whole body, decompressed. Header names are in lower case.

    :ivar received_at_s: when it came, or the API last confirmed it by a 304; seconds since 1970.
    :ivar latency_s: from when the request left until the headers came; 0 if it is from the cache.
    :ivar left_at: when the request left, on the monotonic clock.
    :ivar waited_slot_s: seconds that the request waited for its send slot; 0 = the quota is free.
    :ivar token: which token of the run signed the request; None: none that is fetched.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    url: str = field(default="", repr=False)
    received_at_s: float = field(kw_only=True)
    latency_s: float = 0.0
    left_at: float = 0.0
    waited_slot_s: float = 0.0
    token: TokenUse | None = field(default=None, compare=False, repr=False)


@dataclass(eq=False)
class RequestCounts:
    """Requests that went out for one partition, and how many of them had to be repeated."""

    requests: int = 0
    throttled: int = 0
    retried: int = 0


Read: TypeAlias = Callable[[HttpResponse], Awaitable[T]]
"""Makes of a response what is wanted of it."""


class Sender(Protocol):
    """Sends a request until its response can be read: the client, or a layer in front of it."""

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """Send a request until ``read`` has read its response.

        :param label: the page in the user's words (``str`` of it), for messages.
        :param sent: counts what goes out.
        :raises Retryable: a later attempt of the step may succeed.
        :raises Permanent: no retry can mend it.
        """
        ...


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """When the API made a response, by its own clock (``Date``; RFC 9110, 6.6.1).

    :param headers: names in lower case.
    :return: None if it does not say.
    """
    return http_date(headers.get("date", ""))


RETRY_AFTER: Final = ("retry-after", "retry-after-ms", "x-ms-retry-after-ms")
"""Headers of a response that say when to come back: RFC 9110's, OpenAI's, Azure's."""


def names_a_wait(headers: Mapping[str, str]) -> bool:
    """Whether a response says when to come back.

    :param headers: names in lower case.
    """
    return any(name in headers for name in RETRY_AFTER)


CONTENT_RANGE: Final = re.compile(r"\s*\w*\s*(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*")
"""A ``Content-Range``: the first and the last row or byte of a response, and how many there are."""


def codings(headers: Mapping[str, str]) -> list[str]:
    """How a body is compressed, by its ``Content-Encoding``; ``identity`` stands for nothing.

    >>> codings({"content-encoding": "identity, gzip"})
    ['gzip']
    """
    names = headers.get("content-encoding", "").lower().split(",")
    return [name for name in map(str.strip, names) if name not in ("", "identity")]


def shows_end(headers: Mapping[str, str]) -> bool:
    """Whether a response shows where its body ends. Else the end of the connection does, and a body
    that is cut short looks like a whole one (RFC 9112, 6.3).

    :param headers: names in lower case.
    """
    in_chunks = "chunked" in headers.get("transfer-encoding", "").lower()
    zipped = headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip")
    return "content-length" in headers or in_chunks or zipped


def http_date(text: str) -> datetime | None:
    """An instant as HTTP writes it (RFC 9110, 5.6.7), in UTC; None if it is none."""
    try:
        instant = parsedate_to_datetime(text)
        return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class RawText(str):
    """A parameter's text that keeps its structure: ``List(urn%3A1,urn%3A2)``, ``{…|raw}``."""


_KEPT_RAW = "!$'()*,;:@/?[]=%"
"""Characters of a ``RawText`` that stay. ``&``, ``#`` and ``+`` would end it, or change it."""


def query_of(params: Iterable[tuple[str, str]]) -> str:
    """The query of a URL, written so that all servers read the same.

    A space is ``%20``: a ``+`` is a space to most servers, and a plus or an error to some (OData).
    """
    return "&".join(
        f"{quote(name, safe='')}={quote(text, safe=_KEPT_RAW if type(text) is RawText else '')}"
        for name, text in params
    )


def without_param(query: str, name: str) -> str:
    """A query without one parameter; the others stay as they are written."""
    return "&".join(p for p in query.split("&") if unquote_plus(p.partition("=")[0]) != name)
