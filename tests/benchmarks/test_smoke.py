"""The bench runs, at sizes that say nothing about speed, and its rows are exact."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from benchmarks import pages, report
from benchmarks.budget import budget
from benchmarks.counts import sweep_case
from benchmarks.day import day
from benchmarks.job import COLUMNS
from benchmarks.race import SCENARIOS, middle, race
from benchmarks.server import static_server
from benchmarks.soak_api import FIRST_DAY, KINDS, SoakApi, rows_of
from emulator.data import ids_of
from local.services import S3, seaweedfs
from pipeline.dialects.igdb import multiquery, split


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with tempfile.TemporaryDirectory() as folder, seaweedfs(Path(folder)) as server:
        yield server


def test_pages_are_cut_as_the_statement_says() -> None:
    rows = pages.make(300)
    ids = ids_of(300)
    body, number = pages.page(rows, b"fields *; sort id asc; limit 20; offset 30;")
    found = json.loads(body)
    assert number == 20
    assert [row["id"] for row in found] == ids[30:50]
    assert {name for row in found for name in row} <= {
        n for names in COLUMNS.values() for n in names
    }
    body, _ = pages.page(rows, b"fields id; where id > 9 & id < 20; sort id asc; limit 500;")
    assert [row["id"] for row in json.loads(body)] == [id_ for id_ in ids if 9 < id_ < 20]
    assert json.loads(pages.count(rows, b"where updated_at < 5;")) == {"count": 300}


def test_pages_ride_together() -> None:
    rows = pages.make(100)
    queries = [("games", "a", b"fields id; limit 3;"), ("games/count", "b", b"")]
    body, number = pages.many(rows, multiquery(queries))
    page, counted = split(body, ["a", "b"])
    assert number == len(json.loads(bytes(page))) == 3
    assert json.loads(bytes(counted)) == {"count": 100}


def test_the_server_keeps_its_limit_and_fails_as_told() -> None:
    with static_server(10, rate=3, faults=1.0) as server, httpx.Client() as http:
        statuses = []
        for _ in range(5):
            try:
                statuses.append(http.post(f"{server.origin}/v4/games", content=b"").status_code)
            except httpx.TransportError:
                statuses.append(0)
        said = http.get(f"{server.origin}/stats").json()
    assert statuses.count(429) == said["throttled"] == 2
    assert said["faulty"] == 3
    assert 500 in statuses
    assert 0 in statuses


@pytest.mark.slow
def test_headrace_and_the_reference_bring_the_same_rows(s3: S3) -> None:
    twice = replace(SCENARIOS["faults"], rounds=2)
    found = race(twice, s3, 1_200, ["headrace", "headrace-single", "reference"])
    for name, figures in found["peers"].items():
        assert figures.get("failed") is None, (name, figures)
        assert figures["exact"], (name, figures)
    text = report.table({"faults": found})
    assert "| Headrace, a page a request |" in text
    assert "× reference algorithm" in text
    assert "The loop's longest block:" in text
    assert all(len(figures["cpu_s_of_all"]) == 2 for figures in found["peers"].values())


def test_of_several_cases_the_middle_one_counts_unless_one_went_wrong() -> None:
    cases = [{"cpu_s": s, "peak_mb": s, "exact": True} for s in (3.0, 1.0, 2.0)]
    assert middle(cases)["cpu_s"] == 2.0
    assert middle(cases)["peak_mb_of_all"] == [3.0, 1.0, 2.0]
    assert middle([*cases, {"cpu_s": 4.0, "peak_mb": 4.0, "exact": False}])["exact"] is False
    assert middle([*cases, {"failed": "no"}]) == {"failed": "no"}
    assert middle(cases[:1]) == cases[0]


@pytest.mark.slow
def test_a_sweep_is_counted(s3: S3) -> None:
    figures = sweep_case(s3, 2_000)
    assert figures["keys"] == 2_000
    assert figures["requests"] <= 4


@pytest.mark.slow
def test_processes_share_a_budget_in_the_bench() -> None:
    found = budget(quick=True)
    (figures,) = found["cells"]
    assert figures["processes_seen"] == figures["processes"] == 4
    assert figures["requests"] > 0
    assert figures["most_in_flight"] <= figures["in_flight"]
    assert f"| 50 | 4 | 0 | {figures['used']:.1%} |" in report.table({"budget": found})


def test_the_soak_s_api_has_all_rows_of_a_day_however_they_are_paged() -> None:
    api, day = SoakApi(share=0.0, seed=1), FIRST_DAY + timedelta(5)
    window = {"since": f"{day}T00:00:00Z", "until": f"{day + timedelta(1)}T00:00:00Z"}
    for kind in KINDS:
        keys: list[int] = []
        given: dict[str, str] = {}
        while (page := api.page(kind, window | given, empty=False))["rows"]:
            keys += [row["id"] for row in page["rows"]]
            given = {"offset": str(len(keys)), "after": str(keys[-1])}
        assert keys == list(rows_of(day))
        assert page["total"] == len(keys)
    assert api.page("token", window, empty=True)["rows"] == []


@pytest.mark.slow
def test_a_day_with_faults_and_a_kill_is_exact(s3: S3) -> None:
    killed_at = {"headrace-single": 3}
    figures = day(s3, 60, [*killed_at], endpoints=3, killed_at=killed_at)
    for name, each in figures["peers"].items():
        assert each["killed"], (name, each)
        assert each["exact"], (name, each)
        assert each["rows"] >= 3 * 20, (name, each)
    assert "| Headrace, a page a request |" in report.table({"day": figures})
