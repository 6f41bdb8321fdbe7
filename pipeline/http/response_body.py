"""The body of a response: bounded, decompressed once, in UTF-8."""

import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

import httpx

from pipeline.decode.body_checks import BadBody, CutShort, OtherFormat, in_utf8
from pipeline.errors import ContractBroken
from pipeline.messages import Body, HttpRequest, Incoming, codings

_EMPTY: Final = httpx.ByteStream(b"")
_PIECE_BYTES: Final = 2**20
_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class BodyLimit:
    """How long a body of a source may be, as it comes and decompressed."""

    source: str
    max_bytes: int

    def check(self, size: int) -> None:
        """:raises ContractBroken: so many bytes are too many."""
        if size > self.max_bytes:
            raise ContractBroken(
                f"A response of {self.source} is larger than {self.max_bytes:,} bytes. Set fewer "
                "rows a page (`paging.limit`), or allow more (`limits.max_body_mb`)."
            )


class MalformedBodies:
    """The bodies that are broken in their middle, by the requests that they came to."""

    def __init__(self) -> None:
        self._exchanges: set[tuple[str, bytes | None, bytes]] = set()

    def came_before(self, request: HttpRequest, body: Body) -> bool:
        """Whether the same request had the same body before; from now on it has had it."""
        exchange = request.whole_url, request.content, sha256(body).digest()
        is_known = exchange in self._exchanges
        self._exchanges.add(exchange)
        return is_known


async def read_body(response: httpx.Response, raw: Body, limit: BodyLimit) -> Body:
    """The whole body, decompressed; afterwards the response holds nothing.

    :param raw: the body as it came.
    :raises ContractBroken: it is too long, or compressed more than once.
    :raises BadBody: it is not compressed as its header says, or not to its end.
    """
    try:
        charset = charset_of(response.headers.get("content-type", ""))
        if "content-encoding" not in response.headers:
            return in_utf8(raw, charset)
        _refuse_layers(response, limit.source)
        body = Incoming()
        try:
            async for piece in _pieces(response):
                body.add(piece)
                limit.check(body.size)
        except httpx.DecodingError as error:
            raise _not_as_said(response, body.size, error) from None
    finally:
        await response.aclose()
        # The response and its stream hold each other, and the body of a batch, until collected.
        response.stream, response.extensions = _EMPTY, {}
    return in_utf8(body.whole(), charset)


@lru_cache(maxsize=256)
def charset_of(content_type: str) -> str | None:
    """The charset that a ``Content-Type`` names, as httpx reads it: once for all pages."""
    return httpx.Response(200, headers=[(b"Content-Type", content_type.encode())]).charset_encoding


def _not_as_said(response: httpx.Response, read_bytes: int, error: httpx.DecodingError) -> BadBody:
    """The error of a body that can't be decompressed.

    :param read_bytes: so many could be.
    """
    encoding = response.headers.get("content-encoding", "")
    if read_bytes or "ends early" in str(error):
        return CutShort(f"the {encoding} of the body is damaged or ends early ({error})")
    return OtherFormat(
        f"`Content-Encoding` is {encoding[:60]!r}, and the body is not compressed so ({error}). "
        "Check: 1. a proxy or a cache between; 2. `headers: {Accept-Encoding: identity}`, which "
        "asks for no compression"
    )


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body in pieces, decompressed: by httpx, but for gzip, of which httpx reads one member.

    :raises httpx.DecodingError: the body is not compressed as its header says.
    """
    if codings(response.headers) not in (["gzip"], ["x-gzip"]):
        async for piece in response.aiter_bytes():
            yield piece
        return
    members = GzipMembers()
    try:
        async for packed in response.aiter_raw():
            for piece in members.pieces(packed):
                yield piece
        members.end()
    except zlib.error as error:
        raise httpx.DecodingError(str(error), request=response.request) from None


class GzipMembers:
    """A gzip of one or several members (RFC 1952, 2.2), in pieces of bounded size."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """The content of the next bytes. :raises zlib.error: they are no gzip."""
        while packed:
            if self._member.eof:
                packed = packed.lstrip(b"\0")  # some writers fill the last block up
                if not packed:
                    return
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            if piece := self._member.decompress(packed, _PIECE_BYTES):
                yield piece
            packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            while not packed and not self._member.eof:
                piece = self._member.decompress(b"", _PIECE_BYTES)
                if not piece:
                    break
                yield piece

    def end(self) -> None:
        """:raises zlib.error: the last member is cut short."""
        if self._begun and not self._member.eof:
            raise zlib.error("the gzip ends early")


def _refuse_layers(response: httpx.Response, source: str) -> None:
    """Refuse two layers of compression: 64 KiB could become 60 GiB. One is undone bit by bit."""
    if len(names := codings(response.headers)) > 1:
        raise ContractBroken(
            f"A response of {source} is compressed more than once ({', '.join(names)[:60]}), "
            "expected once. Check: 1. a proxy or a cache between; 2. `headers: {Accept-Encoding: "
            "identity}`, which asks for no compression"
        )
