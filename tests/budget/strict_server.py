"""A tiny HTTP server that counts as strictly as can be: any stretch of ``per_s``, to the µs.

It runs in a process of its own, so that the clients' load does not move its clock, and answers 429
(no Retry-After) to what is beyond the limit; what it refused doesn't count. ``jitter_s`` delays
each request by up to that long *before* it is counted, as a network would. ``GET /stats`` tells.
"""

import asyncio
import json
import multiprocessing
import os
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from time import monotonic


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
        self.sent: list[deque[float]] = [deque(maxlen=n) for n, _ in windows]
        self.counted, self.in_flight = Counted(), 0

    def admit(self, user: str) -> bool:
        now, seen = monotonic(), self.counted
        full = any(
            len(sent) == n and now - sent[0] < per_s
            for sent, (n, per_s) in zip(self.sent, self.windows, strict=True)
        )
        if full:
            seen.refused += 1
            return False
        for sent in self.sent:
            sent.append(now)
        seen.accepted += 1
        seen.first_at, seen.last_at = seen.first_at or now, now
        seen.users[user] = seen.users.get(user, 0) + 1
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, strict: _Strict) -> None:
        self.strict, self.loop = strict, asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
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
            self.loop.call_later(delay_s, self.count, path)
        else:
            self.count(path)

    def count(self, path: str) -> None:
        status = 200 if self.strict.admit(path) else 429
        self.loop.call_later(self.strict.latency_s, self.finish, status)

    def finish(self, status: int) -> None:
        self.strict.in_flight -= 1
        self.answer(status, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def _serve(
    ready: Connection, windows: Sequence[tuple[int, float]], latency_s: float, jitter_s: float
) -> None:
    async def run() -> None:
        strict = _Strict(windows, latency_s, jitter_s)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(strict), "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
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
