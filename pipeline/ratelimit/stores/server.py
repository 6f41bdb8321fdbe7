"""The part that stores on a server share: calls that are never cut in half, and rows that are read.

A caller may be cancelled at any await. A transaction that is cut there would stay open, and a
permit that is granted there would be lost until its lease ends. So each call runs to its end in a
task of its own, and the result that a cancelled caller no longer wants is undone afterwards.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pipeline.errors import ConfigError
from pipeline.ratelimit import state_layout
from pipeline.ratelimit.stores.base import StateStore

log = logging.getLogger("headrace.budget")

T = TypeVar("T")

RESPONSE_S = 10.0
"""For one call: a server that is cut off from the network neither responds nor hangs up. Calls to a
server that is down are retried for as long: a server that is restarted is up in seconds."""
AGAIN_S = 0.1


def adopted(store: StateStore, row: bytearray, now: float, *, follow: bool) -> memoryview[float]:
    """The cells to go on with: those of the row, or new ones.

    :param row: as it is on the server; empty if there is none.
    :param follow: keep to the windows in the row, rather than set this user's.
    """
    cells = cells_of(row)
    flaw = state_layout.flaw(cells, now)
    if flaw or (not follow and state_layout.windows(cells) != store.limits.windows):
        new = memoryview(bytearray(8 * state_layout.size(store.limits))).cast("d")
        if not row:
            state_layout.fresh(new, store.limits, 0.0)
        elif flaw:
            log.warning(
                "budget %s can't be read (%s): all windows count as used up", store.name, flaw
            )
            state_layout.used_up(new, store.limits, 0.0, now)
        else:
            head = [cells[i] for i in range(state_layout.RINGS)]
            sends = state_layout.send_times(cells)
            state_layout.carry_over(head, sends, new, store.limits)
        cells = new
    store.follow(cells)
    return cells


def cells_of(row: bytes | bytearray) -> memoryview[float]:
    """A row as cells, without what is left of one that was cut."""
    return memoryview(row)[: len(row) // 8 * 8].cast("d")


def readable(head: bytes, now: float) -> memoryview[float]:
    """The cells of a head that is only looked at; empty ones if they can't be read."""
    cells = cells_of(head)
    return state_layout.EMPTY if state_layout.head_flaw(cells, now) else cells


def client_package(name: str, store: str, extra: str) -> Any:
    """Import a database's client, which only users of that store need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"HEADRACE_BUDGET names a {store} store, which needs the package `{extra}`. Either run "
            f"pip install '{extra}', or set HEADRACE_BUDGET to a folder."
        ) from error


class Calls:
    """Calls to a server that have not ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def background(self, call: Coroutine[Any, Any, Any]) -> None:
        """Run it without a caller; an error is only logged."""
        self._start(call).add_done_callback(_log_error)

    async def whole(self, call: Coroutine[Any, Any, T], undo: Callable[[T], None]) -> T:
        """Run it to its end. If the caller is cancelled before that, ``undo`` the result."""
        task = self._start(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: _undo(done, undo))
            raise

    async def ended(self) -> None:
        """Wait for all of them, and for what they start."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _undo(task: asyncio.Task[T], undo: Callable[[T], None]) -> None:
    if task.cancelled() or task.exception():
        return
    undo(task.result())


def _log_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.warning("budget store: %s", error)
