"""A budget in a folder of this machine: one small file a budget, no service to start.

The state is mapped into memory and guarded by ``flock``; an update holds the lock for microseconds.
A place in flight is a ``flock`` on one of N files: the kernel frees it when its holder dies,
however it dies. The clock is CLOCK_MONOTONIC, the same for all processes of one machine until it
reboots.

Not for a network file system: two machines have two clocks, and use Postgres or Redis instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import mmap
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic, time

from pipeline.budget import cells as layout
from pipeline.budget import slots
from pipeline.budget.limits import Limits
from pipeline.budget.stores import CellStore
from pipeline.errors import ConfigError

log = logging.getLogger("headrace.budget")

_SPIN_TRIES = 3
_RETRY_S = 0.0005
_STUCK_S = 5.0


def boot_id() -> float:
    """A number that changes when the machine boots, and its monotonic clock starts anew."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0.0
    return float(zlib.crc32(text.strip().encode()) + 1)


class FolderStore(CellStore):
    """One user's access to a budget file, and to the files of its places."""

    def __init__(self, name: str, limits: Limits, share: float, folder: Path) -> None:
        super().__init__(name, limits, share)
        self.folder, self.path = folder, folder / f"{name}.budget"
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._cells: memoryview[float] = memoryview(b"").cast("d")
        self._shape = 0.0
        self._place_fds: dict[int, int] = {}
        self._held: set[int] = set()

    async def open(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = _open(self.path)
            await self._lock()
            try:
                self._adopt()
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            for place in self.places:
                self._place_fds[place] = _open(self.folder / f"{self.name}.place-{place}")
        except OSError as error:
            await self.close()
            raise ConfigError(
                f"The budget's folder {self.folder} can't be used ({error.strerror}): set "
                "HEADRACE_BUDGET to a folder that this user can write, to a Postgres URL or to a "
                "Redis URL."
            ) from error

    async def close(self) -> None:
        self._unmap()
        for fd in (self._fd, *self._place_fds.values()):
            if fd >= 0:
                os.close(fd)
        self._fd = -1
        self._place_fds.clear()
        self._held.clear()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[tuple[memoryview[float], float]]:
        await self._lock()
        try:
            self._check()
            yield self._cells, monotonic()
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def give_back(self, ticket: float) -> None:
        with suppress(BlockingIOError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                self._check()
                slots.give_back(self._cells, ticket, self.share)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    async def try_place(self) -> int | None:
        for place in self.places:
            if place in self._held:
                continue
            with suppress(BlockingIOError):
                fcntl.flock(self._place_fds[place], fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._held.add(place)
                return place
        return None

    def free_place(self, place: int) -> None:
        self._held.discard(place)
        if place in self._place_fds:
            fcntl.flock(self._place_fds[place], fcntl.LOCK_UN)

    async def _lock(self) -> None:
        """Never block the event loop: another process may have been stopped inside its update."""
        started, tries, warned = monotonic(), 0, False
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                tries += 1
            if not warned and monotonic() - started > _STUCK_S:
                warned = True
                log.warning("%s has been locked by another process for 5 s", self.path)
            await asyncio.sleep(0 if tries <= _SPIN_TRIES else _RETRY_S)

    def _check(self) -> None:
        """Others may have deleted, cut or laid out the file anew since the last look."""
        stat = os.fstat(self._fd)
        if stat.st_nlink == 0:
            log.warning("%s was deleted: its state is carried on in a new file", self.path)
            self._follow_new_file()
        elif stat.st_size < 8 * len(self._cells) or self._cells[layout.SHAPE] != self._shape:
            self._adopt(follow=True)

    def _follow_new_file(self) -> None:
        fd = _open(self.path)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._adopt()

    def _adopt(self, *, follow: bool = False) -> None:
        """Under the lock: lay the file out for these limits, or ``follow`` the limits in it."""
        stat = os.fstat(self._fd)
        self._remap()
        old, now, boot = self._cells, monotonic(), boot_id()
        flaw = layout.flaw(old, now, boot) if stat.st_size else "new"
        if flaw is None and old[layout.BOOT] == boot:
            if not follow and layout.windows(old) != self.limits.windows:
                log.warning("%s: the limits were changed; what was sent still counts", self.path)
                kept, sends = [old[i] for i in range(layout.RINGS)], layout.sent(old)
                layout.carry_over(kept, sends, self._grow(), self.limits)
        else:
            self._reset(flaw, stat.st_mtime, now, boot)
        self._follow_shape()

    def _reset(self, flaw: str | None, written_at: float, now: float, boot: float) -> None:
        margin = layout.MARGIN_MIN if flaw else self._cells[layout.MARGIN]
        cells = self._grow()
        layout.fresh(cells, self.limits, boot)
        cells[layout.MARGIN], cells[layout.DECAYED_AT] = margin, now
        if flaw == "new":
            return
        if flaw:
            log.warning("%s can't be read (%s): it starts anew", self.path, flaw)
            slots.block(cells, now, min(self.limits.shortest.per_s, slots.SHORT_S))
        elif written_at > time() - now + 1.0:
            log.warning(
                "%s was written by another machine: a budget folder serves one machine only, "
                "several need a Postgres or Redis URL in HEADRACE_BUDGET",
                self.path,
            )

    def _grow(self) -> memoryview[float]:
        """Room for these limits. Never smaller: another process may have the old size mapped."""
        wanted = 8 * layout.size(self.limits)
        if os.fstat(self._fd).st_size < wanted:
            self._unmap()
            _reserve(self._fd, wanted)
            self._remap()
        return self._cells

    def _remap(self) -> None:
        self._unmap()
        size = os.fstat(self._fd).st_size // 8 * 8
        if size:
            self._map = mmap.mmap(self._fd, size)
            self._cells = memoryview(self._map).cast("d")

    def _unmap(self) -> None:
        self._cells.release()
        self._cells = memoryview(b"").cast("d")
        if self._map is not None:
            self._map.close()
            self._map = None

    def _follow_shape(self) -> None:
        self._shape = self._cells[layout.SHAPE]
        self.follow(self._cells)


def counts(name: str, folder: Path) -> tuple[float, list[tuple[float, int]]]:
    """The clock, and the requests of each minute of the last hour. A look takes no lock."""
    now = monotonic()
    try:
        state = (folder / f"{name}.budget").read_bytes()
    except FileNotFoundError:
        state = b""
    cells = memoryview(state[: len(state) // 8 * 8]).cast("d")
    if layout.flaw(cells, now, boot_id()) or cells[layout.BOOT] != boot_id():
        cells = memoryview(bytes(8 * layout.RINGS)).cast("d")
    return now, slots.minutes(cells, now)


def _reserve(fd: int, size: int) -> None:
    """Grow a file for real: a write to a mapped page that a full disk can't back would kill us."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
