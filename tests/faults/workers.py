"""The whole engine in processes of its own, which may die: started once, told by a pipe what to do.

A fork server imports everything once, so that a process that is killed costs no start-up of Python.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import httpx

from emulator.testing import Emulator
from local.services import S3
from pipeline.lake.s3 import Lake
from tests.faults.support import Bench, igdb

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.workers"])
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Task:
    """One try, and where it is to die.

    :ivar die_at: the number of the operation on S3 before which the process kills itself; None:
        never. ``die_in_answer``: likewise, in the middle of the body of that answer of the API.
    :ivar delay_s: waited before it begins.
    """

    lake: str
    api: tuple[int, str, str]
    options: Mapping[str, Any]
    run_id: str
    die_at: int | None = None
    die_in_answer: int | None = None
    delay_s: float = 0.0


@dataclass(frozen=True)
class Told:
    """What a try says of itself."""

    outcomes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    generations: list[str] = field(default_factory=list)
    resumed_pages: int = 0
    operations: list[str] = field(default_factory=list)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _DiesInBody(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> Any:
        async for chunk in self._inner:
            yield chunk[: len(chunk) // 2]
            die()

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def _client(s3: S3) -> Any:
    return s3.client(attempts=3)


def perform(s3: S3, task: Task) -> Told:
    """Carry a task out in this process."""
    api = Emulator(0, *task.api)
    lake = Lake(_client(s3), task.lake)
    operations: list[str] = []

    def observe(operation: str, key: str) -> None:
        if len(operations) == task.die_at:
            die()
        operations.append(f"{operation} {key.rpartition('/')[0].rpartition('/')[2]}")

    lake.on_operation = observe
    bench = Bench(igdb(api, **task.options), lake, now=lambda: datetime.now(UTC))
    time.sleep(task.delay_s)
    ran = bench.run(run_id=task.run_id, wrap=_dies_in(task.die_in_answer))
    api.close()
    results = ran.outcome.results
    return Told(
        [result.outcome for result in results],
        [str(failed.error) for failed in ran.outcome.failed],
        [result.manifest.generation for result in results],
        sum(result.manifest.resumed_pages for result in results),
        operations,
    )


def _dies_in(answer: int | None) -> Callable[[int, httpx.Response], None] | None:
    if answer is None:
        return None

    def wrap(number: int, response: httpx.Response) -> None:
        if number == answer:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _DiesInBody(response.stream)

    return wrap


def _serve(pipe: Connection, s3: S3) -> None:
    with suppress(EOFError):
        while True:
            pipe.send(perform(s3, pipe.recv()))


class Worker:
    """A process that does one task after another, until it dies."""

    def __init__(self, s3: S3) -> None:
        self._pipe, theirs = _context.Pipe()
        self.process = _context.Process(target=_serve, args=(theirs, s3), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, task: Task) -> None:
        self._pipe.send(task)

    def told(self) -> Told | None:
        """What came of the task; None if the process was killed over it."""
        try:
            if not self._pipe.poll(PATIENCE_S):
                raise AssertionError("the worker hangs")
            told: Told = self._pipe.recv()
            return told
        except (EOFError, ConnectionResetError):
            self.process.join()
            assert self.process.exitcode == -signal.SIGKILL
            return None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        self._pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.kill()


@contextmanager
def workers(s3: S3, number: int) -> Iterator[list[Worker]]:
    started = [Worker(s3) for _ in range(number)]
    try:
        yield started
    finally:
        for worker in started:
            worker.end()
