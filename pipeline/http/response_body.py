"""The body of a response as it arrives: bounded, decompressed once, in UTF-8."""

from typing import Final

import httpx

from pipeline.body import Body, Incoming
from pipeline.decode.body_checks import in_utf8
from pipeline.errors import ContractBroken

_EMPTY: Final = httpx.ByteStream(b"")


async def read_body(response: httpx.Response, max_bytes: int, source: str) -> Body:
    """The whole body; afterwards the response holds nothing.

    :raises ContractBroken: it is larger than ``max_bytes``, or compressed more than once.
    """
    try:
        _refuse_layers(response, source)
        body = Incoming()
        async for piece in response.aiter_bytes():
            body.add(piece)
            if body.size > max_bytes:
                raise ContractBroken(
                    f"A response of {source} is larger than {max_bytes:,} bytes. Set fewer rows a "
                    "page (`paging.limit`)."
                )
    finally:
        await response.aclose()
        # The response and its stream hold each other, and the body of a batch, until collected.
        response.stream = _EMPTY
    return in_utf8(body.whole(), response.charset_encoding)


def _refuse_layers(response: httpx.Response, source: str) -> None:
    """One layer of compression is undone bit by bit; of two, 64 KiB could become 60 GiB."""
    if "," in response.headers.get("content-encoding", ""):
        raise ContractBroken(
            f"A response of {source} is compressed more than once. Expected one Content-Encoding."
        )
