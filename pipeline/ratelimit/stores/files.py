"""Files that several processes share and anybody may delete. I/O only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import ConfigError, Retryable


def reserve(fd: int, size: int) -> None:
    """Grow a file for real: a write to a mapped page that a full disk can't back would kill us."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def open_file(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def replace(fd: int, by: int) -> None:
    """Let ``fd`` stand for another file. Its lock goes with the old one."""
    os.dup2(by, fd, inheritable=False)
    os.close(by)


@contextmanager
def usable(folder: Path, kind: type[ConfigError | Retryable]) -> Iterator[None]:
    """An error of the engine's own for what the file system says no to."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise kind(
            f"The budget's folder {folder} can't be used ({error.strerror}): set HEADRACE_BUDGET "
            "to a folder that this user can write, to a Postgres URL or to a Redis URL."
        ) from error


def open_named(path: Path, first: bytes) -> int:
    """Open a file that is made with ``first`` in it if need be: an empty one was emptied."""
    with suppress(FileNotFoundError):
        return open_file(path, os.O_RDWR)
    fd, unnamed = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.write(fd, first)
        with suppress(FileExistsError):
            os.link(unnamed, path)
    finally:
        os.close(fd)
        os.unlink(unnamed)
    return open_file(path, os.O_RDWR)
