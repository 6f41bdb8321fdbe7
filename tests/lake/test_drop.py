"""A drop takes a partition out of the lake at once, wherever it or another run stops."""

import pytest

from pipeline.errors import LostRace
from pipeline.lake.drop import drop, states
from pipeline.lake.index import manifest_of
from pipeline.lake.maintenance import clean
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


def test_nothing_to_drop(lake: Lake) -> None:
    assert drop(lake, PLACE) is None
    assert nothing_is_left(lake)


@pytest.mark.slow
def test_wherever_a_drop_dies_readers_see_all_or_nothing_and_another_one_ends_it(
    lake: Lake,
) -> None:
    number, seen = 0, set[int]()
    while True:
        extract(lake, version="old")
        lake.on_operation = kill_at(number)
        try:
            drop(lake, PLACE)
        except Killed:
            lake.on_operation = None
        else:
            lake.on_operation = None
            break
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
        number += 1
    assert seen == {0, 30}
    assert number > 6


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
