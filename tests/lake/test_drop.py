"""A drop takes a partition out of the lake at once, wherever it or another run stops."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest

from pipeline.errors import LostRace
from pipeline.lake.commit import CommitResult
from pipeline.lake.drop import drop, states
from pipeline.lake.index import ManifestIndex, manifest_of
from pipeline.lake.maintenance import clean
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake
from tests.lake.support import (
    DAY,
    Killed,
    begin,
    check_clean,
    extract,
    facts,
    kill_at,
    read,
    stage,
    whole,
)

PLACE = PartitionPaths("igdb", "games", DAY)


def nothing_is_left(lake: Lake) -> bool:
    return [*lake.list("")] == [] and lake.uploads("") == []


def test_a_dropped_partition_is_gone_and_can_be_loaded_again(lake: Lake) -> None:
    extract(lake, version="old")
    dropped = drop(lake, PLACE)
    assert dropped is not None
    assert dropped.rows == 30
    assert nothing_is_left(lake)
    extract(lake, version="new")
    assert read(lake) == whole("new")
    check_clean(lake)


def killed_drops(lake: Lake) -> Iterator[int]:
    """Drops of a whole partition, each killed before an operation: the first, the second, …"""
    for number in count():
        extract(lake, version="old")
        lake.on_operation = kill_at(number)
        try:
            drop(lake, PLACE)
        except Killed:
            pass
        else:
            return
        finally:
            lake.on_operation = None
        yield number


def test_nothing_to_drop(lake: Lake) -> None:
    assert drop(lake, PLACE) is None
    assert nothing_is_left(lake)


@pytest.mark.slow
def test_wherever_a_drop_dies_readers_see_all_or_nothing_and_another_one_ends_it(
    lake: Lake,
) -> None:
    seen = set[int]()
    for number in killed_drops(lake):
        rows = len(read(lake))
        assert rows in {0, 30}
        seen.add(rows)
        # In turn: another drop, the next run, the maintenance job.
        if number % 3 == 0:
            drop(lake, PLACE, staged=True)
            assert nothing_is_left(lake)
        elif number % 3 == 1:
            extract(lake, definition="d2", version="new")
            assert read(lake) == whole("new")
            check_clean(lake)
        else:
            clean(lake, older_than_s=0.0, dry_run=False)
            assert len(read(lake)) in {0, rows}
            check_clean(lake)
    assert seen == {0, 30}
    assert number >= 6


def test_what_a_run_is_writing_is_not_dropped(lake: Lake) -> None:
    extract(lake, version="old")
    attempt = begin(lake, definition="d2")
    stage(attempt, 0, "new")
    with pytest.raises(LostRace):
        drop(lake, PLACE)
    [found] = states(lake, "igdb", "games")
    assert (found.staged_rows, found.committed is not None) == (10, True)
    assert read(lake) == whole("old")
    attempt.commit(facts)
    assert read(lake) == whole("new", 1)


def test_a_run_that_is_dropped_with_what_it_has_staged_commits_nothing(lake: Lake) -> None:
    extract(lake, version="old")
    attempt = begin(lake, definition="d2")
    stage(attempt, 0, "new")
    drop(lake, PLACE, staged=True)
    with pytest.raises(LostRace):
        attempt.commit(facts)
    assert nothing_is_left(lake)


def test_a_first_commit_that_was_carried_out_and_dropped_meanwhile_leaves_nothing(
    lake: Lake,
) -> None:
    """The run stands still before each of its operations in turn."""

    def overtake() -> None:
        lake.on_operation = None
        begin(lake)  # carries out what was decided
        drop(lake, PLACE, staged=True)

    number, fates = 0, Counter[str]()
    while True:
        seen = count()
        lake.on_operation = lambda *_: overtake() if next(seen) == number else None  # noqa: B023
        try:
            done = extract(lake, version="own", batches=1).result.value
        except LostRace:
            done = "lost"
        ended = lake.on_operation is not None
        lake.on_operation = None
        assert read(lake) in ([], whole("own", 1))
        check_clean(lake)
        drop(lake, PLACE, staged=True)
        assert nothing_is_left(lake)
        if ended:
            break
        fates[done] += 1
        number += 1
    assert fates["lost"] > 1


def test_a_first_commit_that_another_run_carries_out_as_well_stays(lake: Lake) -> None:
    attempt = begin(lake)
    stage(attempt, 0, "own")

    def overtake(operation: str, key: str) -> None:
        if operation == "delete":  # the manifest is there, the checkpoint is about to go
            lake.on_operation = None
            overtaken.append(begin(lake).committed)

    overtaken: list[Manifest | None] = []
    lake.on_operation = overtake
    assert attempt.commit(facts).result is CommitResult.DONE
    assert len(overtaken) == 1
    assert overtaken[0] is not None
    assert read(lake) == whole("own", 1)


@pytest.mark.slow
def test_a_drop_that_died_half_way_is_no_committed_partition_of_a_run(lake: Lake) -> None:
    dropped = 0
    for _ in killed_drops(lake):
        rows, index = len(read(lake)), ManifestIndex(lake)
        committed = [DAY] if rows else []
        assert index.partitions("igdb", "games") == committed
        for found in (
            index.latest("igdb", "games"),
            ManifestIndex(lake).get("igdb", "games", DAY),
            manifest_of(lake, "igdb", "games", DAY),
            *(each.committed for each in states(lake, "igdb", "games")),
        ):
            assert (found.rows if found else 0) == rows
        dropped += not rows
    assert dropped > 1


def test_a_run_that_began_before_a_drop_commits_nothing(lake: Lake) -> None:
    extract(lake, version="old")
    drop(lake, PLACE)
    extract(lake, version="second")
    attempt = begin(lake, definition="d2", indexed=True)  # has no checkpoint yet
    drop(lake, PLACE)
    stage(attempt, 0, "new")
    with pytest.raises(LostRace):
        attempt.commit(facts)
    assert manifest_of(lake, "igdb", "games", DAY) is None
    check_clean(lake)
