"""A process that is stopped while it holds permits: named in the log, and given up in the end."""

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from pipeline.errors import Retryable
from pipeline.ratelimit import Limits, RateWindow
from pipeline.ratelimit.budget import Permits
from pipeline.ratelimit.stores import folder
from pipeline.ratelimit.stores.folder import FolderStore

LIMITS = Limits((RateWindow(1000, 1.0),), 2)


def hold_all(where: str) -> None:
    """Takes each permit, and stops."""

    async def run() -> None:
        store = FolderStore("shop", LIMITS, 1.0, where)
        await store.open()
        while await store.take_permit() is not None:
            pass
        os.kill(os.getpid(), signal.SIGSTOP)

    asyncio.run(run())


@contextmanager
def stopped_holder(where: Path) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=hold_all, args=(str(where),))
    process.start()
    assert process.pid is not None
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)


def test_who_is_stopped_with_permits_is_named_and_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = count(0, 10)

    async def run() -> None:
        store = FolderStore("shop", LIMITS, 1.0, str(tmp_path))
        await store.open()
        try:
            await Permits(store, lambda: float(next(ticks))).take()
        finally:
            await store.close()

    with (
        stopped_holder(tmp_path) as pid,
        caplog.at_level(logging.WARNING, "headrace.budget"),
        pytest.raises(Retryable, match=r"No permit came free for 3\d\d s") as caught,
    ):
        asyncio.run(run())
    assert f"held by pid {pid} (state T: stopped)" in str(caught.value)
    (said,) = [r.getMessage() for r in caplog.records if r.name == "headrace.budget"]
    assert "no permit came free for 40 s: all 2 of the budget shop" in said
    assert f"pid {pid} (state T: stopped)" in said


def test_permits_that_come_free_are_taken(tmp_path: Path) -> None:
    async def run() -> int:
        store = FolderStore("shop", LIMITS, 1.0, str(tmp_path))
        await store.open()
        try:
            return await Permits(store).take()
        finally:
            await store.close()

    with stopped_holder(tmp_path):
        pass
    assert asyncio.run(run()) in (0, 1)


def test_a_lock_that_is_never_freed_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folder, "_STUCK_S", 0.0)
    monkeypatch.setattr(folder, "_GIVEN_UP_S", 0.0)

    async def run() -> None:
        one = FolderStore("shop", LIMITS, 1.0, str(tmp_path))
        other = FolderStore("shop", LIMITS, 1.0, str(tmp_path))
        await one.open()
        await other.open()
        await one._lock()
        try:
            await other._lock()
        finally:
            await other.close()
            await one.close()

    with pytest.raises(Retryable, match=rf"has been locked for 0 s by pid {os.getpid()}"):
        asyncio.run(run())
    assert f"locked by another process for 0 s: pid {os.getpid()}" in caplog.text
