"""Sweeps as Dagster runs them: several of them in a step, and a step that is killed."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets import source_sweeps
from emulator.testing import Emulator, running
from local.dagster_cli import dagster
from local.process import tail
from local.services import S3
from tests.assets.project import project, wait_for
from tests.assets.support import ALONE, IMPATIENT, SECRET, Headrace, Ran, day, failing, igdb

pytestmark = pytest.mark.slow

STEP_START = re.compile(r" - (\d+) - igdb_sweeps - STEP_START ")


def swept(headrace: Headrace, *names: str) -> Ran:
    sweeps = source_sweeps(headrace.source)
    assert sweeps is not None
    chosen = dg.AssetSelection.assets(*(dg.AssetKey(["igdb", f"{name}_gone"]) for name in names))
    return headrace.run(chosen, None, further=[sweeps])


def test_a_sweep_that_fails_leaves_the_others_told_of_and_they_are_not_done_again(
    headrace: Headrace, api: Emulator
) -> None:
    source = igdb(api, ALONE | IMPATIENT)
    genres = source.endpoints["genres"].model_copy(update={"sweep": True})
    ours = replace(
        headrace,
        source=source.model_copy(update={"endpoints": {**source.endpoints, "genres": genres}}),
    )
    assert swept(ours, "games").success
    pages = api.stats()["by_path"]["/v4/games"]
    api.reset()
    api.faults(*failing("genres", kind="status", status=500, next=1))
    ran = swept(ours, "games", "genres")
    assert ran.success
    assert len(ran.retries()) == 1
    made = [entry.asset_materialization for entry in ran.entries]
    told = [each.asset_key.path[-1] for each in made if each]
    assert told == ["games_gone", "genres_gone"]
    assert api.stats()["by_path"]["/v4/games"] == pages


@pytest.fixture
def slow_api() -> Iterator[Emulator]:
    with running(games=20_000, client_secret=SECRET, until=day(0), warm=["games"]) as emulator:
        yield emulator


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the step's process is forked")
def test_a_sweep_whose_step_is_killed_is_tried_again(
    tmp_path: Path, s3: S3, slow_api: Emulator
) -> None:
    fresh, log = project(tmp_path / "swept", s3, slow_api), tmp_path / "killed.log"
    command = dagster("asset", "materialize", "-f", "definitions.py", "--select", "igdb/games_gone")
    with fresh.started(command, log) as child:
        wait_for(lambda: log.exists() and STEP_START.search(log.read_text()), log=log)
        wait_for(lambda: slow_api.stats()["requests"] >= 4, log=log)
        (pid,) = STEP_START.findall(log.read_text())
        os.kill(int(pid), signal.SIGKILL)
        assert child.wait(120) == 0, tail(log, 40)
    said = log.read_text()
    assert "STEP_RESTARTED" in said
    assert re.search(r"games: [\d,]+ of 20,000 keys read", said)
