"""Runs whose process is gone together with all that would have noticed: the machine was booted."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.sensors import CLOCK_SET_S, lives
from emulator.testing import Emulator, running
from local.services import S3
from pipeline.lake.read import manifests
from tests.assets.project import Project, project, served, wait_for
from tests.assets.support import FIRST_BACK, SECRET, day

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def api() -> Iterator[Emulator]:
    with running(
        games=20_000, rows={"genres": 20}, client_secret=SECRET, until=day(0), warm=["games"]
    ) as emulator:
        yield emulator


@pytest.fixture
def fresh(tmp_path: Path, s3: S3, api: Emulator) -> Project:
    return project(tmp_path / "booted", s3, api)


@pytest.mark.slow
def test_a_run_that_went_down_with_the_machine_is_started_again(
    fresh: Project, api: Emulator
) -> None:
    api.reset()
    with served(fresh) as server:
        lost = server.launch(["games"], day(FIRST_BACK))
        wait_for(lambda: api.stats()["requests"] >= 20, log=server.log)
        server.kill()
    with served(fresh) as server:
        assert server.wait(lost, "FAILURE") == "FAILURE"

        def retried() -> str | None:
            found = server.ask(RETRIES, run=lost)["runsOrError"]["results"]
            return found[0]["runId"] if found else None

        again = wait_for(retried, log=server.log)
        assert server.wait(again, "SUCCESS", "FAILURE") == "SUCCESS"
    (manifest,) = manifests(fresh.lake, "igdb", "games", day(FIRST_BACK))
    assert manifest.resumed_pages >= 4  # a batch of 2,000 rows, at least


def test_a_process_lives_until_it_ends_and_another_one_with_its_pid_is_not_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert lives(process.pid, time.time())
        assert not lives(process.pid, time.time() - 2 * CLOCK_SET_S)  # before it began
        process.kill()
    assert not lives(process.pid, time.time())


RETRIES = """query($run: String!) { runsOrError(
  filter: {tags: [{key: "dagster/parent_run_id", value: $run}]}) {
  ... on Runs { results { runId } } } }"""
