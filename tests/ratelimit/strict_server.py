"""A tiny HTTP server that counts as strictly as can be: any stretch of ``per_s``, to the µs.

A request counts when the kernel received it (``SO_TIMESTAMPNS``), and not when this process, on a
machine that is busy, came to read it. It answers 429 (no Retry-After) to what is beyond the limit;
what it refused doesn't count. ``jitter_s`` makes each request count by up to that long later, as a
network would. ``GET /stats`` tells.
"""

import asyncio
import bisect
import json
import multiprocessing
import os
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from time import time

SO_TIMESTAMPNS = 35  # of Linux; Python's socket module has no name for it


@dataclass
class Counted:
    """What the server saw since the last reset."""

    accepted: int = 0
    refused: int = 0
    most_in_flight: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    users: dict[str, int] = field(default_factory=dict)

    def utilisation(self, windows: Sequence[tuple[int, float]]) -> float:
        """Of the window that allows the least, the part that was used, between first and last."""
        elapsed_s = max(1e-9, self.last_at - self.first_at)
        return max((self.accepted - 1) * per_s / (n * elapsed_s) for n, per_s in windows)


class _Strict:
    def __init__(self, windows: Sequence[tuple[int, float]], latency_s: float, jitter_s: float):
        self.windows, self.latency_s, self.jitter_s = windows, latency_s, jitter_s
        self.sent: list[float] = []
        self.counted, self.in_flight = Counted(), 0

    def admit(self, user: str, at: float) -> bool:
        """What came over another connection may have been read before: order it by its time."""
        seen, sent = self.counted, self.sent
        place = bisect.bisect(sent, at)
        sent.insert(place, at)
        for n, per_s in self.windows:
            for first in range(max(0, place - n), min(place, len(sent) - n - 1) + 1):
                if sent[first + n] - sent[first] < per_s:
                    del sent[place]
                    seen.refused += 1
                    return False
        del sent[: -2 * max(n for n, _ in self.windows) - 100]
        seen.accepted += 1
        seen.first_at, seen.last_at = min(seen.first_at or at, at), max(seen.last_at, at)
        seen.users[user] = seen.users.get(user, 0) + 1
        return True


class _Connection:
    """Reads by hand: asyncio's transports don't tell when the kernel received what they read."""

    def __init__(self, strict: _Strict, wire: socket.socket) -> None:
        self.strict, self.wire, self.loop = strict, wire, asyncio.get_running_loop()
        wire.setblocking(False)
        self.loop.add_reader(wire, self.readable)

    def readable(self) -> None:
        try:
            data, told, _, _ = self.wire.recvmsg(65536, socket.CMSG_SPACE(16))
        except ConnectionError:
            data = b""
        if not data:
            self.loop.remove_reader(self.wire)
            self.wire.close()
            return
        seconds, nanos = struct.unpack("qq", told[0][2]) if told else (time(), 0)
        self.received(data.split(b" ", 2)[1].decode(), seconds + nanos / 1e9)

    def received(self, path: str, at: float) -> None:
        strict = self.strict
        if path.startswith("/stats"):
            body = json.dumps(asdict(strict.counted)).encode()
            if path.endswith("reset"):
                strict.counted = Counted(most_in_flight=strict.in_flight)
            self.answer(200, body)
            return
        strict.in_flight += 1
        strict.counted.most_in_flight = max(strict.counted.most_in_flight, strict.in_flight)
        delay_s = random.uniform(0, strict.jitter_s) if strict.jitter_s else 0.0
        if delay_s:
            self.loop.call_later(delay_s, self.count, path, at + delay_s)
        else:
            self.count(path, at)

    def count(self, path: str, at: float) -> None:
        status = 200 if self.strict.admit(path, at) else 429
        self.loop.call_later(self.strict.latency_s, self.finish, status)

    def finish(self, status: int) -> None:
        self.strict.in_flight -= 1
        self.answer(status, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n"
        with suppress(OSError):  # whoever asked has been killed
            self.wire.sendall(head.encode() + body)


def _serve(
    ready: Connection, windows: Sequence[tuple[int, float]], latency_s: float, jitter_s: float
) -> None:
    async def run() -> None:
        strict = _Strict(windows, latency_s, jitter_s)
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        if sys.platform == "linux":
            listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # its connections inherit it
        loop.add_reader(listener, lambda: _Connection(strict, listener.accept()[0]))
        ready.send(listener.getsockname()[1])
        ended = loop.create_future()
        loop.add_reader(ready.fileno(), ended.set_result, None)  # whoever started this is gone
        await ended
        os._exit(0)

    asyncio.run(run())


@dataclass(frozen=True)
class StrictServer:
    port: int

    def counted(self, *, reset: bool = False) -> Counted:
        with socket.create_connection(("127.0.0.1", self.port)) as wire:
            wire.sendall(b"GET /stats%s HTTP/1.1\r\n\r\n" % (b"/reset" if reset else b""))
            head, _, body = wire.recv(1 << 20).partition(b"\r\n\r\n")
            length = int(head.split(b"content-length: ")[1].split()[0])
            while len(body) < length:
                body += wire.recv(1 << 20)
        return Counted(**json.loads(body))


@contextmanager
def strict_server(
    windows: Sequence[tuple[int, float]], *, latency_s: float = 0.01, jitter_s: float = 0.0
) -> Iterator[StrictServer]:
    """Serve in a child process until the block ends."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, windows, latency_s, jitter_s), daemon=True)
    process.start()
    theirs.close()
    try:
        yield StrictServer(ours.recv())
    finally:
        process.kill()
        process.join()


class Wire:
    """A keep-alive connection that asks and waits for the status: the least a client can cost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def get(self, path: str, left: Callable[[], object]) -> int:
        self.writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        left()
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(int(head.rsplit(b":", 1)[1]))
        return int(head.split(b" ", 2)[1])


@asynccontextmanager
async def wires(port: int, count: int) -> AsyncIterator[list[Wire]]:
    opened = [Wire(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
    try:
        yield opened
    finally:
        for wire in opened:
            wire.writer.close()
