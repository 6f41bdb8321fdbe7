"""Chains of pages side by side, handed on in order, with bounded memory.

A lane is one chain. The first lanes run ahead of the one that is being read, each at most
``_DEPTH`` pages; as one is used up the next begins. So requests in flight are a sliding window, not
a barrier, and memory does not grow with the number of pages.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final, Generic, TypeVar

S = TypeVar("S")
P = TypeVar("P")
_DEPTH = 2
FEW: Final = 16
_BEGUN_AT_ONCE: Final = 16
"""In one turn of the loop: making a request takes half a millisecond."""
_AHEAD_BYTES: Final = 32 * 2**20
"""With a page a lane; a lane that is a chain may hold three."""


def ahead_of(in_flight: int) -> int:
    """How many lanes: one for each request in flight, and some that have a page and wait."""
    return max(FEW, in_flight + FEW // 2)


class Room:
    """How many lanes may run now: no more than a few where pages are large, or none has come."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._page_bytes = 0

    def saw(self, page_bytes: int) -> None:
        """A page of so many bytes came."""
        self._page_bytes = max(self._page_bytes, page_bytes)

    def __call__(self) -> int:
        fit = _AHEAD_BYTES // self._page_bytes if self._page_bytes else 0
        return min(self._ahead, max(FEW, fit))


async def in_order(
    segments: Iterable[S], chain: Callable[[S], AsyncGenerator[P, None]], ahead: Callable[[], int]
) -> AsyncGenerator[P, None]:
    """The pages of every segment, in order; ``ahead()`` segments run at the same time.

    An error in a segment is raised when its turn comes; all that still runs is then cancelled.
    """
    waiting = iter(segments)
    running: deque[_Lane[P]] = deque()
    try:
        while True:
            while len(running) < max(1, ahead()) and (segment := next(waiting, None)) is not None:
                running.append(_Lane(chain(segment)))
                if len(running) % _BEGUN_AT_ONCE == 0:
                    await asyncio.sleep(0)
            if not running:
                return
            page = await running[0].next()
            if page is None:
                running.popleft()
            else:
                yield page
    finally:
        for lane in running:
            lane.task.cancel()
        await asyncio.gather(*(lane.task for lane in running), return_exceptions=True)


class _Lane(Generic[P]):
    def __init__(self, pages: AsyncGenerator[P, None]) -> None:
        self._queue: asyncio.Queue[P | BaseException | None] = asyncio.Queue(_DEPTH)
        self.task = asyncio.create_task(self._run(pages))

    async def _run(self, pages: AsyncGenerator[P, None]) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(pages):
                async for page in pages:
                    await self._queue.put(page)
        except Exception as error:
            end = error
        await self._queue.put(end)

    async def next(self) -> P | None:
        found = await self._queue.get()
        if isinstance(found, BaseException):
            raise found
        return found
