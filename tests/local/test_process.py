"""Children under their guard: nothing that they start outlives them, or us."""

import os
import sys
import time
from pathlib import Path

from local.process import running, tail

SOON_S = 60.0
"""Patience for a busy machine: what is waited for comes within a second on an idle one."""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + SOON_S
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def grandchild(pid_file: Path, then: str) -> list[str]:
    """A command that starts a process in a session of its own, deaf to SIGTERM."""
    code = (
        "import subprocess, sys, time\n"
        "deaf = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf + 'time.sleep(600)'],"
        " start_new_session=True)\n"
        f"open({str(pid_file)!r}, 'w').write(f'{{child.pid}}\\n')\n"
        f"{then}\n"
    )
    return [sys.executable, "-c", code]


def test_the_exit_code_is_the_commands_own() -> None:
    with running([sys.executable, "-c", "raise SystemExit(7)"], env=os.environ) as child:
        assert child.wait(SOON_S) == 7


def test_a_command_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with running(grandchild(pid_file, "pass"), env=os.environ) as child:
        assert child.wait(SOON_S) == 0
    assert gone(int(wait_for(pid_file)))


def test_stopping_ends_grandchildren_in_sessions_of_their_own(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = grandchild(pid_file, "time.sleep(600)")
    with running(command, env=os.environ, grace_s=1.0):
        pid = int(wait_for(pid_file))
        assert alive(pid)
    assert gone(pid)


def test_a_command_deaf_to_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(ready)!r}, 'w').write('1\\n'); time.sleep(600)"
    )
    with running([sys.executable, "-c", code], env=os.environ, grace_s=0.3) as child:
        wait_for(ready)
        child.stop()
        assert child.exit_code() == 128 + 9


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(
        [sys.executable, "-c", "print('a'); print('b')"], env=os.environ, log=log
    ) as child:
        child.wait(SOON_S)
    assert tail(log, 1) == "b"
