"""The demo as its user runs it, to its end, and stopped in the middle."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from local.paths import ROOT, STATE

pytestmark = pytest.mark.slow

LONGEST_S = 240.0
MARK = "HEADRACE_TEST_MARK"


def processes_marked(mark: str) -> dict[int, str]:
    """Living processes whose environment has our mark, wherever they have got to."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment.split(b"\0"):
            found[int(folder.name)] = command
    return found


def left_after(mark: str, seconds: float) -> Mapping[int, str]:
    deadline = time.monotonic() + seconds
    while (left := processes_marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def folders() -> set[Path]:
    """The demo folders that were there before."""
    return set(STATE.glob("demo-*"))


@pytest.fixture
def demo(
    request: pytest.FixtureRequest, folders: set[Path], mark: str
) -> Iterator["subprocess.Popen[str]"]:
    """The demo; its parameter are the words behind it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as own:  # what is killed can't clean up
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "demo", *getattr(request, "param", ())],
            cwd=ROOT,
            env={**os.environ, MARK: mark, "PYTHONUNBUFFERED": "1", "TMPDIR": own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            yield process
            process.kill()
        assert left_after(mark, 60.0) == {}
    for folder in set(STATE.glob("demo-*")) - folders:
        shutil.rmtree(folder)


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} did not come:\n{seen}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
class TestStopped:
    def test_it_stops_everything_and_leaves_no_folder(
        self, folders: set[Path], mark: str, demo: "subprocess.Popen[str]"
    ) -> None:
        seen = read_until(demo, "requests,")
        started = " ".join(processes_marked(mark).values())
        assert all(name in started for name in ("weed", "emulator", "dagster")), seen
        demo.send_signal(signal.SIGTERM)
        rest, _ = demo.communicate(timeout=60)
        assert demo.returncode == 130
        assert rest.strip().endswith("Stopped.")
        assert "Traceback" not in rest
        assert set(STATE.glob("demo-*")) <= folders

    def test_killed_it_leaves_no_process(self, demo: "subprocess.Popen[str]") -> None:
        read_until(demo, "requests,")
        demo.kill()


def test_it_shows_that_nothing_is_missing(demo: "subprocess.Popen[str]") -> None:
    output, _ = demo.communicate(timeout=LONGEST_S)
    assert demo.returncode == 0, output
    assert "20,000 rows in the API: 0 missing in the lake, 0 there in an older version" in output


@pytest.mark.parametrize("demo", [["aws"]], indirect=True)
def test_it_shows_an_inventory_of_aws_lane_by_lane(
    demo: "subprocess.Popen[str]", folders: set[Path]
) -> None:
    output, _ = demo.communicate(timeout=2 * LONGEST_S)
    assert demo.returncode == 0, output
    assert "3 accounts × 4 regions" in output
    table = output.partition("read back from the manifests")[2]
    lanes = [line.split() for line in table.splitlines() if " ec2_volumes " in line]
    # partition, endpoint, rows, lanes, with rows, none, denied, failed
    counted = [(cells[3], cells[-2:]) for cells in lanes]
    assert counted == [("12", ["0", "0"])] * 2, output
    assert int(lanes[1][2]) == int(lanes[0][2]) + 2, "one volume is deleted, and three come"
    assert "the lake has exactly the" in output
    assert "docs/aws.md" in output
    assert set(STATE.glob("demo-*")) <= folders
