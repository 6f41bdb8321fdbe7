"""In which process a step runs: forked where that is safe, else as Dagster does it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assets.executors import may_fork, with_start_method
from tests.assets.support import ROOT

PROJECT = """
import os
from pathlib import Path

import dagster as dg

from assets import step_executor

LOADED_BY = os.getpid()


@dg.asset
def who() -> None:
    Path(os.environ["TOLD"]).write_text(f"{LOADED_BY} {os.getpid()}")


defs = dg.Definitions(assets=[who], executor=step_executor)
"""


def test_only_a_process_without_threads_of_unknown_doing_is_forked() -> None:
    assert may_fork("linux", ["MainThread"])
    assert may_fork("linux", ["MainThread", "termination-handler", "QueueFeederThread"])
    assert not may_fork("linux", ["MainThread", "Thread-1"])
    assert not may_fork("darwin", ["MainThread"])


def test_dagsters_spawn_becomes_a_fork() -> None:
    config = {"multiprocess": {"max_concurrent": 2}}
    assert with_start_method(config, fork=False) == config
    forking = {"multiprocess": {"max_concurrent": 2, "start_method": {"fork": {}}}}
    assert with_start_method(config, fork=True) == forking


@pytest.mark.parametrize(
    "own", [{"multiprocess": {"start_method": {"spawn": {}}}}, {"in_process": {}}]
)
def test_what_a_run_says_of_its_own_stays(own: dict[str, Any]) -> None:
    assert with_start_method(own, fork=True) == own


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Dagster spawns")
@pytest.mark.parametrize("start", ["", '{"start_method": {"spawn": {}}}'], ids=["fork", "spawn"])
def test_the_step_has_a_process_of_its_own_that_loads_nothing_again(
    tmp_path: Path, start: str
) -> None:
    file, told = tmp_path / "tiny.py", tmp_path / "told"
    file.write_text(PROJECT)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(file)]
    command += ["--select", "who"]
    if start:
        command += ["--config-json", f'{{"execution": {{"config": {{"multiprocess": {start}}}}}}}']
    settings = {"DAGSTER_HOME": str(tmp_path), "TOLD": str(told)}
    done = subprocess.run(
        command, env=os.environ | settings, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loaded_by, ran_in = told.read_text().split()
    run = done.stderr.partition("parent process (pid: ")[2].partition(")")[0]
    assert ran_in != run
    assert loaded_by == (ran_in if start else run)
