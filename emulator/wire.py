"""Below HTTP: sending replies, whole or broken off, and closing connections hard.

uvicorn hides its transports, so the protocol class here remembers them by the client's
address, which no two live connections share.
"""

import asyncio
import contextlib
import socket
import struct
import zlib
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from emulator.faults import FaultKind
from emulator.reply import Reply

CHUNK_BYTES = 262_144
GZIP_FROM_BYTES = 1_000
SETTLE_S = 0.05
"""Long enough for what was written to reach a client on the same machine."""

_transports: dict[tuple[str, int], asyncio.Transport] = {}


class Protocol(H11Protocol):
    """uvicorn's, with its transport within reach, and answers that leave at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock: Any = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.client is not None:
            _transports[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            _transports.pop(self.client, None)
        super().connection_lost(exc)


async def send_reply(reply: Reply, send: Send, *, gzip: bool) -> int:
    """Send it whole; how many bytes the body took. Returns when nearly all of it has left."""
    body, headers = await _encode(reply, gzip=gzip)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    for start in range(0, max(1, len(body)), CHUNK_BYTES):
        chunk = body[start : start + CHUNK_BYTES]
        more = start + CHUNK_BYTES < len(body)
        await send({"type": "http.response.body", "body": chunk, "more_body": more})
    return len(body)


async def send_broken(
    kind: FaultKind, stall_s: float, reply: Reply, scope: Scope, receive: Receive, send: Send
) -> None:
    """Carry out one of the faults on the wire."""
    client = scope["client"]
    transport = _transports[(client[0], client[1])]
    if kind in ("drop", "reset"):
        _close(transport, hard=kind == "reset")
        return
    body, headers = await _encode(reply, gzip=False)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    half = body[: len(body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    if kind == "stall":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stall_s):
                while (await receive())["type"] != "http.disconnect":
                    pass
    else:
        await asyncio.sleep(SETTLE_S)
    _close(transport, hard=kind == "reset_mid_body")


def _close(transport: asyncio.Transport, *, hard: bool) -> None:
    if hard:
        sock: Any = transport.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


async def _encode(reply: Reply, *, gzip: bool) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    body = reply.body
    headers = [(b"content-type", reply.content_type), *reply.headers]
    if gzip and len(body) >= GZIP_FROM_BYTES:
        body = await asyncio.to_thread(zlib.compress, body, 1, 31)
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", str(len(body)).encode()))
    return body, headers
