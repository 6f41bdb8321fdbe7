"""SIGKILL, anywhere: the next run ends with the API's rows, each once, and nothing is left over.

The whole engine runs in a process of its own. The points are its operations on S3, counted in a
run that lives; none is picked by hand. Each also falls somewhere into the reading of pages.
"""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from emulator.testing import Emulator
from local.services import S3
from pipeline.lake.maintenance import clean
from pipeline.lake.read import dataset, manifests
from pipeline.lake.s3 import Lake
from tests.faults.support import IN_DAY_S, check_clean, check_rows, new_run_id
from tests.faults.workers import Task, Told, Worker, workers

ENDPOINT = "platforms"
OPTIONS = {"only": [ENDPOINT], "page_rows": 100, "batch_rows": 100, "pack": 1}


@pytest.fixture
def task(api: Emulator) -> Callable[..., Task]:
    def make(lake: Lake, **more: Any) -> Task:
        address = (api.port, api.client_id, api.client_secret)
        return Task(lake.url().rstrip("/"), address, OPTIONS, new_run_id(), **more)

    return make


def once(s3: S3, task: Task) -> Told | None:
    worker = Worker(s3)
    worker.begin(task)
    told = worker.told()
    worker.end()
    return told


def lives(worker: Worker, task: Task) -> Told:
    worker.begin(task)
    told = worker.told()
    assert told is not None
    assert not told.errors
    return told


def state(api: Emulator) -> dict[int, str]:
    return {row["id"]: row["checksum"] for row in api.rows(ENDPOINT)}


def read(lake: Lake) -> dict[int, str]:
    """Key and checksum of all committed rows; none is there twice."""
    if not manifests(lake, "igdb", ENDPOINT):
        return {}
    rows = dataset(lake, "igdb", ENDPOINT).to_table()
    found = dict(zip(rows["id"].to_pylist(), rows["checksum"].to_pylist(), strict=True))
    assert len(found) == rows.num_rows
    return found


@pytest.mark.slow
def test_between_any_two_operations_of_a_replacement(
    api: Emulator, s3: S3, lake: Lake, task: Callable[..., Task]
) -> None:
    """All points, those of the commit included; the old generation is readable until the new."""
    with workers(s3, 1) as (steady,):
        lives(steady, task(lake))
        api.touch(ENDPOINT, count=10, updated_at=IN_DAY_S)
        points = lives(steady, task(lake)).operations
        assert len(points) >= 15
        for needed in ("create_upload", "complete_upload", "put _checkpoints", "put _manifests"):
            assert any(needed in point for point in points), needed
        for point in range(len(points)):
            before = state(api)
            api.touch(ENDPOINT, count=10, updated_at=IN_DAY_S)
            after = state(api)
            assert once(s3, task(lake, die_at=point)) is None, points[point]
            assert read(lake) in (before, after), points[point]
            lives(steady, task(lake))
            assert read(lake) == after, points[point]
            check_clean(lake)
    check_rows(lake, api.rows(ENDPOINT), ENDPOINT)


@pytest.mark.slow
def test_of_a_first_generation_and_the_maintenance_job_cleans_up(
    api: Emulator, s3: S3, new_lake: Callable[[], Lake], task: Callable[..., Task]
) -> None:
    """Nothing is readable before all is; what nobody asks for again is cleaned up."""
    rows = state(api)
    told = once(s3, task(new_lake()))
    assert told is not None
    for point in range(1, len(told.operations), 3):
        lake = new_lake()
        assert once(s3, task(lake, die_at=point)) is None
        assert read(lake) in ({}, rows)
        clean(lake, older_than_s=0, dry_run=False)
        check_clean(lake)
        assert not list(lake.list("igdb/platforms/_checkpoints/"))
        assert read(lake) in ({}, rows)


@pytest.mark.slow
def test_in_the_middle_of_a_page(
    api: Emulator, s3: S3, new_lake: Callable[[], Lake], task: Callable[..., Task]
) -> None:
    lake = new_lake()
    for answer in (2, 3, 4):  # the first is the token
        assert once(s3, task(lake, die_in_answer=answer)) is None
        assert read(lake) == {}
    told = once(s3, task(lake))
    assert told is not None
    assert told.outcomes == ["committed"]
    check_rows(lake, api.rows(ENDPOINT), ENDPOINT)
    check_clean(lake)


@pytest.mark.slow
def test_at_any_time_again_and_again(
    api: Emulator, s3: S3, lake: Lake, task: Callable[..., Task]
) -> None:
    """From outside, at random: also within an operation, and while Parquet is being written."""
    chance = random.Random(11)
    with workers(s3, 1) as (steady,):
        began = time.monotonic()
        lives(steady, task(lake))
        lasts_s = time.monotonic() - began
        for _ in range(8):
            before = state(api)
            api.touch(ENDPOINT, count=10, updated_at=IN_DAY_S)
            after = state(api)
            worker = Worker(s3)
            worker.begin(task(lake))
            time.sleep(chance.uniform(0.05, lasts_s))
            worker.kill()
            assert read(lake) in (before, after)
            lives(steady, task(lake))
            assert read(lake) == after
            check_clean(lake)
