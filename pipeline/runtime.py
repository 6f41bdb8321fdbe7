"""The runtime: collector, allocator and readers, so that memory does not grow nor hold the loop up.

A full garbage collection looks at all that is loaded, Dagster included: 0.1 s in which no thread
runs, thus a late request. What is loaded when a run begins is not garbage, so the collector is told
to pass over it, and rests while it is being loaded. And large bodies are kept from leaving holes in
glibc's memory; Arrow has an allocator of its own (``pipeline/__init__.py``), and a reader has
memory for what it reads.
"""

import asyncio
import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final, TypeVar

from pipeline.messages import LARGE_BYTES, Body

T = TypeVar("T")
READERS: Final = ThreadPoolExecutor(min(8, os.cpu_count() or 2), "headrace-reader")
"""The threads that turn bodies into tables, packs into pages, tables into Parquet. No more than
cores: each page on its way takes some ten times its bytes, and threads that wait for each other
take turns at the loop's expense."""


_M_MMAP_THRESHOLD: Final = -3
_OWN_BYTES: Final = 2 * 2**20 + 2**16
"""For pages that are parsed together (``prefetch.MAX_BATCH_BYTES``), and the bytes around each."""


async def in_reader(function: Callable[..., T], *args: Any) -> T:
    """Run what takes CPU, and waits for nobody, in one of the readers."""
    return await asyncio.get_running_loop().run_in_executor(READERS, function, *args)


@contextmanager
def settled() -> Iterator[None]:
    """While this holds, the collector passes over all that was there before.

    And from now on glibc maps what is large by itself and unmaps it when it is freed. Left to
    itself it stops doing so once a large piece was freed, and bodies leave holes that nothing fits.
    What is smaller is not mapped by itself, as it would be faulted in anew each time.
    """
    if _libc is not None:
        _libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def loading() -> Iterator[None]:
    """While this holds, the collector rests; from then on it passes over all that is there.

    Modules and definitions stay as long as the process does. To look through them while they are
    made took a fifth of a start, and a third with thousands of endpoints.
    """
    if not gc.isenabled():  # whoever turned it off knows when to turn it on
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Own(threading.local):
    """Memory that a thread uses again."""

    def __init__(self) -> None:
        self.memory = mmap(-1, _OWN_BYTES, MAP_PRIVATE | MAP_ANONYMOUS)  # a fork has its own too


_own: Final = _Own()


def in_own_memory(pieces: Sequence[Body]) -> memoryview:
    """The pieces, one after the other: valid until the thread calls this again.

    They overwrite the last ones, since new memory costs more than copying into it.
    """
    size = sum(map(len, pieces))
    text = memoryview(_own.memory if size <= _OWN_BYTES else bytearray(size))[:size]
    at = 0
    for piece in pieces:
        text[at : at + len(piece)] = piece
        at += len(piece)
    return text


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is one that can be told how to allocate."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


_libc: Final = _glibc()
