"""Ending with another process, so that nothing is left behind.

A thread, not a task: it works before the event loop runs and while it is busy.
"""

import os
import threading
import time
from pathlib import Path

POLL_S = 0.3


def exit_with(pid: int) -> None:
    """From now on, end this process soon after that one has ended."""
    is_parent = os.getppid() == pid

    def watch() -> None:
        while os.getppid() == pid if is_parent else alive(pid):
            time.sleep(POLL_S)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state != "Z"
