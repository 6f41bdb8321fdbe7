"""Two runs of one partition: one generation, whole; the loser says so.

The first tests interleave two runs at each operation in turn, the last one by chance, in processes.
"""

import multiprocessing
import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from local.services import S3
from pipeline.errors import LostRace
from pipeline.lake.commit import CommitResult
from pipeline.lake.s3 import Lake
from tests.lake.support import (
    DAY,
    OTHER_WINDOW,
    ROWS,
    WINDOW,
    begin,
    check_clean,
    extract,
    facts,
    read,
    stage,
    whole,
)

BATCHES = 2
ROUNDS = 20


def _interrupted(
    lake: Lake,
    number: int,
    other: Callable[[], object],
    batches: int = BATCHES,
    **how: Any,
) -> bool:
    """Run ``other`` just before an operation of this one; False if there are not so many."""
    seen = 0

    def observe(operation: str, key: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number + 1:
            other()

    lake.on_operation = observe
    with suppress(LostRace):
        extract(lake, version="own", batches=batches, **how)
    lake.on_operation = None
    return seen > number


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["d1", "d2"])
@pytest.mark.parametrize(("indexed", "operations"), [(False, 15), (True, 13)])
def test_another_run_comes_between_any_two_operations(
    lake: Lake, definition: str, indexed: bool, operations: int
) -> None:
    """Of the same definition it resumes behind the batches; of another it begins afresh."""
    rival = Lake(lake.client, lake.url().rstrip("/"))
    for number in count():
        if not _interrupted(
            lake,
            number,
            lambda: extract(rival, definition=definition, version="rival", batches=BATCHES),
            indexed=indexed,
        ):
            break
        rows = read(lake)
        assert [key for key, _ in rows] == list(range(BATCHES * ROWS))
        if definition == "d2":
            assert rows in (whole("own", BATCHES), whole("rival", BATCHES))
        check_clean(lake)
    assert number >= operations


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["d1", "d2"])
@pytest.mark.parametrize("indexed", [False, True])
def test_another_run_comes_between_while_a_day_is_staged_in_its_checkpoint(
    lake: Lake, definition: str, indexed: bool
) -> None:
    """A file that is written without an upload can't be taken back by aborting one."""
    rival = Lake(lake.client, lake.url().rstrip("/"))
    how: Any = {"batches": 1, "indexed": indexed, "inline": True}
    for number in count():
        if not _interrupted(
            lake,
            number,
            lambda: extract(rival, definition=definition, version="rival", **how),
            **how,
        ):
            break
        assert read(lake) in (whole("own", 1), whole("rival", 1))
        check_clean(lake)
    assert number >= 8


def test_what_a_fenced_attempt_leaves_is_removed_by_the_next_run(lake: Lake) -> None:
    """Killed while it sends a batch, after another run has committed: no checkpoint tells of it."""
    fenced = begin(lake, indexed=True)
    stage(fenced, 0, "fenced")
    extract(lake, version="rival", definition="d2", indexed=True)
    lake.create_upload(f"igdb/games/dt={DAY}/part-00001-{fenced.generation}.parquet")
    lake.put(f"igdb/games/dt={DAY}/part-00002-{fenced.generation}.parquet", b"", replaces=None)
    for inline in (False, True):
        extract(lake, version=f"next {inline}", batches=1, indexed=True, inline=inline)
        assert read(lake) == whole(f"next {inline}", 1)
        check_clean(lake)


@pytest.mark.slow
@pytest.mark.parametrize(("indexed", "operations"), [(False, 12), (True, 10)])
def test_another_run_takes_over_and_dies(lake: Lake, indexed: bool, operations: int) -> None:
    rival = Lake(lake.client, lake.url().rstrip("/"))

    def take_over() -> None:
        attempt = begin(rival)
        if attempt.committed is None and attempt.staged_rows == 0:
            stage(attempt, 0, "rival")

    for number in count():
        if not _interrupted(lake, number, take_over, batches=1, indexed=indexed):
            break
        extract(lake, version="own", batches=1, indexed=indexed)
        assert [key for key, _ in read(lake)] == list(range(ROWS))
        check_clean(lake)
    assert number >= operations


def test_the_fenced_owner_can_neither_stage_nor_commit(lake: Lake) -> None:
    first = begin(lake)
    stage(first, 0, "first")
    second = begin(lake, window=OTHER_WINDOW, run_id="r2")
    assert (second.staged_rows, second.window) == (ROWS, WINDOW)
    with pytest.raises(LostRace, match="goes on from the same batches"):
        stage(first, 1, "first")
    with pytest.raises(LostRace, match="Another run has taken over"):
        first.commit(facts)
    stage(second, 1, "second")
    assert second.commit(facts).result is CommitResult.DONE
    assert read(lake) == [*whole("first", 1), *whole("second", 2)[ROWS:]]
    outcome = first.commit(facts)
    assert outcome.result is CommitResult.LOST
    assert outcome.manifest.run_id == "r2"
    assert read(lake) == [*whole("first", 1), *whole("second", 2)[ROWS:]]
    check_clean(lake)


def test_the_fenced_owner_of_dropped_work_learns_who_has_won(lake: Lake) -> None:
    first = begin(lake)
    stage(first, 0, "first")
    second = begin(lake, definition="d2")
    with pytest.raises(LostRace):
        first.commit(facts)
    stage(second, 0, "second")
    second.commit(facts)
    assert first.commit(facts).manifest.generation == second.generation
    assert read(lake) == whole("second", 1)
    check_clean(lake)


def _run_rounds(s3: S3, name: str, barrier: Barrier, results: Any) -> None:
    client, chance = s3.client(), random.Random(name)
    for number in range(ROUNDS):
        barrier.wait(timeout=60)
        time.sleep(chance.random() * 0.15)
        try:
            outcome = extract(
                _race(client, number), version=name, definition=f"of {name}", batches=2
            )
            results.put((number, outcome.result.value))
        except LostRace:
            results.put((number, "fenced"))


def _race(client: Any, number: int) -> Lake:
    return Lake(client, f"s3://lake/race-{number}")


@pytest.mark.slow
def test_two_processes_at_random_offsets(s3: S3, client: Any) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    runs = [
        spawn.Process(target=_run_rounds, args=(s3, name, barrier, results)) for name in ("a", "b")
    ]
    for run in runs:
        run.start()
    said = [results.get(timeout=60) for _ in range(2 * ROUNDS)]
    for run in runs:
        run.join(timeout=10)
        assert run.exitcode == 0
    for number in range(ROUNDS):
        assert (number, "done") in said
        assert read(_race(client, number)) in (whole("a", 2), whole("b", 2))
        check_clean(_race(client, number))
    assert {result for _, result in said} & {"fenced", "lost"}
