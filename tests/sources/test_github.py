"""`sources/github.yaml` against an emulated GitHub: every issue of every day."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.config import Source
from pipeline.errors import RequestRefused
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.sources.github_api import GitHub, issues, written
from tests.support.runs import check_rows, days_from, extract, landed, outcome_of, serving, shipped

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 5, tzinfo=UTC)
DAYS = days_from("2026-11-01", 4)


def source_at(base_url: str, **more: str) -> Source:
    env = {"GITHUB_BASE_URL": base_url, "GITHUB_REPOSITORY": "acme/rocket"}
    return shipped("github", env | more)


def of_rocket(source: Source, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return landed(source, "issues", [{"repository": "acme/rocket", **row} for row in rows])


@pytest.mark.parametrize("inclusive", [True, False])
def test_every_issue_of_every_day(lake: Lake, inclusive: bool) -> None:
    rows = issues(6_000, FIRST, NOW)
    for row in rows[:150]:  # more than a page with one instant, where the margin begins
        row["updated_at"] = "2026-11-02T23:00:00Z"
    refuse = {2: "secondary", 5: "retry-after", 9: "limit"}
    github = GitHub(rows, inclusive, refuse=refuse)
    with serving(github.app()) as url:
        source = source_at(url, GITHUB_TOKEN="t0ken")
        manifests = extract(source, lake, "issues", DAYS, NOW)
    wanted = of_rocket(source, rows)
    assert sum(check_rows(source, lake, m, wanted) for m in manifests) > 6_000
    assert github.tokens == {"Bearer t0ken"}
    assert sum(m.throttled for m in manifests) == 3
    names = {column["name"] for column in manifests[0].columns}
    assert {"node_id", "reactions"} <= names


def test_an_issue_that_changes_meanwhile_hides_no_other(lake: Lake) -> None:
    """Numbered pages would shift under the reader; each change here pulls one row to the end."""
    rows = issues(1_500, FIRST, datetime(2026, 11, 1, tzinfo=UTC))
    changed: set[int] = set()

    def change(rows: list[dict[str, Any]], number: int) -> None:
        for row in sorted(rows, key=lambda row: row["updated_at"])[: 3 if number else 0]:
            row["updated_at"] = written(NOW)
            changed.add(row["id"])

    github = GitHub(rows, before_page=change)
    with serving(github.app()) as url:
        source = source_at(url)
        manifests = extract(source, lake, "issues", DAYS[:1], NOW)
    assert len(changed) >= 30
    calm = [row for row in of_rocket(source, rows) if row["id"] not in changed]
    found = set(key_rows(lake, manifests[0].files, ["id"])["id"].to_pylist())
    assert {row["id"] for row in calm} <= found
    assert github.tokens == {None}


def test_a_backfill_reads_no_further_than_its_day(lake: Lake) -> None:
    rows = issues(5_000, FIRST, NOW)
    github = GitHub(rows)
    with serving(github.app()) as url:
        source = source_at(url)
        manifests = extract(source, lake, "issues", ["2026-11-02"], NOW)
    assert check_rows(source, lake, manifests[0], of_rocket(source, rows)) > 70
    assert len(github.asked) <= 2


def test_a_repository_that_is_not_there_is_said_at_once(lake: Lake) -> None:
    with serving(GitHub([]).app()) as url:
        source = source_at(url, GITHUB_REPOSITORY="acme/none")
        outcome, requests = outcome_of(source, lake, "issues", DAYS[:1], NOW)
    assert isinstance(outcome.failed[0].error, RequestRefused)
    assert requests == 1
