"""What a machine lacks is one sentence of `make demo` and `make ui`, without a stack trace."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from local import __main__ as command
from local.paths import ROOT
from local.process import LocalError


def tools(folder: Path, python: str) -> dict[str, str]:
    """A PATH with a shell's tools, and a Python that says it is of this version."""
    for name in ("sh", "rm", "sed", "cat", "printf", "env"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    fake = folder / "python3"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {python}" && exit 0\nexit 1\n'
    )
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
    ("named", "said"),
    [
        ("bin/python3", "PYTHON is bin/python3, which is Python 3.9.18: Headrace needs 3.11"),
        ("nowhere/python", "PYTHON is nowhere/python, and there is no such program: name a"),
    ],
)
def test_a_python_that_is_named_and_does_not_suit_is_not_replaced(
    named: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    env = tools(tmp_path / "bin", "3.9.18") | {"PYTHON": named}
    (tmp_path / "bin" / "python3.12").symlink_to(sys.executable)  # one that would do
    ran = subprocess.run(
        ["/bin/sh", str(ROOT / "local" / "setup.sh"), "venv", "stamp", "demo"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    [line] = ran.stderr.splitlines()
    assert line.startswith(said)
    assert not (tmp_path / "venv").exists()


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


def test_a_child_that_could_not_write_for_want_of_room_is_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its log is empty then."""

    def failed(options: object) -> None:
        raise LocalError("Dagster could not be started")

    monkeypatch.setattr(command, "_run", failed)
    monkeypatch.setattr("sys.argv", ["local", "demo"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main() == 1
    assert capsys.readouterr().err.strip() == "Dagster could not be started"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert command.main() == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("The local services can't run: the disk is full: make room for")
    assert "\n" not in told
