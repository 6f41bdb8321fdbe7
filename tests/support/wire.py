"""A server that answers with bytes as they are, well formed or not, in the loop of the test."""

import asyncio
import gzip
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from pipeline.config import Source
from pipeline.decode.body_checks import BadBody
from pipeline.http.client import Client, open_client
from pipeline.messages import HttpRequest, HttpResponse
from pipeline.ratelimit import Limits, RateWindow, open_budget

DROP, RESET, STALL = b"drop", b"reset", b"stall"
"""In place of an answer, or behind the first part of one: end, reset, or say nothing more."""

Answering = Callable[[int, "Seen"], bytes | tuple[bytes, bytes]]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """What a server has seen."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    open: int = 0
    most_open: int = 0


def answer(
    body: Any = None, status: int = 200, *, head: str = "", raw: bytes | None = None
) -> bytes:
    data = json.dumps([] if body is None else body).encode() if raw is None else raw
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [line for line in head.split("\n") if line]
    return "\r\n".join([*lines, "", ""]).encode() + data


def zipped(data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    return answer(raw=packed, head="Content-Encoding: gzip\nContent-Type: application/json")


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[Wire]:
    wire = Wire()
    tasks: set[asyncio.Task[None]] = set()
    closing = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.open += 1
        wire.most_open = max(wire.most_open, wire.open)
        try:
            seen = await read_request(reader)
            wire.seen.append(seen)
            given = answering(len(wire.seen), seen)
            head, then = given if isinstance(given, tuple) else (given, b"")
            if head in (DROP, RESET, STALL):
                head, then = b"", head
            await asyncio.sleep(0)
            writer.write(head)
            await writer.drain()
            if then == STALL:
                await reader.read()
            elif then == RESET:
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        finally:
            wire.open -= 1
            with suppress(ConnectionError):
                writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort() if closing else writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=2**20)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        closing = True
        for _ in range(20):  # what is still on its way in is accepted meanwhile
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.0005)


async def read_request(reader: asyncio.StreamReader) -> Seen:
    """One request, with its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ")
    return Seen(method, target, headers, body)


@asynccontextmanager
async def client_of(source: Source, **options: Any) -> AsyncIterator[Client]:
    limits = Limits((RateWindow(100_000, 1.0),), source.limits.in_flight, 0.01)
    async with open_client(source, open_budget("test", limits, None), **options) as client:
        yield client


async def read_json(answered: HttpResponse) -> Any:
    """As the page reader: a body that is no JSON is asked for again."""
    try:
        return [] if answered.status in (204, 404) else json.loads(bytes(answered.body))
    except ValueError:
        raise BadBody(f"not JSON: {answered.body[:60]!r}") from None


def things(source: Source, params: Sequence[tuple[str, str]] = ()) -> HttpRequest:
    return HttpRequest("GET", f"{source.base_url}/things", tuple(params))


def http_date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def secret_like(text: str, secrets: Sequence[str]) -> list[str]:
    return [secret for secret in secrets if re.search(re.escape(secret), text)]


def form_of(request: httpx.Request) -> dict[str, str]:
    return dict(httpx.QueryParams(request.content.decode()))
