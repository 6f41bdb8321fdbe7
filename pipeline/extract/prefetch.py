"""Chains of pages side by side, handed on in order or as they come, with bounded memory.

A chain is the pages of one segment. The first chains run ahead of the one that is being read, each
at most ``_DEPTH`` pages; as one is used up the next begins. So requests in flight are a sliding
window, not a barrier, and memory does not grow with the number of pages.

Pages that wait for a thread are parsed together, since most of what a small page costs is the call.
A thread that begins takes all pages that wait, up to a bound in bytes: the more pages wait, the
less each costs. A page waits for others only as long as its caller says that waiting costs nothing.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from threading import Lock
from time import monotonic
from typing import Final, Generic, NamedTuple, TypeVar

from pipeline.runtime import READERS

R = TypeVar("R")
T = TypeVar("T")
MAX_BATCH_BYTES: Final = 2 * 2**20
"""In one go: four pages of 500 rows of 1 KB, as each takes ten times its bytes while it is read.
What is larger is done alone."""
_GROUP_BYTES: Final = 2**19
"""From here on a larger group costs hardly less a row: it waits for no more."""


class _Waiting(NamedTuple, Generic[T, R]):
    item: T
    size: int
    result: "asyncio.Future[R]"


class ParseBatcher(Generic[T, R]):
    """Hands what waits to the readers.

    :param work: results, or what each is to fail with, one for one; called by readers.
    :param gains: whether it is worth while; if not, each is done alone.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        gains: Callable[[], bool] = lambda: True,
    ) -> None:
        self._work = work
        self._gains = gains
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._taking = Lock()
        self._group_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    async def result_of(self, item: T, size: int, linger_s: float = 0.0) -> R:
        """The result for one item of so many bytes.

        :param linger_s: for how long the item may wait for others, which are on their way.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting[T, R](item, size, loop.create_future())
        self._waiting.append(waiting)
        self._group_bytes += size
        if linger_s <= 0 or self._group_bytes >= _GROUP_BYTES or not self._gains():
            self._begin(loop)
        elif self._timer is None:
            self._timer = loop.call_later(linger_s, self._begin, loop)
        return await waiting.result

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._group_bytes = None, 0
        READERS.submit(self._turn, loop)  # one for each: none is left, and some find nothing to do

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._taken()
        if not batch:
            return
        if self._waiting:  # what did not fit in
            READERS.submit(self._turn, loop)
        results: Sequence[R | BaseException]
        try:
            results = self._work([each.item for each in batch])
        except BaseException as error:  # whoever waits has to learn of it
            results = [error] * len(batch)
        loop.call_soon_threadsafe(_deliver, batch, results)

    def _taken(self) -> list[_Waiting[T, R]]:
        batch: list[_Waiting[T, R]] = []
        bytes_left = MAX_BATCH_BYTES if self._gains() else 0
        with self._taking:
            while self._waiting and (not batch or self._waiting[0].size <= bytes_left):
                waiting = self._waiting.popleft()
                if not waiting.result.done():  # else nobody wants it any more
                    batch.append(waiting)
                    bytes_left -= waiting.size
        return batch


def _deliver(batch: Sequence[_Waiting[T, R]], results: Sequence[R | BaseException]) -> None:
    for waiting, result in zip(batch, results, strict=True):
        if waiting.result.done():
            continue
        if isinstance(result, BaseException):
            waiting.result.set_exception(result)
        else:
            waiting.result.set_result(result)


S = TypeVar("S")
P = TypeVar("P")
Ahead = Callable[[], int]
"""How many may run ahead; it may change with what else runs."""
_Queue = asyncio.Queue[P | BaseException | None]
_DEPTH = 2
FEW: Final = 16
_GATHERING: Final = 10
"""Beside those under way: a pack (IGDB) that gathers, or pages that are being read."""
_GATHERING_SMALL: Final = 24
"""The same of small pages: so many wait for their slots that a group of them can gather."""
_BEGUN_AT_ONCE: Final = 16
"""In one turn of the loop: making a request takes half a millisecond."""
_AHEAD_BYTES: Final = 32 * 2**20
"""Of one page a chain; a chain of several pages may hold three of them."""
_LATEST: Final = 4 * FEW
_MORE: Final = 1.5
"""Times as many as are under way: so they grow in number until something else is waited for."""


def ahead_of(in_flight: int) -> int:
    """How many chains at most: one for each page in flight, and some that have a page and wait."""
    return max(FEW, in_flight + FEW)


class AdaptiveConcurrency:
    """How many chains may run now: a few, and as many more as pages are under way to and from the
    API. So an API that responds slowly gets more requests at once, and pages that come faster than
    they are read do not pile up.
    """

    def __init__(self, ahead: Ahead, clock: Callable[[], float] = monotonic) -> None:
        self._ahead = ahead
        self._clock = clock
        self._page_bytes = 0
        self._latest: deque[tuple[float, float]] = deque()
        self._latest_latency_s = 0.0
        self._wanted = _GATHERING

    def record(self, page_bytes: int, latency_s: float) -> None:
        """A page of so many bytes was handed on, whose response took so long."""
        self._page_bytes = max(self._page_bytes, page_bytes)
        self._latest.append((self._clock(), latency_s))
        self._latest_latency_s += latency_s
        if len(self._latest) > _LATEST:
            self._latest_latency_s -= self._latest.popleft()[1]
        in_groups = 2 * _GROUP_BYTES // max(1, self._page_bytes)
        gathering = min(_GATHERING_SMALL, max(_GATHERING, in_groups))
        self._wanted = gathering + math.ceil(_MORE * self._under_way())

    def __call__(self) -> int:
        fit = _AHEAD_BYTES // self._page_bytes if self._page_bytes else 0
        return min(self._ahead(), max(FEW, min(fit, self._wanted)))

    def _under_way(self) -> float:
        """Pages per second times seconds of latency (Little's law), of the latest pages."""
        if len(self._latest) < 2:
            return 0.0
        lasted_s = max(self._latest[-1][0] - self._latest[0][0], 1e-3)
        latency_s = max(0.0, self._latest_latency_s) / len(self._latest)
        return (len(self._latest) - 1) / lasted_s * latency_s


async def in_order(
    segments: Iterable[S], chain: Callable[[S], AsyncGenerator[P, None]], ahead: Ahead
) -> AsyncGenerator[P, None]:
    """The pages of every segment, in order; ``ahead()`` segments run at the same time.

    An error in a segment is raised when its turn comes; all that still runs is then cancelled.
    """
    waiting = iter(segments)
    running: deque[_RunningChain[P]] = deque()
    try:
        while True:
            while len(running) < max(1, ahead()) and (segment := next(waiting, None)) is not None:
                running.append(_RunningChain(chain(segment)))
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
        await _cancel(running)


async def as_they_come(
    segments: Iterable[S], chain: Callable[[S], AsyncGenerator[P, None]], side_by_side: int
) -> AsyncGenerator[P, None]:
    """The pages of every segment, those of one in order; so none waits until another has ended.

    An error in a segment is raised as it comes; all that still runs is then cancelled.
    """
    waiting = iter(segments)

    async def one_after_the_other() -> AsyncGenerator[P, None]:
        for segment in waiting:
            async with aclosing(chain(segment)) as pages:
                async for page in pages:
                    yield page

    queue: _Queue[P] = asyncio.Queue(_DEPTH)
    chains = [_RunningChain(one_after_the_other(), queue) for _ in range(side_by_side)]
    running = len(chains)
    try:
        while running:
            page = await chains[0].next()
            if page is None:
                running -= 1
            else:
                yield page
    finally:
        await _cancel(chains)


class _RunningChain(Generic[P]):
    """:param queue: shared with other chains, where it does not matter whose page is the next."""

    def __init__(self, pages: AsyncGenerator[P, None], queue: "_Queue[P] | None" = None) -> None:
        self._queue: _Queue[P] = queue or asyncio.Queue(_DEPTH)
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
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item


async def _cancel(chains: Iterable[_RunningChain[P]]) -> None:
    tasks = [chain.task for chain in chains]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
