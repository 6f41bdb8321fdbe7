"""An API that is away for a moment with `200 []`: the moment is over when a confirmation comes, as
that one waits. No day is short, no end rests on keys alone, and no living key is swept."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ReadRefused
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, recorded_sweeps, sweep, take_back
from sourcetool.__main__ import main
from tests.support.runs import LIMITS, instant, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = ["2026-11-02"]
ROWS, PAGE = 60, 10


class Shard:
    """Away from a request on, with empty pages, until somebody waits."""

    def __init__(self, *away_at: int, rows: int = ROWS, waits: int = 1) -> None:
        """:param waits: so many waits are within each outage."""
        self.waits = self.waits_left = waits
        self.rows = [{"id": n, "at": "2026-11-02T05:00:00Z"} for n in range(rows)]
        self.away_at, self.requests, self.away = set(away_at), 0, False
        self.slept: list[float] = []
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.waits_left -= 1
        if self.waits_left <= 0:
            self.away, self.waits_left = False, self.waits

    async def answer(self, request: Request) -> Response:
        self.requests += 1
        self.away |= self.requests in self.away_at
        given = request.query_params
        number = int(given.get("page", "1")) - 1
        at = given.get("token", given.get("offset", number * PAGE))
        first = int(given.get("after", "-1")) + 1 or int(at)
        rows: list[Any] = [] if self.away else self.rows[first : first + PAGE]
        more = len(rows) == PAGE
        headers = {"Next": str(first + PAGE)} if more else {}
        return JSONResponse(rows, headers=headers | {"X-Rows": str(len(self.rows))})


PAGINGS = {
    "keyset": ("{kind: keyset, limit: 10}", 'after: "{after}"'),
    "token": ("{kind: token, limit: 10, header: next, numbered: false}", 'token: "{token}"'),
    "page": ("{kind: page, limit: 10}", 'page: "{page}"'),
    "offset": ("{kind: offset, limit: 10}", 'offset: "{offset}"'),
    "counted": ("{kind: offset, limit: 10, total_header: X-Rows}", 'offset: "{offset}"'),
}


def source_at(url: str, kind: str, more: str = "") -> Source:
    paging, params = PAGINGS[kind]
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-02
        retries: {{errors: 1, first_wait_s: 0.001}}
        endpoints:
          things:
            request: {{params: {{{params}}}}}
            paging: {paging}
            key: [id]
            columns: {{id: int64}}
            {more}
        """
    )


def manifest_of(api: Shard, kind: str, lake: Lake) -> Manifest:
    """The manifest of the one day that is read."""
    with serving(api.app) as url:
        outcome, _ = outcome_of(
            source_at(url, kind), lake, "things", ["2026-11-03"], NOW, sleep=api.sleep
        )
    (result,) = outcome.results
    return result.manifest


class Days:
    """Three rows in each of the first two days, by ``since`` and ``until``."""

    def __init__(self) -> None:
        self.rows = [
            {"id": 10 * day + n, "at": f"2026-11-0{day}T05:00:0{n}Z"}
            for day in (1, 2)
            for n in range(3)
        ]
        self.waits_left, self.requests = 0, list[dict[str, str]]()
        self.app = Starlette(routes=[Route("/things", self.answer)])

    def away_for(self, waits: int) -> None:
        self.waits_left = waits

    async def sleep(self, wait_s: float) -> None:
        self.waits_left -= 1

    async def answer(self, request: Request) -> Response:
        given = dict(request.query_params)
        self.requests.append(given)
        if self.waits_left > 0 or int(given.get("page", 1)) > 1:
            return JSONResponse([])
        since, after = given.get("since", ""), int(given.get("after", 0))
        rows = [r for r in self.rows if since <= str(r["at"]) < given["until"]]
        return JSONResponse([row for row in rows if int(str(row["id"])) > after])


