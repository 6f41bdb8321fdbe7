"""The kind ``folder``: a budget for the processes of one machine, with no service to start.

The state is one small file, mapped into memory and guarded by ``flock``; an update holds the lock
for microseconds. A permit in flight is a ``flock`` on one of N files: the kernel frees the lock
when its holder dies, however it dies. The clock is CLOCK_MONOTONIC, the same for all processes of
one machine until it reboots. The state has the offset of that clock from the calendar, so a reboot
forgets nothing.

No send is forgotten. A file that is deleted in use is written anew from the part that is still
mapped; a file that can't be read counts as if all windows had just been used up.

Not for a network file system: two machines have two clocks, and need Postgres or Redis instead.

On Linux an error says which processes hold the locks. A process that is stopped (Ctrl-Z, ``docker
pause``, a debugger) keeps its locks for as long as it stands still: the kernel frees those of the
dead only.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import mmap
import os
import platform
import secrets
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, time
from typing import Final, TypeVar

from pipeline.errors import ConfigError, HeadraceError, Retryable, machine_problem
from pipeline.ratelimit import reservation, state_layout
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.stores.base import BUDGET_STORES, Change, LockHolder, StateStore
from pipeline.ratelimit.usage_stats import Minute, last_hour

_LOCKS: Final = Path("/proc/locks")


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


log = logging.getLogger("headrace.budget")

T = TypeVar("T")

_SPIN_TRIES = 3
_RETRY_S = 0.0005
_STUCK_S = 5.0
_GIVEN_UP_S = 300.0
_NOTHING: memoryview[float] = memoryview(b"").cast("d")


def boot_id() -> float:
    """A number that changes when the machine boots, and its monotonic clock starts anew."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0.0
    return float(zlib.crc32(text.strip().encode()) + 1)


