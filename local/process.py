"""Start child processes that stop with us: each runs under `guard.py`.

Units: seconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from local.paths import ROOT

A = TypeVar("A")
B = TypeVar("B")
GUARD = Path(__file__).with_name("guard.py")
STARTER_MARGIN_S = 5.0


class LocalError(Exception):
    """Something about this machine that the user can put right; the message is one sentence."""


@dataclass(frozen=True)
class Child:
    """A command under its guard. Its exit code, once there is one, is the command's own."""

    guard: "subprocess.Popen[bytes]"
    pipe_fd: int
    grace_s: float

    def exit_code(self) -> int | None:
        return self.guard.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        return self.guard.wait(timeout_s)

    def stop(self) -> None:
        """End the command and all it started; returns when they are gone. May be called twice."""
        with contextlib.suppress(OSError):
            os.close(self.pipe_fd)
        try:
            self.guard.wait(self.grace_s + STARTER_MARGIN_S)
        except subprocess.TimeoutExpired:
            # The guard leads its own session, so its pid is also the group of what it started.
            os.killpg(self.guard.pid, signal.SIGKILL)
            self.guard.wait()


def _start(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None,
    output: IO[bytes] | int | None,
    grace_s: float,
    stdin: int,
) -> Child:
    read_fd, write_fd = os.pipe()
    try:
        guard = subprocess.Popen(
            [sys.executable, "-S", "-E", str(GUARD), str(read_fd), str(grace_s), *command],
            pass_fds=(read_fd,),
            start_new_session=True,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=dict(env),
            cwd=cwd,
        )
    except BaseException:
        os.close(write_fd)
        raise
    finally:
        os.close(read_fd)
    return Child(guard, write_fd, grace_s)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    log: Path | None = None,
    grace_s: float = 5.0,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Child]:
    """Run a command for the length of a `with`; its output goes to `log`, or to our own.

    :param stdin: what it reads: a file descriptor; by default nothing.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else None
        child = _start(command, env, cwd, output, grace_s, stdin)
        stack.callback(child.stop)
        yield child


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error message."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def python_env() -> dict[str, str]:
    """How a Python finds the project and its commands, wherever it is started."""
    scripts = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        # Dagster's hints to use a newer command would hide what the demo shows.
        "PYTHONWARNINGS": "ignore",
    }


@contextlib.contextmanager
def side_by_side(
    first: contextlib.AbstractContextManager[A], second: contextlib.AbstractContextManager[B]
) -> Iterator[tuple[A, B]]:
    """Enter two at once, each of which waits until a process is ready; `second` in a thread."""
    with contextlib.ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        others = stack.enter_context(contextlib.ExitStack())
        entering = thread.submit(others.enter_context, second)
        stack.callback(wait, [entering])  # what is half entered can't be left
        entered = stack.enter_context(first)
        yield entered, entering.result()
