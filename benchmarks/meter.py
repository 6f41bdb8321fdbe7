"""What a process used between two points: wall, CPU, memory; and how long its event loop stood.

Starting the interpreter and importing is not in it. CPU is that of all threads and of the children
that have ended. Peak memory is the process's own, from the kernel (``VmHWM``).
"""

import asyncio
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Any

TICK_S = 0.005


class Meter:
    """``with Meter() as meter: …; meter.figures()``."""

    def __enter__(self) -> "Meter":
        self._before_mb = memory_mb("VmRSS")
        self._cpu_s, self._wall_s = cpu_s(), time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._wall_s = time.monotonic() - self._wall_s
        self._cpu_s = cpu_s() - self._cpu_s

    def figures(self) -> dict[str, Any]:
        return {
            "wall_s": round(self._wall_s, 3),
            "cpu_s": round(self._cpu_s, 3),
            "peak_mb": round(memory_mb("VmHWM"), 1),
            "before_mb": round(self._before_mb, 1),
        }


def cpu_s() -> float:
    """CPU seconds, user and system, of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def memory_mb(name: str) -> float:
    """A figure of /proc/self/status. ``ru_maxrss`` would count the parent before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class LoopLag:
    """A task that wants to run every 5 ms, and notes by how much it comes late.

    Late by the wall clock includes other processes that have the cores; ``busy`` counts only CPU
    time that the loop's own thread used between two ticks, which is what a callback can be blamed
    for.
    """

    def __init__(self) -> None:
        self._late_s: list[float] = []
        self._busy_s: list[float] = []
        self._at_s: list[float] = []

    async def __aenter__(self) -> "LoopLag":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        began = time.monotonic()
        while True:
            due, used = time.monotonic() + TICK_S, time.thread_time()
            await asyncio.sleep(TICK_S)
            self._late_s.append(time.monotonic() - due)
            self._busy_s.append(time.thread_time() - used)
            self._at_s.append(time.monotonic() - began)

    def figures(self) -> dict[str, Any]:
        if not self._late_s:
            return {}
        late, busy = sorted(self._late_s), sorted(self._busy_s)
        return {
            "loop_late_max_ms": round(late[-1] * 1000, 1),
            "loop_late_p999_ms": round(late[int(len(late) * 0.999)] * 1000, 1),
            "loop_busy_max_ms": round(busy[-1] * 1000, 1),
            "loop_busy_max_at_s": round(self._at_s[self._busy_s.index(busy[-1])], 2),
            "loop_busy_p999_ms": round(busy[int(len(busy) * 0.999)] * 1000, 1),
        }