@BUDGET_STORES.register("folder")
class FolderStore(StateStore):
    """A user's access to a budget file, and to the files of its permits."""

    def __init__(self, name: str, limits: Limits, share: float, location: str) -> None:
        super().__init__(name, limits, share, location)
        self.folder = Path(location).expanduser()
        self.path = self.folder / f"{name}.budget"
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._cells: memoryview[float] = memoryview(b"").cast("d")
        self._shape = 0.0
        self._permit_fds: dict[int, int] = {}
        self._taken: set[int] = set()

    async def open(self) -> None:
        try:
            with _usable(self.folder, ConfigError):
                self._fd = self._opened()
                await self._lock()
                try:
                    self._adopt()
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
                for permit in range(self.limits.in_flight):
                    self._permit_fds[permit] = _open_file(self._permit_path(permit))
                for fd in (self._fd, *self._permit_fds.values()):
                    os.utime(fd)  # what cleans folders up goes by age
        except HeadraceError:
            await self.close()
            raise

    async def close(self) -> None:
        self._unmap()
        for fd in (self._fd, *self._permit_fds.values()):
            if fd >= 0:
                os.close(fd)
        self._fd = -1
        self._permit_fds.clear()
        self._taken.clear()

    async def update(self, change: Change[T]) -> T:
        await self._lock()
        try:
            self._check()
            now = monotonic()
            self._cells[state_layout.WALL] = time() - now
            return change(self._cells, now)
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

    async def take_permit(self) -> int | None:
        for permit in self.permit_numbers:
            if permit not in self._taken and self._locked_permit(permit):
                self._taken.add(permit)
                return permit
        return None

    def _locked_permit(self, permit: int) -> bool:
        """Lock a permit's file, made again if it was deleted: others would not find that one."""
        try:
            with _usable(self.folder, Retryable):
                fcntl.flock(self._permit_fds[permit], fcntl.LOCK_EX | fcntl.LOCK_NB)
            while os.fstat(self._permit_fds[permit]).st_nlink == 0:
                with _usable(self.folder, Retryable):
                    self._make_folder()
                    _replace(self._permit_fds[permit], _open_file(self._permit_path(permit)))
                fcntl.flock(self._permit_fds[permit], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def permit_holders(self) -> tuple[LockHolder, ...]:
        return lock_holders(fd for n, fd in self._permit_fds.items() if n not in self._taken)

    def free_permit(self, permit: int) -> None:
        self._taken.discard(permit)
        if permit in self._permit_fds:
            fcntl.flock(self._permit_fds[permit], fcntl.LOCK_UN)

    async def _lock(self) -> None:
        """Never block the event loop: another process may have been stopped inside its update."""
        started, tries, warned = monotonic(), 0, False
        while True:
            try:
                with _usable(self.folder, Retryable):
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                tries += 1
            waited_s = monotonic() - started
            if not warned and waited_s > _STUCK_S:
                warned = True
                log.warning(
                    "%s has been locked by another process for %g s: %s",
                    self.path,
                    _STUCK_S,
                    ", ".join(map(str, lock_holders([self._fd]))) or "not known which",
                )
            if waited_s > _GIVEN_UP_S:
                raise Retryable(
                    f"The budget's file `{self.path}` has been locked for {waited_s:.0f} s by "
                    f"{', '.join(map(str, lock_holders([self._fd]))) or 'another process'}. "
                    "Check: 1. whether that process is stopped; 2. whether it should be ended.",
                    wait_s=60.0,
                )
            await asyncio.sleep(0 if tries <= _SPIN_TRIES else _RETRY_S)

    def _check(self) -> None:
        """Others may have deleted, cut or laid out the file anew since the last look."""
        with _usable(self.folder, Retryable):
            stat = os.fstat(self._fd)
            if stat.st_nlink == 0:
                log.warning("%s was deleted: its state is carried on in a new file", self.path)
                self._follow_new_file(mapped_whole=stat.st_size >= 8 * len(self._cells))
            elif (
                stat.st_size < 8 * len(self._cells)
                or self._cells[state_layout.SHAPE] != self._shape
            ):
                self._adopt(follow=True)

    def _follow_new_file(self, *, mapped_whole: bool) -> None:
        """Go on in a new file: no user changes the deleted one without coming here first."""
        before = memoryview(bytes(self._cells) if mapped_whole else b"").cast("d")
        while os.fstat(self._fd).st_nlink == 0:
            _replace(self._fd, self._opened())
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._adopt(before=before)

    def _adopt(self, *, follow: bool = False, before: memoryview[float] = _NOTHING) -> None:
        """Under the lock: lay the file out for these limits, or ``follow`` the limits in it.

        :param before: the state in a file that was deleted: what was sent by it counts too.
        """
        written_at, now, boot = os.fstat(self._fd).st_mtime, monotonic(), boot_id()
        self._remap()
        state = self._sound(written_at, now, boot)
        if state_layout.flaw(before, now, boot) is None:
            if state is not None:
                self.follow(state)
            self._carry_over(before, state)
        elif (
            state is not None and not follow and state_layout.windows(state) != self.limits.windows
        ):
            log.warning(
                "note: the limits of this key have changed; requests that were sent still count"
            )
            self._carry_over(state)
        elif state is not None and state is not self._cells:
            self._carry_over(state)
        elif state is None:
            cells = self._grow()
            state_layout.fresh(cells, self.limits, boot)
        self._shape = self._cells[state_layout.SHAPE]
        self.follow(self._cells)

    def _sound(self, written_at: float, now: float, boot: float) -> memoryview[float] | None:
        """The state in the file, on this clock; None if the file was never used."""
        state = self._cells
        if len(state) == 1 and state[0] == state_layout.UNUSED:
            return None
        if flaw := state_layout.flaw(state, now, boot):
            longest_s = self.limits.longest_s
            log.warning(
                "%s can't be read (%s): all windows count as used up, for up to %g s. To begin "
                "anew, delete the file while no run goes on",
                self.path, flaw, longest_s,
            )  # fmt: skip
            state = memoryview(bytearray(8 * state_layout.size(self.limits))).cast("d")
            state_layout.used_up(state, self.limits, boot, now)
        elif state[state_layout.BOOT] != boot:
            if written_at > time() - now + 1.0:
                log.warning(
                    "%s was written by another machine, expected a folder of this one. For several "
                    "machines, set HEADRACE_BUDGET to a Postgres or Redis URL",
                    self.path,
                )
            state = state_layout.on_new_clock(
                state, state[state_layout.WALL] - (time() - now), now, boot
            )
        return state

    def _carry_over(self, state: memoryview[float], other: memoryview[float] | None = None) -> None:
        head, sends = [state[i] for i in range(state_layout.RINGS)], state_layout.send_times(state)
        if other is not None:
            sends = state_layout.merged(sends, state_layout.send_times(other))
            for index in state_layout.NEVER_EARLIER:
                head[index] = max(head[index], other[index])
        state_layout.carry_over(head, sends, self._grow(), self.limits)

    def _grow(self) -> memoryview[float]:
        """Room for these limits. Never smaller: another process may have the old size mapped."""
        wanted = 8 * state_layout.size(self.limits)
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

    def _opened(self) -> int:
        self._make_folder()
        return _open_named(self.path, struct.pack("d", state_layout.UNUSED))

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _permit_path(self, permit: int) -> Path:
        return self.folder / f"{self.name}.permit-{permit}"

    @classmethod
    def identity(cls, location: str) -> str:
        file = Path(location).expanduser() / ".identity"
        with _usable(file.parent, ConfigError):
            with suppress(FileExistsError), file.open("x") as new:
                new.write(secrets.token_hex(8))
            return file.read_text()

    @classmethod
    def printable_location(cls, location: str) -> str:
        return f"{Path(location).expanduser().absolute()} of {platform.node() or 'this machine'}"

    @classmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        folder = Path(location).expanduser()
        now, state = monotonic(), b""
        with _usable(folder, ConfigError), suppress(FileNotFoundError):  # a look takes no lock
            state = (folder / f"{name}.budget").read_bytes()
        cells = memoryview(state[: len(state) // 8 * 8]).cast("d")
        if state_layout.flaw(cells, now, boot_id()) or cells[state_layout.BOOT] != boot_id():
            cells = state_layout.EMPTY
        return now, last_hour(cells, now)


def _reserve(fd: int, size: int) -> None:
    """Grow a file for real: a write to a mapped page that a full disk can't back would kill us."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def _open_file(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _replace(fd: int, by: int) -> None:
    """Let ``fd`` stand for another file. Its lock goes with the old one."""
    os.dup2(by, fd, inheritable=False)
    os.close(by)


@contextmanager
def _usable(folder: Path, kind: type[ConfigError | Retryable]) -> Iterator[None]:
    """An error of the engine's own for what the file system says no to."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        if problem := machine_problem(error):
            raise kind(
                f"The budget's folder `{folder}` can't be used, since {problem}. Check: 1. that; "
                "2. `HEADRACE_BUDGET`: another folder, a Postgres URL or a Redis URL."
            ) from error
        raise kind(
            f"The budget's folder `{folder}` can't be used ({error.strerror}). Set HEADRACE_BUDGET "
            "to a folder that this user can write, to a Postgres URL or to a Redis URL."
        ) from error


def _open_named(path: Path, first: bytes) -> int:
    """Open a file that is made with ``first`` in it if need be: an empty one was emptied."""
    with suppress(FileNotFoundError):
        return _open_file(path, os.O_RDWR)
    fd, unnamed = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.write(fd, first)
        with suppress(FileExistsError):
            os.link(unnamed, path)
    finally:
        os.close(fd)
        os.unlink(unnamed)
    return _open_file(path, os.O_RDWR)
