"""The progress of the install: from what pip really prints, on a terminal and elsewhere."""

import doctest
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local import install
from local.install import PACKAGES, InstallProgress, Screen, follow, reason
from local.paths import ROOT
from local.ports import LOOPBACK, free_port
from tests.local.test_dependencies import EXTRAS, PROJECT

PIP = """\
Processing /clone
  Preparing metadata (pyproject.toml): started
Collecting aiohttp>=3.14.3 (from headrace==0.1.0)
  Using cached aiohttp-3.14.3-cp311-cp311-manylinux_2_17_x86_64.whl (1.7 MB)
Collecting dagster==1.13.27 (from -c constraints.txt (line 31))
  Downloading dagster-1.13.27-py3-none-any.whl (2.1 MB)
Collecting pyyaml>=6.0.1
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
    monkeypatch.setattr(install, "_POLL_S", 0.001)
    written: list[str] = []
    unpacked = threading.Event()

    def write(text: str) -> None:
        written.append(text)
        if "unpacking: 2 of 3" in text:
            unpacked.set()

    def pip() -> Iterator[str]:
        yield from PIP.splitlines()
        for name in ("PyYAML-6.0.3", "aiohttp-3.14.3"):
            (tmp_path / f"{name}.dist-info").mkdir()
        assert unpacked.wait(30)

    progress = InstallProgress(3)
    follow(pip(), progress, Screen(write, terminal=terminal), tmp_path)
    said = "".join(written)
    assert (progress.found, progress.unpacking) == (3, 3)
    assert f"{progress.megabytes:.3f}" == "4.606"
    assert "2 of about 3 packages, 2 MB: dagster" in said
    assert ("\r" in said) == terminal
    assert said.count("\n") == (0 if terminal else 2)


@pytest.mark.parametrize("extra", PACKAGES)
def test_about_how_many_packages_there_are(extra: str) -> None:
    """The closure of the extra in this environment, which has all of them."""
    waiting = [*PROJECT["dependencies"], *EXTRAS["demo"], *(EXTRAS[extra])]
    seen = set[tuple[str, ...]]()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonicalize_name(wanted.name)
        if name == "headrace" or (name, *wanted.extras) in seen:
            continue
        seen.add((name, *wanted.extras))
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in needs:
            need = Requirement(text)
            marker = need.marker
            if marker is None or any(
                marker.evaluate({"extra": each}) for each in ("", *wanted.extras)
            ):
                waiting.append(text)
    names = {each[0] for each in seen}
    assert len(names) == pytest.approx(PACKAGES[extra], rel=0.25), len(names)


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
        '[project]\nname = "x"\nversion = "1"\n[project.optional-dependencies]\n'
        'demo = ["surely-nobody-has-this"]\n[build-system]\nrequires = []\n'
        'build-backend = "b"\nbackend-path = ["."]\n'
    )
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "b.py").write_text(
        "import os\n"
        "def prepare_metadata_for_build_wheel(folder, config=None):\n"
        "    os.mkdir(f'{folder}/x-1.dist-info')\n"
        "    open(f'{folder}/x-1.dist-info/METADATA', 'w').write('Metadata-Version: 2.1\\nName: x"
        "\\nVersion: 1\\nProvides-Extra: demo\\nRequires-Dist: surely-nobody-has-this; "
        'extra == "demo"\\n\')\n'
        "    return 'x-1.dist-info'\n"
        "def build_wheel(*_): raise SystemExit(1)\n"
    )
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
