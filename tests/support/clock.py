"""A clock that skips what is waited for, and an API that is strict by it: no test waits for it."""

import asyncio
import selectors
from collections import deque
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest

CONNECT_S = 0.3


class Skipping(selectors.SelectSelector):
    """Waits for no timer: the time until the next one is over at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for somebody"
        self.now += max(0.0, timeout)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """A loop that nothing can make late: its clock stands while anything is done."""

    def __init__(self) -> None:
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.now


def run(test: Coroutine[Any, Any, None], patch: pytest.MonkeyPatch) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        for module in ("budget", "stores.base", "stores.memory"):
            patch.setattr(f"pipeline.ratelimit.{module}.monotonic", runner.get_loop().time)
        runner.run(test)


class Api(httpx.AsyncBaseTransport):
    """An API that counts what arrives as strictly as can be, over connections that take a while."""

    def __init__(self, connect_s: float = CONNECT_S, status: int = 200) -> None:
        self.connect_s, self.status = connect_s, status
        self.idle_connections = 0
        self.counted: deque[float] = deque(maxlen=4)
        self.arrived: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.idle_connections:
            self.idle_connections -= 1
        else:
            await asyncio.sleep(self.connect_s)
        await request.extensions["trace"]("http11.send_request_headers.complete", {})
        now = asyncio.get_running_loop().time()
        self.arrived.append(now)
        status = self.status
        if len(self.counted) == 4 and now - self.counted[0] < 1.0:
            status = 429
        else:
            self.counted.append(now)
        await asyncio.sleep(0.6)
        self.idle_connections += 1
        return httpx.Response(status, stream=httpx.ByteStream(b""))


async def at_once(wait_s: float) -> None:
    """In place of a pause of the engine: no test waits."""
