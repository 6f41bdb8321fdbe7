"""Numbers as cursors: a row is of one partition, whichever of two is committed first."""

from typing import Any

import pytest

from pipeline.errors import ReadAnew
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from pipeline.run.other_runs import gaps
from pipeline.run.staged_partition import StagedPartition
from tests.run.test_bookmarks import DAYS, Ledger, after, ids, materialized, numbered
from tests.support.runs import outcome_of, serving

pytestmark = pytest.mark.slow


def test_a_day_that_is_resumed_ends_where_the_day_after_it_has_started(lake: Lake) -> None:
    api = Ledger(25)
    with serving(api.app) as url:
        source = numbered(url, key="none")
        materialized(source, lake, DAYS[0])
        api.add(*range(26, 60))
        api.fails_at = len(api.asked) + 3
        outcome, _ = outcome_of(source, lake, "things", [DAYS[1]], after(DAYS[1]), "run")
        assert outcome.failed
        materialized(source, lake, DAYS[2])
        materialized(source, lake, DAYS[1])
    assert [ids(lake, day) for day in DAYS[1:3]] == [[], [*range(26, 60)]]
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]


@pytest.mark.parametrize("other", [2, 3])
def test_a_day_is_read_anew_if_a_later_one_is_committed_before_it(
    lake: Lake, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Ledger(25)
    with serving(api.app) as url:
        source = numbered(url, key="none")
        materialized(source, lake, DAYS[0])
        api.add(26, 27)
        then = StagedPartition._refuse_if_moved

        def another_run(*args: Any) -> None:
            monkeypatch.setattr(StagedPartition, "_refuse_if_moved", then)
            materialized(source, lake, DAYS[other])
            then(*args)

        monkeypatch.setattr(StagedPartition, "_refuse_if_moved", another_run)
        with pytest.raises(ReadAnew, match="the next attempt ends there"):
            materialized(source, lake, DAYS[1])
        materialized(source, lake, DAYS[1])
    assert [ids(lake, day) for day in (DAYS[1], DAYS[other])] == [[], [26, 27]]


def test_a_first_day_without_rows_leaves_all_to_the_day_after_it(lake: Lake) -> None:
    api = Ledger(0)
    with serving(api.app) as url:
        source = numbered(url, key="none")
        materialized(source, lake, DAYS[0])
        api.add(1, 2)
        materialized(source, lake, DAYS[1])
        materialized(source, lake, DAYS[0])
    assert [ids(lake, day) for day in DAYS[:2]] == [[], [1, 2]]


def test_a_start_that_is_moved_back_brings_no_row_twice(lake: Lake) -> None:
    """The day that was the first one has all rows, and keeps them."""
    api = Ledger(25)
    with serving(api.app) as url:
        source = numbered(url, key="none")
        later = source.model_copy(update={"start": source.start.replace(day=2)})
        materialized(later, lake, DAYS[1])
        api.add(26)
        materialized(later, lake, DAYS[2])
        materialized(source, lake, DAYS[0])
    assert [ids(lake, day) for day in DAYS[:3]] == [[], [*range(1, 26)], [26]]
