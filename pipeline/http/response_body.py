"""The body of an answer, as it comes: with a bound, unpacked once, as UTF-8."""

from typing import Final

import httpx

from pipeline.body import Body, Incoming
from pipeline.decode.body_checks import in_utf8
from pipeline.errors import ContractBroken

_NOTHING: Final = httpx.ByteStream(b"")


async def read_body(response: httpx.Response, most_bytes: int, source: str) -> Body:
    """The whole body; after it the response holds nothing any more.

    :raises ContractBroken: it is larger than ``most_bytes``, or compressed more than once.
    """
    try:
        _refuse_layers(response, source)
        body = Incoming()
        async for piece in response.aiter_bytes():
            body.add(piece)
            if body.size > most_bytes:
                raise ContractBroken(
                    f"an answer of {source} is larger than {most_bytes:,} bytes: ask for fewer "
                    "rows a page (paging.limit)"
                )
    finally:
        await response.aclose()
        # They hold each other, and a pack with its body, until the collector comes.
        response.stream = _NOTHING
    return in_utf8(body.whole(), response.charset_encoding)


def _refuse_layers(response: httpx.Response, source: str) -> None:
    """One layer of compression is undone bit by bit; of two, 64 KiB could become 60 GiB."""
    if "," in response.headers.get("content-encoding", ""):
        raise ContractBroken(
            f"an answer of {source} is compressed more than once: expected one Content-Encoding"
        )
