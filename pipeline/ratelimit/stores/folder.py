"""A budget in a folder of this machine: one small file a budget, no service to start.

The state is mapped into memory and guarded by ``flock``; an update holds the lock for microseconds.
A place in flight is a ``flock`` on one of N files: the kernel frees it when its holder dies,
however it dies. The clock is CLOCK_MONOTONIC, the same for all processes of one machine until it
reboots; the state says where that clock stood on the calendar, so a reboot forgets nothing.

What was sent is never taken as not sent. A file that is deleted in use is written anew from what is
still mapped of it; one that can't be read counts as if all windows had just been used up.

Not for a network file system: two machines have two clocks, and use Postgres or Redis instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import mmap
import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic, time

from pipeline.errors import ConfigError, HeadraceError, Retryable
from pipeline.ratelimit import reservation
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.stats import Minute
from pipeline.ratelimit.stores.base import CellStore
from pipeline.ratelimit.stores.files import open_file, open_named, replace, reserve, usable
from pipeline.ratelimit.usage_histogram import last_hour

log = logging.getLogger("headrace.budget")

_SPIN_TRIES = 3
_RETRY_S = 0.0005
_STUCK_S = 5.0
_NOTHING: memoryview[float] = memoryview(b"").cast("d")


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
            with usable(self.folder, ConfigError):
                self._fd = self._opened()
                await self._lock()
                try:
                    self._adopt()
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
                for place in range(self.limits.in_flight):
                    self._place_fds[place] = open_file(self._place_path(place))
                for fd in (self._fd, *self._place_fds.values()):
                    os.utime(fd)  # what cleans folders up goes by age
        except HeadraceError:
            await self.close()
            raise

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
            now = monotonic()
            self._cells[layout.WALL] = time() - now
            yield self._cells, now
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def give_back(self, ticket: float) -> None:
        with suppress(BlockingIOError, Retryable):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                self._check()
                reservation.give_back(self._cells, ticket, self.share)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    async def take_one(self) -> int | None:
        for place in self.places:
            if place not in self._held and self._locked_place(place):
                self._held.add(place)
                return place
        return None

    def _locked_place(self, place: int) -> bool:
        """Lock a place's file: the one that others find. One that was deleted is ours alone."""
        try:
            fcntl.flock(self._place_fds[place], fcntl.LOCK_EX | fcntl.LOCK_NB)
            while os.fstat(self._place_fds[place]).st_nlink == 0:
                with usable(self.folder, Retryable):
                    self._make_folder()
                    replace(self._place_fds[place], open_file(self._place_path(place)))
                fcntl.flock(self._place_fds[place], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

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
        with usable(self.folder, Retryable):
            stat = os.fstat(self._fd)
            if stat.st_nlink == 0:
                log.warning("%s was deleted: its state is carried on in a new file", self.path)
                self._follow_new_file(stat.st_size >= 8 * len(self._cells))
            elif stat.st_size < 8 * len(self._cells) or self._cells[layout.SHAPE] != self._shape:
                self._adopt(follow=True)

    def _follow_new_file(self, mapped_whole: bool) -> None:
        """Nobody changes the deleted file any more: who uses it comes here first."""
        before = memoryview(bytes(self._cells) if mapped_whole else b"").cast("d")
        while os.fstat(self._fd).st_nlink == 0:
            replace(self._fd, self._opened())
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._adopt(before=before)

    def _adopt(self, *, follow: bool = False, before: memoryview[float] = _NOTHING) -> None:
        """Under the lock: lay the file out for these limits, or ``follow`` the limits in it.

        :param before: the state in a file that was deleted: what was sent by it counts too.
        """
        written_at, now, boot = os.fstat(self._fd).st_mtime, monotonic(), boot_id()
        self._remap()
        state = self._sound(written_at, now, boot)
        if layout.flaw(before, now, boot) is None:
            if state is not None:
                self.follow(state)
            self._carry_over(before, state)
        elif state is not None and not follow and layout.windows(state) != self.limits.windows:
            log.warning("%s: the limits were changed; what was sent still counts", self.path)
            self._carry_over(state)
        elif state is not None and state is not self._cells:
            self._carry_over(state)
        elif state is None:
            cells = self._grow()
            layout.fresh(cells, self.limits, boot)
        self._shape = self._cells[layout.SHAPE]
        self.follow(self._cells)

    def _sound(self, written_at: float, now: float, boot: float) -> memoryview[float] | None:
        """The state in the file, on this clock; None: nobody has used it yet."""
        state = layout.upgraded(self._cells)
        if len(state) == 1 and state[0] == layout.UNUSED:
            return None
        if flaw := layout.flaw(state, now, boot):
            longest_s = self.limits.longest_s
            log.warning(
                "%s can't be read (%s): it starts anew, and all windows count as used up, for up "
                "to %g s. If nothing was sent for that long, delete it while no run goes on",
                self.path, flaw, longest_s,
            )  # fmt: skip
            state = memoryview(bytearray(8 * layout.size(self.limits))).cast("d")
            layout.used_up(state, self.limits, boot, now)
        elif state[layout.BOOT] != boot:
            if written_at > time() - now + 1.0:
                log.warning(
                    "%s was written by another machine: a budget folder serves one machine only, "
                    "several need a Postgres or Redis URL in HEADRACE_BUDGET",
                    self.path,
                )
            state = layout.moved(state, state[layout.WALL] - (time() - now), now, boot)
        return state

    def _carry_over(self, state: memoryview[float], other: memoryview[float] | None = None) -> None:
        kept, sends = [state[i] for i in range(layout.RINGS)], layout.sent(state)
        if other is not None:
            sends = layout.joined(sends, layout.sent(other))
            for index in layout.NEVER_EARLIER:
                kept[index] = max(kept[index], other[index])
        layout.carry_over(kept, sends, self._grow(), self.limits)

    def _grow(self) -> memoryview[float]:
        """Room for these limits. Never smaller: another process may have the old size mapped."""
        wanted = 8 * layout.size(self.limits)
        if os.fstat(self._fd).st_size < wanted:
            self._unmap()
            reserve(self._fd, wanted)
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

    def _opened(self) -> int:
        self._make_folder()
        return open_named(self.path, struct.pack("d", layout.UNUSED))

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _place_path(self, place: int) -> Path:
        return self.folder / f"{self.name}.place-{place}"


def counts(name: str, folder: Path) -> tuple[float, list[Minute]]:
    """The clock, and each minute of the last hour. A look takes no lock."""
    now = monotonic()
    state = b""
    with usable(folder, ConfigError), suppress(FileNotFoundError):
        state = (folder / f"{name}.budget").read_bytes()
    cells = layout.upgraded(memoryview(state[: len(state) // 8 * 8]).cast("d"))
    if layout.flaw(cells, now, boot_id()) or cells[layout.BOOT] != boot_id():
        cells = memoryview(bytes(8 * layout.RINGS)).cast("d")
    return now, last_hour(cells, now)
