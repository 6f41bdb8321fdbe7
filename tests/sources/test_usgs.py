"""`sources/usgs.yaml` against an emulated USGS: every row of every day."""

from datetime import UTC, datetime

import pytest

from pipeline.config import Source
from pipeline.lake.s3 import Lake
from tests.sources.usgs_api import Usgs, events
from tests.support.runs import check_rows, days_from, extract, landed, serving, shipped

FIRST = datetime(2026, 10, 20, tzinfo=UTC)
NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
DAYS = days_from("2026-11-01", 5)


def source_at(base_url: str) -> Source:
    env = {"USGS_BASE_URL": base_url, "USGS_EVENTS_SINCE": "2026-01-01"}
    return shipped("usgs", env)


@pytest.mark.parametrize(
    ("inclusive", "number"),
    [pytest.param(True, 25_000, marks=pytest.mark.slow), (False, 2_000)],
)
def test_every_event_of_every_day(lake: Lake, inclusive: bool, number: int) -> None:
    rows = events(number, FIRST, NOW)
    edge = int(datetime(2026, 11, 2, 23, tzinfo=UTC).timestamp() * 1000)
    rows[0]["properties"]["updated"] = edge  # exactly where the third day begins, margin included
    usgs = Usgs(rows, NOW, inclusive)
    with serving(usgs.app()) as url:
        source = source_at(url)
        manifests = extract(source, lake, "earthquakes", DAYS, NOW)
    wanted = landed(source, "earthquakes", rows)
    found = [check_rows(source, lake, m, wanted) for m in manifests]
    assert sum(found) > number
    assert manifests[0].proof.pages == (2 if number > 20_000 else 1)
    third = [row for row in usgs.asked if row.get("updatedafter") == "2026-11-02T22:59:59Z"]
    assert third
    assert {row["orderby"] for row in usgs.asked} == {"time-asc"}
    assert min(int(row["offset"]) for row in usgs.asked) == 1


def test_a_day_without_an_event_is_known_to_be_empty(lake: Lake) -> None:
    rows = events(10, FIRST, datetime(2026, 10, 25, tzinfo=UTC))
    with serving(Usgs(rows, NOW).app()) as url:
        source = source_at(url)
        manifests = extract(source, lake, "earthquakes", DAYS, NOW)
    assert [m.rows for m in manifests] == [10, 0, 0, 0, 0]