def days_of(url: str, kind: str) -> Source:
    pagings = {
        "keyset": ("{kind: keyset, limit: 10}", ', after: "{after}"'),
        "page": ("{kind: page, limit: 10}", ', page: "{page}"'),
        "cursor": ("{kind: cursor, limit: 10}", ""),
        "none": ("{kind: none}", ""),
    }
    paging, params = pagings[kind]
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        safety_margin_s: 0
        endpoints:
          things:
            request: {{params: {{since: "{{start}}", until: "{{end}}"{params}}}}}
            paging: {paging}
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
        """
    )


@pytest.mark.slow
@pytest.mark.parametrize("away_at", [1, 2, 4, 6, 7])
@pytest.mark.parametrize("kind", PAGINGS)
def test_an_outage_of_a_moment_ends_no_partition(kind: str, away_at: int, lake: Lake) -> None:
    api = Shard(away_at)
    manifest = manifest_of(api, kind, lake)
    rows = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(rows) == list(range(ROWS))
    assert all(1.0 <= wait_s <= 1.5 for wait_s in api.slept)
    # Pages ahead were requested in the outage, too; a first page waits thrice, if none is known.
    most = 6 if kind == "counted" else 5
    assert len(api.slept) <= most, "a pause is for the end, and not for each page"


@pytest.mark.slow
@pytest.mark.parametrize("away_at", [2, 4, 7, 8])
@pytest.mark.parametrize("kind", [*PAGINGS])
def test_an_outage_that_outlasts_the_confirmations_ends_no_partition(
    kind: str, away_at: int, lake: Lake
) -> None:
    api = Shard(away_at, waits=9)
    manifest = manifest_of(api, kind, lake)
    rows = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(rows) == list(range(ROWS))


@pytest.mark.parametrize("kind", ["keyset", "page", "cursor", "none"])
def test_a_day_whose_first_page_comes_in_an_outage_is_held_against_a_day_with_rows(
    kind: str, lake: Lake
) -> None:
    api = Days()
    with serving(api.app) as url:
        source = days_of(url, kind)
        outcome_of(source, lake, "things", ["2026-11-01"], NOW, sleep=api.sleep)
        api.away_for(5)
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW, sleep=api.sleep)
        assert [receipt.manifest.rows for receipt in outcome.results] == [3]
        api.requests.clear()
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-03"], NOW, sleep=api.sleep)
    assert [receipt.manifest.rows for receipt in outcome.results] == [0]
    days = [instant(request["until"]) - timedelta(seconds=1) for request in api.requests]
    wanted = ["2026-11-03", "2026-11-03", "2026-11-02"]
    assert [f"{day:%Y-%m-%d}" for day in days[:3]] == wanted, "a day with rows is looked at"


def test_an_api_that_stays_away_with_empty_pages_is_tried_again_later(lake: Lake) -> None:
    api = Days()
    with serving(api.app) as url:
        source = days_of(url, "keyset")
        outcome_of(source, lake, "things", ["2026-11-01"], NOW, sleep=api.sleep)
        api.away_for(10_000)
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW, sleep=api.sleep)
    (failed,) = outcome.failed
    assert isinstance(failed.error, ApiUnavailable)
    assert "also for a page that had rows" in str(failed.error)


@pytest.mark.parametrize("kind", ["keyset", "page", "cursor", "none"])
def test_rows_that_have_moved_out_of_every_earlier_day_make_no_outage(
    kind: str, lake: Lake
) -> None:
    """A day is loaded after the rows of the one before have changed: the API still has them."""
    api = Days()
    del api.rows[3:]
    with serving(api.app) as url:
        source = days_of(url, kind)
        outcome_of(source, lake, "things", ["2026-11-01"], NOW, sleep=api.sleep)
        for row in api.rows:
            row["at"] = "2026-11-03T01:00:00Z"
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW, sleep=api.sleep)
    [result] = outcome.results
    assert result.manifest.rows == 0
    assert result.manifest.proof.contiguous


@pytest.mark.parametrize("kind", ["keyset", "page", "cursor", "none"])
def test_an_api_whose_rows_are_all_deleted_is_believed_by_the_third_attempt_with_a_warning(
    kind: str, lake: Lake
) -> None:
    api = Days()
    with serving(api.app) as url:
        source = days_of(url, kind)
        outcome_of(source, lake, "things", ["2026-11-01"], NOW, sleep=api.sleep)
        api.rows.clear()
        for attempt in (1, 2, 3):
            outcome, _ = outcome_of(
                source, lake, "things", ["2026-11-02"], NOW, sleep=api.sleep, attempt=attempt
            )
            assert bool(outcome.failed) == (attempt < 3)
    [result] = outcome.results
    assert result.manifest.rows == 0
    assert not result.manifest.proof.contiguous
    [check] = [check for check in result.manifest.checks if check["name"] == "pages_contiguous"]
    assert not check["passed"]
    assert "either all of them are deleted, or the API is away" in check["detail"]


@pytest.mark.parametrize("away_at", [2, 4, 6])
@pytest.mark.parametrize("kind", ["offset", "counted"])
def test_offsets_that_walk_back_in_an_outage_believe_no_empty_page(
    kind: str, away_at: int, lake: Lake
) -> None:
    api = Shard(away_at, waits=3)
    manifest = manifest_of(api, kind, lake)
    assert manifest.rows == ROWS
    assert manifest.proof.contiguous


@pytest.mark.parametrize("kind", PAGINGS)
def test_an_end_by_empty_pages_after_a_full_one_rests_on_no_keys(kind: str, lake: Lake) -> None:
    api = Shard()
    manifest = manifest_of(api, kind, lake)
    rests_on = manifest.proof.rests_on
    # The last page has the last row of the full one, where pages overlap: that is no empty page.
    overlap = kind in ("keyset", "offset", "counted")
    assert rests_on in (("keys",) if overlap else ("chain", None))
    assert manifest.rows == ROWS


def test_an_end_by_a_short_page_waits_for_nothing(lake: Lake) -> None:
    api = Shard(rows=ROWS - 3)
    with serving(api.app) as url:
        outcome, _ = outcome_of(
            source_at(url, "keyset"), lake, "things", ["2026-11-03"], NOW, sleep=api.sleep
        )
    assert outcome.results[0].manifest.proof.rests_on == "keys"
    assert api.slept == []


class Sparse:
    """Pages of a server-side filter: each names the next one, and only one in the middle has rows.

    :ivar empty: days, or values, of which none has.
    """

    def __init__(self) -> None:
        self.empty: set[str] = set()
        self.requests, self.slept = list[tuple[str, int]](), list[float]()
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)

    async def answer(self, request: Request) -> Response:
        given = request.query_params
        number, value = int(given.get("token", "t0")[1:]), given.get("of")
        until = instant(given.get("until", "2026-11-02T00:00:00Z"))
        day = f"{until - timedelta(seconds=1):%Y-%m-%d}"
        of = value or (day if "since" in given else f"up to {day}")
        self.requests.append((of, number))
        at = f"{day}T05:00:00Z"
        rows = [{"id": of, "at": at}] if number == 3 and of not in self.empty else []
        return JSONResponse({"rows": rows, "next": f"t{number + 1}" if number < 6 else None})


SPARSE = """
    source: api
    base_url: {url}
    start: 2026-11-01
    safety_margin_s: 0
    endpoints:
      things:
        request: {{params: {{token: '{{token}}', {params}}}}}
        paging: {{kind: token, next: next, limit: 10}}
        rows: rows
        key: [id]
        columns: {{id: string, at: "timestamp[iso]"}}
        {more}
