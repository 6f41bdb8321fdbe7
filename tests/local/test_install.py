"""The progress of the install: from what pip really prints, on a terminal and elsewhere."""

import doctest
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import install
from local.install import InstallProgress, Screen, follow, reason
from local.paths import ROOT
from local.ports import LOOPBACK, free_port

PIP = """\
Processing /clone
  Preparing metadata (pyproject.toml): started
Collecting aiohttp>=3.14.3 (from headrace==0.1.0)
  Using cached aiohttp-3.14.3-cp311-cp311-manylinux_2_17_x86_64.whl (1.7 MB)
Collecting dagster==1.13.27 (from -c constraints.txt (line 31))
  Downloading dagster-1.13.27-py3-none-any.whl (2.1 MB)
Processing /an/index/of/your/own/PyYAML-6.0.3-cp311.whl
  Downloading PyYAML-6.0.3.whl (806 kB)
Installing collected packages: pyyaml, aiohttp, dagster
"""


def test_the_doctest() -> None:
    assert doctest.testmod(install).failed == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_what_pip_prints_becomes_a_line_of_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(install, "_EVERY", 2)
    written: list[str] = []

    def pip() -> Iterator[str | None]:
        yield from PIP.splitlines()
        for name in ("PyYAML-6.0.3", "aiohttp-3.14.3"):
            (tmp_path / f"{name}.dist-info").mkdir()
            yield None

    progress = InstallProgress(3)
    follow(pip(), progress, Screen(written.append, terminal=terminal), tmp_path)
    assert progress.packages == 3
    assert f"{progress.megabytes:.3f}" == "4.606"
    text = "".join(written)
    assert "2 of 3 packages, 2 MB, 0 unpacked: dagster" in text
    assert ("3 of 3 packages, 5 MB, 2 unpacked: PyYAML" in text) == terminal
    assert ("\r" in text) == terminal
    assert text.count("\n") == (0 if terminal else 2)
    written.clear()  # the pip that looks at the whole counts on from the one before it
    follow([None], progress, Screen(written.append, terminal=terminal), tmp_path)
    assert "3 of 3 packages, 5 MB, 2 unpacked: PyYAML" in written[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "The disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError: Temporary failure in "
         "name resolution'", "The package index can't be reached: check the network, HTTPS_PROXY"),
        ("WARNING: Retrying (total=4) by 'ProxyError('Cannot connect to proxy.', OSError('Tunnel "
         "connection failed: 407'))'", "The proxy does not let pip through"),
        ("ERROR: No matching distribution found for dagster==1.13.27",
         "ERROR: No matching distribution found for dagster==1.13.27"),
    ],
)  # fmt: skip
def test_why_pip_failed_is_one_sentence(line: str, said: str) -> None:
    assert reason(["Collecting aiohttp", line, "ERROR: see above"][:2]).startswith(said)


@pytest.mark.slow
def test_an_index_that_nobody_serves_is_said_by_pip_and_in_one_sentence(tmp_path: Path) -> None:
    """Real pip, in a folder of a project that needs a package which is nowhere."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n'
        '[project.optional-dependencies]\ndemo = ["surely-nobody-has-this"]\n'
    )
    (tmp_path / "constraints.txt").write_text("# demo: all\nsurely-nobody-has-this==1\n")
    nobody = f"http://{LOOPBACK}:{free_port()}"
    env = {
        "PATH": os.environ["PATH"], "PIP_INDEX_URL": nobody,
        "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, str(ROOT / "local" / "install.py"), "demo"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("The package index can't be reached"), ran.stderr
    assert ran.stderr.endswith("`make install` tries again.\n"), ran.stderr


def test_a_pip_that_cannot_be_started_ends_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    pips = install.Pips([["a"], ["b"]])
    follow(pips.lines(), InstallProgress(2), Screen(lambda text: None, terminal=False), tmp_path)
    assert pips.failed
    assert "pip can't be started" in reason(pips.last_lines)


def test_packages_are_compiled_beside_the_last_pip(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "tests").mkdir(parents=True)
    for file in (package / "module.py", package / "tests" / "test_module.py"):
        file.write_text("x = 1\n")
    with install.compiling(tmp_path):
        pass
    assert [file.name.split(".")[0] for file in tmp_path.rglob("*.pyc")] == ["module"]
