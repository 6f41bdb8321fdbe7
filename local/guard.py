"""Run a command that must not outlive whoever started it.

    python guard.py FD GRACE_S COMMAND…

FD is the read end of a pipe whose write end only the starter holds. The end of that pipe, reached
when the starter closes it or dies of anything at all, SIGKILL included, means *stop*: SIGTERM to
the command, GRACE_S seconds later SIGKILL to all of its descendants. When the command ends by
itself, what it left running is killed too, and its exit code is passed on.

Law of this file: standard library only, no imports from this project, no threads. It is started as
a script with `python -S`, so that it costs some 20 ms and 10 MB.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.05


def _prctl(option: int, value: int) -> None:
    """Linux only, and only a second line of defence: elsewhere the pipe alone does the work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_guard() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after_name[0] != "Z":
            found.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    return found


def descendants(pid: int) -> list[int]:
    """All living descendants of a process, parents first; none where there is no /proc."""
    tree = _children_by_parent()
    found: list[int] = []
    level = tree.get(pid, [])
    while level:
        found += level
        level = [child for parent in level for child in tree.get(parent, [])]
    return found


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _kill_what_is_left() -> None:
    """As orphans are handed to this process (subreaper), its descendants are all there is."""
    deadline = time.monotonic() + 2.0
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        _signal_all(left, signal.SIGKILL)
        time.sleep(POLL_S)


def _stop(command: subprocess.Popen[bytes], grace_s: float) -> None:
    command.terminate()
    try:
        command.wait(grace_s)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()


def main(arguments: list[str]) -> int:
    fd, grace_s = int(arguments[0]), float(arguments[1])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _die_with_guard()

    # The guard has no threads, so code between fork and exec is safe.
    command = subprocess.Popen(arguments[2:], preexec_fn=prepare)
    while command.poll() is None:
        if select.select([fd], [], [], POLL_S)[0]:
            _stop(command, grace_s)
    _kill_what_is_left()
    code = command.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
