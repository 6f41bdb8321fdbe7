"""Memory, kept from holding the loop up and from growing: collector, allocator, readers.

A full garbage collection looks at all that is loaded, Dagster included: 0.1 s in which no thread
runs, thus a late request. What is loaded when a run begins is not garbage, so the collector is told
to pass over it. And large bodies are kept from leaving holes in glibc's memory; Arrow has an
allocator of its own (``pipeline/__init__.py``).
"""

import asyncio
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")
READERS: Final = ThreadPoolExecutor(min(8, os.cpu_count() or 2), "headrace-reader")
"""The threads that turn bodies into tables, packs into pages, tables into Parquet. No more than
cores: each page on its way takes some ten times its bytes, and threads that wait for each other
take turns at the loop's expense."""


_M_MMAP_THRESHOLD: Final = -3
_LARGE_BYTES: Final = 1_000_000
"""Packs, and pages of over a thousand rows. What is mapped by itself is faulted in anew."""


async def in_reader(function: Callable[..., T], *args: Any) -> T:
    """Have one of the readers do what takes CPU and waits for nobody."""
    return await asyncio.get_running_loop().run_in_executor(READERS, function, *args)


@contextmanager
def settled() -> Iterator[None]:
    """While this holds, the collector passes over all that was there before.

    And from now on glibc maps what is large by itself and unmaps it when it is freed. Left to
    itself it stops doing so once a large piece was freed, and bodies leave holes that nothing fits.
    """
    if _libc is not None:
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is one that can be told how to allocate."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


_libc: Final = _glibc()
