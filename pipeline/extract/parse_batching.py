"""Work that waits for a reader is done together: most of what a small page costs is the call.

A reader that begins takes all that waits, up to a bound in bytes: the more there is to do, the less
each costs. An item waits for others only for as long as its caller says that waiting costs nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from pipeline.runtime import READERS

R = TypeVar("R")
T = TypeVar("T")
MOST_BYTES: Final = 2 * 2**20
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
        bytes_left = MOST_BYTES if self._gains() else 0
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
