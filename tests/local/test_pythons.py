"""Which Pythons `make test-pythons` takes: those that run, each in an environment of its own."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def pythons(folder: Path, *versions: str, make: str = "exit 0") -> tuple[int, str]:
    """With 3.11 on PATH, 3.12 there only as a script that refuses, and 3.13 under pyenv."""
    program(folder / "bin" / "python3.11", "exit 0")
    program(folder / "bin" / "python3.12", "exit 127")
    program(folder / "pyenv" / "versions" / "3.13.0" / "bin" / "python", "exit 0")
    program(folder / "make", f'echo "$*"\n{make}')
    env = {
        "PATH": f"{folder / 'bin'}:{os.defpath}",
        "PYENV_ROOT": str(folder / "pyenv"),
        "HOME": str(folder),
        "MAKE": str(folder / "make"),
    }
    done = subprocess.run(
        ["sh", "local/pythons.sh", *versions], cwd=ROOT, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_each_python_that_runs_has_its_turn(tmp_path: Path) -> None:
    code, said = pythons(tmp_path, "3.11", "3.12", "3.13")
    assert code == 0
    assert said.splitlines() == [
        "test-fast VENV=.venvs/3.11 PYTHON=python3.11",
        "Python 3.12 is not installed: left out.",
        f"test-fast VENV=.venvs/3.13 PYTHON={tmp_path}/pyenv/versions/3.13.0/bin/python",
        "Tested with Python 3.11 3.13: all passed.",
    ]


def test_one_that_fails_does_not_stop_the_others_but_the_end_says_so(tmp_path: Path) -> None:
    code, said = pythons(tmp_path, "3.11", "3.13", make='case "$*" in *3.11*) exit 2; esac')
    assert code == 1
    assert said.endswith("Tested with Python 3.11 3.13: failed with 3.11.\n")


def test_none_at_all_is_a_failure(tmp_path: Path) -> None:
    code, said = pythons(tmp_path, "3.12")
    assert code == 1
    assert "None of the versions asked for is installed: 3.12" in said
