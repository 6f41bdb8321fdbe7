"""The time of a reading: it stands still while all of its requests wait for their turn.

A value of a fan-out may have a limit of time (``timeout_s``). The waits for a permit and a send
slot, and those that an API asks for (Retry-After), are not its own: others make them longer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar


class ReadingTime:
    """The time that one reading has, over as many blocks as it takes. Of one event loop."""

    def __init__(self, limit_s: float | None) -> None:
        """:param limit_s: None: it has no limit."""
        self._left_s = limit_s
        self._timeout: asyncio.Timeout | None = None
        self._runs_since_s: float | None = None
        self._requests = self._waiting = 0

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """A block of the reading. :raises TimeoutError: no time is left."""
        token = _CURRENT.set(self)
        try:
            async with asyncio.timeout(None) as self._timeout:
                self._adjust()
                yield
        finally:
            self._timeout = None
            self._adjust()
            _CURRENT.reset(token)

    @contextmanager
    def count(self, *, requests: int = 0, waiting: int = 0) -> Iterator[None]:
        """A block in which so many more requests are under way, or wait for their turn."""
        self._add(requests, waiting)
        try:
            yield
        finally:
            self._add(-requests, -waiting)

    def _add(self, requests: int, waiting: int) -> None:
        self._requests, self._waiting = self._requests + requests, self._waiting + waiting
        self._adjust()

    def _adjust(self) -> None:
        if self._left_s is None:
            return
        now_s = asyncio.get_running_loop().time()
        if self._runs_since_s is not None:
            self._left_s -= now_s - self._runs_since_s
        all_wait = 0 < self._requests <= self._waiting
        runs = self._timeout is not None and not all_wait
        self._runs_since_s = now_s if runs else None
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(now_s + max(0.0, self._left_s) if runs else None)


_CURRENT: ContextVar[ReadingTime | None] = ContextVar("reading_time", default=None)


def request_of_reading() -> AbstractContextManager[None]:
    """A request is under way until its response has been read."""
    reading = _CURRENT.get()
    return nullcontext() if reading is None else reading.count(requests=1)


def waits_for_turn() -> AbstractContextManager[None]:
    """A request of the reading waits until it may be sent."""
    reading = _CURRENT.get()
    return nullcontext() if reading is None else reading.count(waiting=1)
