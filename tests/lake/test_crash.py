"""Killed before any operation on S3: the next try ends with the rows there, each once.

The points are the store's own operations, counted while it runs; none is picked by hand.
"""

import random
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from pipeline.lake.s3 import Lake
from tests.lake.support import Killed, check_clean, extract, kill_at, read, whole


def _killed(lake: Lake, number: int, **options: Any) -> bool:
    lake.on_operation = kill_at(number)
    try:
        extract(lake, **options)
    except Killed:
        return True
    finally:
        lake.on_operation = None
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("indexed", "operations"), [(False, 20), (True, 18)])
def test_killed_at_each_operation_of_the_first_generation(
    new_lake: Callable[[], Lake], indexed: bool, operations: int
) -> None:
    for number in count():
        lake = new_lake()
        if not _killed(lake, number, indexed=indexed):
            break
        assert read(lake) in ([], whole("new"))
        extract(lake, indexed=indexed)
        assert read(lake) == whole("new")
        check_clean(lake)
    assert number >= operations


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("next_definition", ["d1", "d2"])
def test_killed_at_each_operation_of_a_day_that_is_staged_in_its_checkpoint(
    lake: Lake, indexed: bool, next_definition: str
) -> None:
    how: Any = {"batches": 1, "inline": True, "indexed": indexed}
    extract(lake, version="0", **how)
    for number in count():
        before, version = whole(str(number), 1), str(number + 1)
        if not _killed(lake, number, version=version, **how):
            break
        assert read(lake) in (before, whole(version, 1))
        extract(lake, version=version, definition=next_definition, **how)
        assert read(lake) == whole(version, 1)
        check_clean(lake)
    assert number >= 8


@pytest.mark.slow
@pytest.mark.parametrize("next_definition", ["d1", "d2"])
@pytest.mark.parametrize(("indexed", "operations"), [(False, 15), (True, 13)])
def test_killed_at_each_operation_of_a_replacement(
    lake: Lake, next_definition: str, indexed: bool, operations: int
) -> None:
    extract(lake, version="0", batches=2)
    for number in count():
        before, version = whole(str(number), 2), str(number + 1)
        if not _killed(lake, number, version=version, batches=2, indexed=indexed):
            break
        assert read(lake) in (before, whole(version, 2))
        extract(lake, version=version, definition=next_definition, batches=2, indexed=indexed)
        assert read(lake) == whole(version, 2)
        check_clean(lake)
    assert number >= operations


@pytest.mark.slow
def test_killed_again_and_again(lake: Lake) -> None:
    chance = random.Random(7)
    extract(lake, version="0")
    for number in range(6):
        before, version = whole(str(number)), str(number + 1)
        for definition in chance.choices(["d1", "d2"], weights=[4, 1], k=chance.randint(2, 4)):
            indexed = chance.random() < 0.5
            at = chance.randrange(25)
            _killed(lake, at, definition=definition, version=version, indexed=indexed)
            assert read(lake) in (before, whole(version))
        extract(lake, version=version, indexed=True)
        assert read(lake) == whole(version)
        check_clean(lake)