"""


def test_an_empty_page_that_names_the_next_one_is_requested_once_and_waits_for_nothing(
    lake: Lake,
) -> None:
    api, days = Sparse(), ["2026-11-01", "2026-11-02", "2026-11-03"]
    api.empty = {"2026-11-02"}
    with serving(api.app) as url:
        params = "since: '{start}', until: '{end}'"
        source = source_of(SPARSE.format(url=url, params=params, more="cursor: at"))
        found, requests = [], []
        for day in days:
            api.requests.clear()
            outcome, _ = outcome_of(source, lake, "things", [day], NOW, sleep=api.sleep)
            assert not outcome.failed, "the first page of an earlier day is empty, and no outage"
            found.append(outcome.results[0].manifest.rows)
            requests.append([number for of, number in api.requests if of == day])
    assert found == [1, 0, 1]
    for numbers in requests[1:]:
        assert {numbers.count(n) for n in (1, 2, 4, 5)} == {1}
        assert numbers.count(0) == 2, "before the first page nothing came"
        assert numbers.count(6) == 3, "the end is confirmed"


def test_a_value_whose_first_page_names_the_next_one_waits_for_its_end_alone(lake: Lake) -> None:
    api = Sparse()
    api.empty = {"b"}
    with serving(api.app) as url:
        more = "each: {values: [a, b, c]}"
        source = source_of(SPARSE.format(url=url, params="of: '{each}'", more=more))
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-03"], NOW, sleep=api.sleep)
    assert outcome.results[0].manifest.rows == 2
    firsts = [request for request in api.requests if request[1] == 0]
    assert sorted(firsts) == [("a", 0), ("b", 0), ("c", 0)]
    assert len(api.slept) == 2 * 3, "before the two confirmations of each end"


# ---- sweeps


def swept(source: Source, lake: Lake, at: datetime, sleep: Any) -> SweepResult:
    async def run() -> SweepResult:
        budget = ratelimit.open_budget(source.source, LIMITS, "memory")
        async with open_client(source, budget) as client:
            context = RunContext(source, lake, client, "sweep", lambda: at, sleep=sleep)
            return await sweep(context, "things", ExtractionProgress())

    return asyncio.run(run())


def living(lake: Lake) -> set[int]:
    return set(current(lake, "api", "things")["id"].to_pylist())


def later(hours: int) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def test_a_sweep_that_misses_more_than_a_tenth_reads_again_and_later_ones_bring_keys_back(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api, everything = Shard(), set(range(ROWS))
    with serving(api.app) as url:
        source = source_at(url, "keyset", "sweep: true")
        outcome_of(source, lake, "things", ["2026-11-03"], NOW, sleep=api.sleep)
        rows = api.rows

        async def back(wait_s: float) -> None:
            api.slept.append(wait_s)
            if wait_s > 60:
                api.rows = rows

        api.rows, api.slept = rows[:25], []
        found = swept(source, lake, later(1), back)
        assert (found.keys_gone, found.keys_seen) == (0, ROWS), "it was sick, and is well again"
        assert max(api.slept) >= 120

        async def stays(wait_s: float) -> None:
            pass

        api.rows = rows[:25]
        assert swept(source, lake, later(2), stays).keys_gone == 35
        assert living(lake) == set(range(25))
        api.rows = rows[:30]
        found = swept(source, lake, later(3), stays)
        assert (found.keys_gone, found.keys_back) == (0, 5), "seen live, so they are back"
        assert living(lake) == set(range(30))
        api.rows = rows[:25]
        assert swept(source, lake, later(4), stays).keys_gone == 5, "and gone once more"
        assert living(lake) == set(range(25))
    sweeps = recorded_sweeps(lake, "api", "things")
    assert len(sweeps) == 3
    assert take_back(lake, "api", "things", sweeps[2]) == 5
    assert living(lake) == set(range(30))
    monkeypatch.setattr("sourcetool.deployment.open_lake", lambda url: lake)
    monkeypatch.setenv("HEADRACE_LAKE", "s3://lake")
    assert main(["sweeps", "api/things", "--take-back", sweeps[0]]) == 0
    assert living(lake) == everything
    assert main(["sweeps", "api/things"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [sweeps[1], "1 sweeps"]
    with pytest.raises(ReadRefused, match="has no sweep of"):
        take_back(lake, "api", "things", sweeps[0])


@pytest.mark.parametrize(("left", "told"), [(0, True), (5, True), (6, False), (60, False)])
def test_a_snapshot_that_shrinks_to_nothing_is_told(left: int, told: bool, lake: Lake) -> None:
    shard = Shard()
    with serving(shard.app) as url:
        source = source_at(url, "keyset")
        days = ["2026-11-02", "2026-11-03"]
        first, _ = outcome_of(source, lake, "things", days[:1], NOW)
        shard.rows = shard.rows[:left]
        second, _ = outcome_of(source, lake, "things", days[1:], NOW)
    assert first.results[0].manifest.notes.warning == ""
    warning = second.results[0].manifest.notes.warning
    assert ("60 in 2026-11-02" in warning) is told
