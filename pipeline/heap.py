"""Memory, kept from holding the loop up and from growing: collector, allocator, readers.

A full garbage collection looks at all that is loaded, Dagster included: 0.1 s in which no thread
runs, thus a late request. What is loaded when a run begins is not garbage, so the collector is told
to pass over it. And glibc keeps what threads have freed: it has to be told to give it back.
"""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

READERS: Final = ThreadPoolExecutor(min(8, os.cpu_count() or 2), "headrace-reader")
"""The threads that turn bodies into tables. No more than cores: each page on its way takes some ten
times its bytes, and threads that wait for each other take turns at the loop's expense."""


@contextmanager
def settled() -> Iterator[None]:
    """While this holds, the collector passes over all that was there before."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def give_back() -> None:
    """Memory that is free in this process goes back to the machine."""
    pa.default_memory_pool().release_unused()
