"""A host that has imported Dagster: commands are forks of it, and end with it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.dagster_cli import PlainScreen, dagster, run
from local.dagster_host import Start, dagster_host
from local.process import LocalError, python_env
from tests.local.test_process import alive, gone, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked"),
]

SLOW = """
import os, pathlib, time
import dagster as dg

@dg.asset
def slow() -> None:
    pathlib.Path("{pid_file}").write_text(f"{{os.getpid()}}\\n")
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def start(folder: Path) -> Iterator[Start]:
    with dagster_host(["assets"], os.environ | python_env(), folder / "host.log") as starting:
        yield starting


def test_each_command_has_its_own_settings_and_log(start: Start, folder: Path) -> None:
    for name in ("first", "second"):
        home = folder / name
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        env = os.environ | python_env() | {"DAGSTER_HOME": str(home)}
        log = folder / f"{name}.log"
        run(dagster("instance", "info"), env, log, PlainScreen, start)
        assert f"$DAGSTER_HOME: {home}\n" in log.read_text()
    assert (folder / "host.log").read_text() == ""


def test_a_command_has_the_process_that_imported_dagster_as_its_parent(
    start: Start, folder: Path
) -> None:
    """So it need not import it again: the project of this command only looks whether it has."""
    project = folder / "looks.py"
    project.write_text(
        "import sys\nprint('imported', 'assets.step' in sys.modules)\n"
        "import dagster as dg\n\n@dg.asset\ndef one() -> None: ...\n"
    )
    log = folder / "looks.log"
    run(dagster("asset", "list", "-f", str(project)), os.environ, log, PlainScreen, start)
    assert "imported True" in log.read_text()


def test_a_command_that_fails_says_so(start: Start, folder: Path) -> None:
    with pytest.raises(LocalError, match=r"(?s)exit code 2.*No such command 'nonsense'"):
        run(dagster("nonsense"), os.environ, folder / "nonsense.log", PlainScreen, start)


def test_a_host_that_can_not_import_names_its_log_and_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "host.log"
    with (
        dagster_host(["no_such_module"], os.environ, log) as starting,
        pytest.raises(LocalError, match=rf"(?s){log}.*No module named 'no_such_module'"),
    ):
        run(dagster("--version"), os.environ, tmp_path / "run.log", PlainScreen, starting)


def test_a_command_ends_with_its_host(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    (tmp_path / "slow.py").write_text(SLOW.format(pid_file=pid_file))
    command = dagster("asset", "materialize", "-f", str(tmp_path / "slow.py"), "--select", "slow")
    env = os.environ | {"DAGSTER_HOME": str(tmp_path)}
    with (
        dagster_host([], os.environ | python_env(), tmp_path / "host.log") as starting,
        starting(command, env, tmp_path / "run.log"),
    ):
        pid = int(wait_for(pid_file))
        assert alive(pid)
    assert gone(pid)
