"""Which processes of this machine hold a lock on a file, and whether they are stopped. Linux only.

A process that is stopped (Ctrl-Z, ``docker pause``, a debugger) keeps its locks for as long as it
stands still: the kernel frees those of the dead only.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")
_STATES: Final = {"T": "stopped", "t": "stopped by a debugger", "Z": "a zombie", "D": "in a wait"}


@dataclass(frozen=True)
class LockHolder:
    """A process that holds locks. ``state`` is the kernel's letter."""

    pid: int
    state: str

    @property
    def is_stopped(self) -> bool:
        return self.state in ("T", "t")

    def __str__(self) -> str:
        meaning = _STATES.get(self.state)
        return f"pid {self.pid} (state {self.state}{f': {meaning}' if meaning else ''})"


def lock_holders(fds: Iterable[int]) -> tuple[LockHolder, ...]:
    """The processes that hold a ``flock`` on one of these open files; empty if nothing says so."""
    inodes = set()
    for fd in fds:
        with suppress(OSError):
            inodes.add(os.fstat(fd).st_ino)
    pids: dict[int, None] = {}
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return ()
    for line in lines:
        parts = line.split()
        if len(parts) < 6 or parts[1] != "FLOCK":  # "->" marks those that wait
            continue
        with suppress(ValueError):
            pid, inode = int(parts[4]), int(parts[5].rpartition(":")[2])
            if inode in inodes and pid > 0:
                pids[pid] = None
    return tuple(LockHolder(pid, _state_of(pid)) for pid in pids)


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "?"
