"""Dagster's command line, from the project's folder, on a fresh instance."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emulator.testing import Emulator, running
from local.dagster_cli import dagster
from local.process import tail
from local.services import S3
from pipeline.lake.read import dataset, manifests
from tests.assets.project import (
    STEP_START,
    Project,
    is_staged,
    materialize,
    project,
    wait_for,
)
from tests.assets.support import FIRST_BACK, ROOT, SECRET, day, day_s
from tests.faults.proxy import proxied

pytestmark = pytest.mark.slow
GAMES = 20_000


@pytest.fixture(scope="module")
def api() -> Iterator[Emulator]:
    with running(
        games=GAMES, rows={"genres": 20, "themes": 15, "covers": 30}, client_secret=SECRET,
        until=day(0), warm=["games"],
    ) as emulator:  # fmt: skip
        yield emulator


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, s3: S3, api: Emulator) -> Project:
    return project(tmp_path_factory.mktemp("dag-cli"), s3, api)


def test_definitions_validate(fresh: Project) -> None:
    code, said = fresh.run(dagster("definitions", "validate"))
    assert code == 0, said
    assert "All code locations passed validation" in said


def test_definitions_validate_says_which_setting_is_missing(fresh: Project) -> None:
    code, said = fresh.run(dagster("definitions", "validate"), HEADRACE_LAKE=None)
    assert code == 1
    assert "`HEADRACE_LAKE` is not set: expected the lake's URL, such as s3://bucket/prefix" in said
    assert "pipeline/" not in said
    assert "assets/" not in said


def test_an_asset_downstream_runs_with_what_it_reads(fresh: Project) -> None:
    """``examples/downstream.py``, for a range in one run."""
    days = [day(3), day(2)]
    code, said = fresh.run(
        dagster(
            "asset", "materialize", "-f", "examples/downstream.py", "--select",
            "igdb/games,reports/best_games", "--partition-range", "...".join(days),
        )
    )  # fmt: skip
    assert code == 0, said
    for one in days:
        games = dataset(fresh.lake, "igdb", "games", one).to_table()["rating"].to_pylist()
        best = fresh.lake.get(f"reports/best_games/dt={one}.parquet")
        assert best is not None
        ratings = pq.read_table(io.BytesIO(best.body))["rating"].to_pylist()
        assert ratings == sorted((x for x in games if x is not None), reverse=True)[:10]
    code, said = fresh.run(
        dagster(
            "asset", "materialize", "-f", "examples/downstream.py", "--select",
            "reports/best_games", "--partition", day(4),
        )
    )  # fmt: skip
    assert code != 0
    assert "igdb/games has none of the requested partitions" in said


def test_dg_checks_and_launches(fresh: Project) -> None:
    code, said = fresh.run(["dg", "check", "defs"])
    assert code == 0, said
    code, said = fresh.run(["dg", "launch", "--assets", "igdb/themes", "--partition", day(1)])
    assert code == 0, said
    assert day(1) in {each.partition for each in manifests(fresh.lake, "igdb", "themes")}


def test_a_step_that_is_killed_goes_on_from_its_checkpoint(fresh: Project, api: Emulator) -> None:
    api.reset()
    log = fresh.folder / "killed.log"
    with fresh.started(materialize("games", partition=day(FIRST_BACK)), log) as child:
        wait_for(lambda: log.exists() and STEP_START.search(log.read_text()), log=log)
        wait_for(lambda: api.stats()["requests"] >= 20, log=log)
        wait_for(lambda: is_staged(fresh.lake, "games", day(FIRST_BACK)), log=log)
        (pid,) = STEP_START.findall(log.read_text())
        os.kill(int(pid), signal.SIGKILL)
        assert child.wait(120) == 0, tail(log, 40)
    said = log.read_text()
    assert "STEP_UP_FOR_RETRY" in said
    assert "STEP_RESTARTED" in said
    rows = dataset(fresh.lake, "igdb", "games", day(FIRST_BACK)).to_table(columns=["id"])
    ids = rows["id"].to_pylist()
    wanted = [row["id"] for row in api.rows("games", f"updated_at < {day_s(FIRST_BACK - 1)}")]
    assert len(ids) == len(set(ids))
    assert set(wanted) <= set(ids)
    pages = -(-len(ids) // 499)
    assert api.stats()["requests"] < 20 + pages
    (manifest,) = manifests(fresh.lake, "igdb", "games", day(FIRST_BACK))
    assert manifest.resumed_pages >= 4  # a batch of 2,000 rows, at least
    assert api.stats()["max_in_1s"] <= 4


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_step_ends_with_the_run_that_is_killed(fresh: Project, api: Emulator) -> None:
    """It would go on beside the next run, and never end."""
    api.reset()
    log, before = fresh.folder / "orphan.log", manifests(fresh.lake, "igdb", "games")
    command = materialize("games", partition=day(FIRST_BACK))
    with log.open("wb") as out:  # without our guard, which would end the step as well
        run = subprocess.Popen(command, env=fresh.env, cwd=ROOT, stdout=out, stderr=out)
    wait_for(lambda: STEP_START.search(log.read_text()), log=log)
    (pid,) = STEP_START.findall(log.read_text())
    step = Path(f"/proc/{pid}")
    try:
        wait_for(lambda: api.stats()["requests"] >= 5, log=log)
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not step.exists(), log=log)
    assert manifests(fresh.lake, "igdb", "games") == before


@pytest.mark.skipif(sys.platform != "linux", reason="the step's process is forked")
def test_an_interrupt_does_not_wait_for_s3(fresh: Project, api: Emulator, s3: S3) -> None:
    """It would wait for all tries of boto3: for minutes."""
    api.reset()
    log = fresh.folder / "interrupted.log"
    command = materialize("games", partition=day(FIRST_BACK))
    with proxied(s3.endpoint_url) as proxy, log.open("wb") as out:
        proxy.some("stall", "put", times=100, after=1)  # the first one tries conditions out
        env = {**fresh.env, "AWS_ENDPOINT_URL_S3": proxy.url}
        run = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out)
        try:
            wait_for(lambda: proxy.broken["put"], log=log)
            run.send_signal(signal.SIGINT)
            wait_for(lambda: run.poll() is not None, log=log)  # all tries of boto3 take longer
            assert run.returncode == 1
        finally:
            run.kill()
            run.wait()
    ended = "child process for step igdb_extract was terminated by signal 14 (SIGALRM)"
    assert ended in log.read_text()
