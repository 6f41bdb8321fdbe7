"""Two deployments on one lake with different budgets are told of each other."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import ratelimit
from pipeline.lake.budget_record import KEY, BudgetUse, note_use, warning
from pipeline.lake.s3 import Lake

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HERE = BudgetUse("api-1", "aaaa", "postgresql://db:5432/dagster", NOW)
THERE = BudgetUse("api-1", "bbbb", "/budgets of laptop", NOW)


def at(use: BudgetUse, hours: float) -> BudgetUse:
    return BudgetUse(use.budget, use.identity, use.printable_location, NOW + timedelta(hours=hours))


def test_each_side_is_told_of_the_other_for_a_day(lake: Lake) -> None:
    assert note_use(lake, HERE) == []
    assert note_use(lake, at(THERE, 1)) == [HERE]
    assert note_use(lake, at(HERE, 2)) == [at(THERE, 1)]
    assert note_use(lake, at(HERE, 26)) == []


def test_one_store_under_two_names_and_a_store_that_was_emptied_are_one(lake: Lake) -> None:
    note_use(lake, HERE)
    other_name = BudgetUse("api-1", "aaaa", "postgresql://10.0.0.1:5432/dagster", NOW)
    emptied = BudgetUse("api-1", "cccc", HERE.printable_location, NOW)
    assert note_use(lake, other_name) == []
    assert note_use(lake, emptied) == []


def test_budgets_of_other_keys_do_not_count(lake: Lake) -> None:
    note_use(lake, HERE)
    assert note_use(lake, BudgetUse("api-2", "bbbb", "/budgets of laptop", NOW)) == []


def test_a_run_an_hour_writes_the_record(lake: Lake) -> None:
    note_use(lake, HERE)
    first = lake.get(KEY)
    note_use(lake, at(HERE, 0.5))
    assert lake.get(KEY) == first
    note_use(lake, at(HERE, 1.5))
    assert lake.get(KEY) != first


@pytest.mark.parametrize("body", [b"", b"{", b'{"version": 1, "uses": [{"budget": 1}]}', b"[]"])
def test_a_record_that_can_not_be_read_is_written_anew(lake: Lake, body: bytes) -> None:
    lake.put(KEY, body, replaces=None)
    assert note_use(lake, HERE) == []
    assert note_use(lake, THERE) == [HERE]


def test_a_record_of_a_newer_release_stays_as_it_is(lake: Lake) -> None:
    body = json.dumps({"version": 2, "anything": True}).encode()
    lake.put(KEY, body, replaces=None)
    assert note_use(lake, HERE) == []
    stored = lake.get(KEY)
    assert stored is not None
    assert stored.body == body


def test_the_sentence_names_both_places_and_the_setting() -> None:
    text = warning(HERE, [THERE])
    assert text is not None
    assert HERE.printable_location in text
    assert THERE.printable_location in text
    assert "HEADRACE_BUDGET" in text
    assert warning(HERE, []) is None


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("postgresql://me:pa%40ss@db:5432/dagster?sslmode=require", "postgresql://db:5432/dagster"),
        ("postgresql://db/dagster?password=pass", "postgresql://db/dagster"),
        ("rediss://:pass@cache:6380/1", "rediss://cache:6380/1"),
        ("memory", "the memory of each process"),
    ],
)
def test_a_place_has_no_secret(location: str, place: str) -> None:
    assert ratelimit.printable_location(location) == place


def test_a_folder_is_of_a_machine(tmp_path: Path) -> None:
    assert ratelimit.printable_location(str(tmp_path)).startswith(f"{tmp_path} of ")
