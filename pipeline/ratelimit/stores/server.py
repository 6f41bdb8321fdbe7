"""What the stores on a server share: calls that are never cut in half, and errors in one voice.

A caller may be cancelled at any await. A transaction that is cut there would stay open, and a place
that is granted there would be lost until its lease ends; so each call runs to its end in a task of
its own, and what a cancelled caller no longer wants is undone when the call is through.
"""

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pipeline.errors import ConfigError

log = logging.getLogger("headrace.budget")

T = TypeVar("T")

ANSWER_S = 10.0
"""For one call. A server that was cut off from the network says nothing, and does not hang up. For
as long a call is tried again where nobody is there: a server that is restarted is up in seconds."""
AGAIN_S = 0.1


def client_package(name: str, store: str, extra: str) -> Any:
    """Import a database's client, which only users of that store need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"HEADRACE_BUDGET names a {store} store, which needs the package {extra}: "
            f"pip install '{extra}', or give HEADRACE_BUDGET a folder."
        ) from error


class Calls:
    """Calls to a server that are under way."""

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
        log.warning("the budget's store: %s", error)
