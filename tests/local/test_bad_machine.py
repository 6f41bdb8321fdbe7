"""What a machine lacks is one sentence of `make demo` and `make ui`, without a stack trace."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local import __main__ as command
from local.paths import ROOT


def tools(folder: Path, python: str) -> dict[str, str]:
    """A PATH with a shell's tools, and a Python that says it is of this version."""
    for name in ("sh", "rm", "sed", "cat", "printf", "env"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    fake = folder / "python3"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {python}"\nexit 1\n')
    fake.chmod(0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


def test_a_python_that_is_too_old_is_named_with_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    ran = subprocess.run(
        ["/bin/sh", str(ROOT / "local" / "setup.sh"), "venv", "stamp", "demo"],
        cwd=tmp_path, env=tools(tmp_path / "bin", "3.9.18"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    [said] = ran.stderr.splitlines()
    assert said.startswith(
        "Headrace needs Python 3.11 or newer on PATH, and found Python 3.9.18: install one"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "the disk is full: make room for some 1 GB in ",
        ),
        (OSError("No block of 5 free ports was found"), "No block of 5 free ports was found."),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk can't be had otherwise."""

    def full(options: object) -> None:
        raise error

    monkeypatch.setattr(command, "_run", full)
    monkeypatch.setattr("sys.argv", ["local", "demo"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main() == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"The local services can't run: {said}")
    assert "\n" not in told
