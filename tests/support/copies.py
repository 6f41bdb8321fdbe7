"""A copy of the project, as a fresh clone would be, with the packages that are installed here."""

import compileall
import os
import shutil
import subprocess
from pathlib import Path

from local.paths import ROOT

OLD = 0.0
"""Files that make compares with its stamps: older than these, or it would install again."""
COMPARED = ("pyproject.toml", "constraints.txt", "local/setup.sh")
STARTED = (
    *("assets", "commands", "docsite", "emulator"),
    *("local", "pipeline", "resources", "sourcetool"),
)
"""Packages that processes of the copy import, as `make setup` leaves them: compiled."""


def copy_of_project(to: Path) -> Path:
    """All files that git knows or would add, and a link to `.venv`."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    for name in COMPARED:
        os.utime(to / name, (OLD, OLD))
    for package in STARTED:
        compileall.compile_dir(to / package, quiet=1)
    if not (to / ".venv").exists():
        (to / ".venv").symlink_to((ROOT / ".venv").resolve())
    return to
