"""A server for measuring clients: enough of IGDB, at a small part of a client's cost.

    python -m benchmarks.server --rows 344000 --port-file /tmp/port
                                [--rate 100 --latency-s 0.05 --faults 0.02]

Pages are joined from prepared bytes. The rate holds in any window of one second, and a request over
it gets 429. Faults fall on requests by a seeded draw: a third each are answered 500, end in the
middle of the body, or lose their connection. ``GET /stats`` tells what came; ``POST /stats``
forgets it. Gone when its standard input ends.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import pages

READY_S = 60.0
TOKEN = b'{"access_token":"t","expires_in":5000000,"token_type":"bearer"}'


@dataclass
class Api:
    """The rows, the limits, and what has come so far."""

    rows: pages.Rows
    rate: int = 0
    latency_s: float = 0.0
    faults: float = 0.0
    recent: deque[float] = field(default_factory=deque)
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    requests: int = 0
    throttled: int = 0
    faulty: int = 0
    served: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def admits(self, now: float) -> bool:
        self.requests += 1
        self.first_s, self.last_s = self.first_s or now, now
        while self.recent and self.recent[0] <= now - 1.0:
            self.recent.popleft()
        if self.rate and len(self.recent) >= self.rate:
            self.throttled += 1
            return False
        self.recent.append(now)
        return True

    def fault(self) -> str | None:
        if not self.faults or self.draw.random() >= self.faults:
            return None
        self.faulty += 1
        return ("status", "cut", "drop")[self.faulty % 3]

    def answer(self, path: bytes, body: bytes) -> bytes:
        if path == b"/v4/multiquery":
            found, rows = pages.many(self.rows, body)
        elif path.endswith(b"/count"):
            found, rows = pages.count(self.rows, body), 0
        else:
            found, rows = pages.page(self.rows, body)
        self.served += rows
        return found

    def stats(self) -> dict[str, float]:
        names = ("requests", "throttled", "faulty", "served", "first_s", "last_s")
        return {name: getattr(self, name) for name in names}

    def reset(self) -> None:
        self.recent.clear()
        self.draw = random.Random(7)
        self.requests = self.throttled = self.faulty = self.served = 0
        self.first_s = self.last_s = 0.0


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head_end = self._got.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._got[:head_end])
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(self._got) < head_end + 4 + length:
            return
        body = bytes(self._got[head_end + 4 : head_end + 4 + length])
        del self._got[: head_end + 4 + length]
        method, path, _ = head.split(b" ", 2)
        self._serve(method, path.partition(b"?")[0], body)

    def _serve(self, method: bytes, path: bytes, body: bytes) -> None:
        api = self._api
        if path == b"/stats":
            text = json.dumps(api.stats()).encode()
            if method == b"POST":
                api.reset()
            self._send(200, text)
        elif path == b"/oauth2/token":
            self._send(200, TOKEN)
        elif not api.admits(time.monotonic()):
            self._send(429, b'{"message":"Too Many Requests"}')
        elif api.latency_s:
            asyncio.get_running_loop().call_later(api.latency_s, self._answer, path, body)
        else:
            self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        fault = self._api.fault()
        if fault == "status":
            self._send(500, b'{"message":"Internal Server Error"}')
        elif fault == "drop":
            self._transport.abort()
        else:
            self._send(200, self._api.answer(path, body), cut=fault == "cut")

    def _send(self, status: int, body: bytes, *, cut: bool = False) -> None:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        sent = body[: len(body) // 2] if cut else body
        self._transport.writelines([head % (status, len(body)), sent])
        if cut:
            self._transport.close()


class StaticServer:
    """A running server."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.origin = f"http://127.0.0.1:{port}"


@contextmanager
def static_server(
    rows: int, *, rate: int = 0, latency_s: float = 0.0, faults: float = 0.0
) -> Iterator[StaticServer]:
    """The server as a child process on a free port."""
    with TemporaryDirectory(prefix="headrace-bench-") as folder:
        port_file = Path(folder) / "port"
        given = {"rows": rows, "rate": rate, "latency-s": latency_s, "faults": faults}
        options = [f"--{name}={value}" for name, value in given.items()]
        command = [sys.executable, "-m", "benchmarks.server", f"--port-file={port_file}", *options]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            deadline = time.monotonic() + READY_S
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the bench's server did not start")
                time.sleep(0.02)
            yield StaticServer(process.pid, int(port_file.read_text()))
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


async def serve(api: Api, port_file: Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0)
    written = port_file.with_suffix(".new")
    written.write_text(str(server.sockets[0].getsockname()[1]))
    written.rename(port_file)
    await loop.run_in_executor(None, sys.stdin.buffer.read)  # until whoever started this is gone


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    args = parser.parse_args()
    api = Api(pages.make(args.rows), args.rate, args.latency_s, args.faults)
    asyncio.run(serve(api, args.port_file))


if __name__ == "__main__":
    main()
