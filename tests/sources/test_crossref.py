"""`sources/crossref.yaml` against an emulated Crossref: every work of every day."""

from datetime import UTC, datetime

import pytest

from pipeline.config import Source
from pipeline.lake.s3 import Lake
from tests.sources.crossref_api import Crossref, works, written
from tests.support.runs import check_rows, days_from, extract, landed, outcome_of, serving, shipped

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 10, 25, tzinfo=UTC)
NOW = datetime(2026, 11, 5, tzinfo=UTC)
DAYS = days_from("2026-11-01", 4)


def source_at(base_url: str, **more: str) -> Source:
    env = {"CROSSREF_BASE_URL": base_url, "CROSSREF_SINCE": "2026-10-20"}
    return shipped("crossref", env | more)


@pytest.mark.parametrize(
    ("number", "slices"), [pytest.param(21_000, "1", marks=pytest.mark.slow), (2_500, "3")]
)
def test_every_work_of_every_day(lake: Lake, number: int, slices: str) -> None:
    rows = works(number, FIRST, NOW)
    for row, day in zip(rows[:2], (2, 3), strict=True):
        row["indexed"] = written(datetime(2026, 11, day, tzinfo=UTC))  # at midnight, inclusive
    crossref = Crossref(rows)
    with serving(crossref.app()) as url:
        source = source_at(url, CROSSREF_MAILTO="who@example.org", CROSSREF_SLICES=slices)
        manifests = extract(source, lake, "works", DAYS, NOW)
    wanted = landed(source, "works", rows)
    assert sum(check_rows(source, lake, m, wanted) for m in manifests) > number
    assert {row["mailto"] for row in crossref.asked} == {"who@example.org"}
    assert sum(row["cursor"] == "*" for row in crossref.asked) >= len(DAYS) * int(slices)


def test_a_filter_that_is_refused_is_said_at_once(lake: Lake) -> None:
    with serving(Crossref([]).app()) as url:
        source = source_at(url, CROSSREF_FILTER=",no-such:1")
        outcome, requests = outcome_of(source, lake, "works", DAYS[:1], NOW)
    assert "parameter-not-allowed" in str(outcome.failed[0].error)
    assert requests == 1


def test_a_cursor_that_is_gone_starts_the_partition_again(lake: Lake) -> None:
    rows = works(6_000, FIRST, datetime(2026, 11, 1, tzinfo=UTC))
    crossref = Crossref(rows, forget=(4,))
    with serving(crossref.app()) as url:
        source = source_at(url)
        manifests = extract(source, lake, "works", DAYS[:1], NOW)
    assert [i for i, row in enumerate(crossref.asked) if row["cursor"] == "*"] == [0, 5]
    assert check_rows(source, lake, manifests[0], landed(source, "works", rows)) == 6_000
