"""APIs that leave out the rows at the bound, or give no row beyond an offset."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.ratelimit import open_budget
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from pipeline.run.runner import RunOutcome
from tests.support.clock import at_once
from tests.support.runs import LIMITS, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
Compare = Callable[[datetime, datetime], bool]


class Api:
    """Rows by offset; or from a cursor on, which is left out if it is ``exclusive``."""

    def __init__(self, rows: int, *, exclusive: bool = False) -> None:
        self.rows, self.exclusive = rows, exclusive
        self.app = Starlette(routes=[Route("/things", self.answer)])

    def row(self, number: int) -> dict[str, Any]:
        return {"id": number, "at": f"2026-11-02T05:{number // 4 % 60:02}:00Z"}

    async def answer(self, request: Request) -> Response:
        query = request.query_params
        if "since" in query:
            since = query["since"].replace("+00:00", "Z")
            rows = [self.row(number) for number in range(self.rows)]
            later = [
                r for r in rows if r["at"] > since or (r["at"] == since and not self.exclusive)
            ]
            return JSONResponse(later[:10])
        first = int(query.get("offset", "0"))
        return JSONResponse([self.row(n) for n in range(first, min(first + 10, self.rows))])


OFFSET = ("{kind: offset, limit: 10}", 'offset: "{offset}"')
CURSOR = ("{kind: cursor, limit: 10}", 'since: "{start}"')


def source_at(url: str, paging: tuple[str, str], *more: str) -> Source:
    lines = "\n            ".join(more)
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-02
        safety_margin_s: 0
        endpoints:
          things:
            request: {{params: {{{paging[1]}}}}}
            paging: {paging[0]}
            key: [id]
            columns: {{id: int64, at: "timestamp[iso]"}}
            {lines}
        """
    )


def outcome_at(api: Api, lake: Lake, paging: tuple[str, str], *more: str) -> RunOutcome:
    day = "2026-11-02" if more else "2026-11-03"
    with serving(api.app) as url:
        return outcome_of(source_at(url, paging, *more), lake, "things", [day], NOW)[0]


@pytest.mark.parametrize(("rows", "is_proof"), [(999, True), (1000, False), (1001, True)])
def test_as_many_rows_as_an_offset_reaches_are_no_proof(
    rows: int, is_proof: bool, lake: Lake
) -> None:
    outcome = outcome_at(Api(rows), lake, OFFSET)
    (manifest,) = [result.manifest for result in outcome.results]
    assert manifest.rows == rows
    assert manifest.proof.contiguous is is_proof
    (check,) = [check for check in manifest.checks if check["name"] == "pages_contiguous"]
    assert is_proof or "exactly 1,000 rows came by an offset" in check["detail"]


@pytest.mark.parametrize("kind", ["offset", "page", "token"])
@pytest.mark.parametrize(("rows", "total", "is_proof"), [(1500, 1000, False), (1001, None, True)])
def test_a_total_that_ends_where_the_pages_do_is_no_proof(
    kind: str, rows: int, total: int | None, is_proof: bool, lake: Lake
) -> None:
    """The API counts no further than it gives rows, or counts all and gives all."""
    most = rows if total is None else total

    async def answer(request: Request) -> Response:
        query = request.query_params
        first = int(query.get("offset", query.get("token", 0)))
        first = 250 * (int(query["page"]) - 1) if "page" in query else first
        ids = range(first, min(first + 250, most))
        token = str(first + 250) if first + 250 < most else None
        return JSONResponse({"rows": [{"id": n} for n in ids], "total": most, "next": token})

    places = ", next: next" if kind == "token" else ""
    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints:
              things:
                request: {{params: {{{kind}: "{{{kind}}}"}}}}
                rows: rows
                paging: {{kind: {kind}, limit: 250, total: total{places}}}
                key: [id]
                columns: {{id: int64}}
            """
        )
        (result,) = outcome_of(source, lake, "things", ["2026-11-03"], NOW)[0].results
    manifest = result.manifest
    assert manifest.rows == most
    assert manifest.proof.contiguous is is_proof
    (check,) = [check for check in manifest.checks if check["name"] == "pages_contiguous"]
    assert is_proof or "search_cap: 1000" in check["detail"]


class Filtered:
    """A row every five minutes, those on the bounds of each day and hour among them; ``longest`` is
    the longest window that was requested."""

    def __init__(self) -> None:
        self.longest = timedelta(0)
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        since, until = (datetime.fromisoformat(request.query_params[n]) for n in ("since", "until"))
        self.longest = max(self.longest, until - since)
        at = [datetime(2026, 11, 2, tzinfo=UTC) + timedelta(minutes=5 * n) for n in range(576)]
        rows = [{"id": n, "at": a.isoformat()} for n, a in enumerate(at) if since < a < until]
        first = 300 * (int(request.query_params.get("page", "1")) - 1)
        return JSONResponse({"rows": rows[first : first + 300]})


@pytest.mark.parametrize(
    ("margin_s", "window", "paging"),
    [
        (0, "{}", "kind: page, limit: 300"),
        (0, "{max_s: 86400}", "kind: page, limit: 300"),
        (900, "{max_s: 90000}", "kind: token, limit: 300, header: next"),
        (900, "{max_s: 29200}", "kind: token, limit: 300, header: next"),
        (900, "{}", "kind: token, limit: 300, header: next, slices: 3"),
    ],
)
def test_rows_on_a_bound_come_though_the_api_leaves_them_out_and_the_yaml_does_not_say_so(
    margin_s: int, window: str, paging: str, lake: Lake
) -> None:
    api = Filtered()
    number = "page" if "page" in paging else "token"
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: {margin_s}
            endpoints:
              things:
                request:
                  params: {{since: "{{start}}", until: "{{end}}", {number}: "{{{number}}}"}}
                rows: rows
                paging: {{{paging}}}
                window: {window}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )
        days = ["2026-11-01", "2026-11-02", "2026-11-03"]
        now = datetime(2026, 11, 5, tzinfo=UTC)
        outcome, _ = outcome_of(source, lake, "things", days[1:], now)
    manifests = [result.manifest for result in outcome.results]
    read = [key_rows(lake, m.files, ["id"])["id"].to_pylist() for m in manifests]
    assert sorted({*read[0], *read[1]}) == list(range(576))
    if "max_s" in window:
        assert api.longest <= timedelta(seconds=int(window[8:-1]))


WINDOW = ("cursor: at", "window: {end: none}")


def test_a_bound_that_leaves_out_its_rows_is_refused_and_the_remedy_brings_them(lake: Lake) -> None:
    failed = outcome_at(Api(101, exclusive=True), lake, CURSOR, *WINDOW).failed
    assert "Set window: {start: exclusive}" in str(failed[0].error)
    remedy = ("cursor: at", "window: {end: none, start: exclusive}")
    outcome = outcome_at(Api(101, exclusive=True), lake, CURSOR, *remedy)
    assert [result.manifest.rows for result in outcome.results] == [101]


def test_a_bound_that_includes_its_rows_is_read_as_before(lake: Lake) -> None:
    outcome = outcome_at(Api(101), lake, CURSOR, *WINDOW)
    assert [result.manifest.rows for result in outcome.results] == [101]


class Timeless:
    """A row every five minutes, filtered by a time that no row shows: ``low`` and ``high`` compare
    a row's time with the bounds."""

    def __init__(self, low: Compare, high: Compare) -> None:
        first = datetime(2026, 10, 31, tzinfo=UTC)
        self.at = [first + timedelta(minutes=5 * n) for n in range(3 * 288)]
        self.at += [at + timedelta(minutes=5, seconds=-1) for at in self.at]
        self._low, self._high = low, high
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        query = request.query_params
        low, high = query.get("since", "2026-10-01T00:00:00+00:00"), query["until"]
        since, until = (datetime.fromisoformat(text) for text in (low, high))
        rows = [n for n, at in enumerate(self.at) if self._low(at, since) and self._high(at, until)]
        first = int(query.get("token") or 0)
        page = [{"id": n} for n in rows[first : first + 300]]
        return JSONResponse({"rows": page, "next": first + 300 if rows[first + 300 :] else None})


@pytest.mark.parametrize("cursor", ["at", "window"])
@pytest.mark.parametrize("cut", ["max_s: 3542400", "slices: 10"])
@pytest.mark.parametrize("low", [gt, ge])
def test_a_sweep_sees_the_rows_at_each_cut_once(
    low: Compare, cut: str, cursor: str, lake: Lake
) -> None:
    """The second of November is a cut, and the API may leave out the rows at its lower bound."""
    api = Timeless(low, lt)
    slices, longest = (f", {cut}", "") if "slices" in cut else ("", f", {cut}")
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                request:
                  params: {{since: "{{start}}", until: "{{end}}", token: "{{token}}"}}
                rows: rows
                paging: {{kind: token, limit: 300, next: next, numbered: false{slices}}}
                window: {{floor: "2026-09-22T00:00:00+00:00"{longest}}}
                key: [id]
                cursor: {cursor}
                sweep: true
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )

        async def main() -> SweepResult:
            budget = open_budget("api", LIMITS, "memory")
            async with open_client(source, budget) as client:
                now = datetime(2026, 11, 5, tzinfo=UTC)
                run = RunContext(source, lake, client, "sweep", lambda: now, sleep=at_once)
                return await sweep(run, "things", ExtractionProgress())

        assert asyncio.run(main()).keys_seen == len(api.at)


@pytest.mark.parametrize("cut", ["", ", slices: 5"])
@pytest.mark.parametrize(
    ("window", "low", "high"),
    [
        ("{}", ge, lt),
        ("{max_s: 21600}", ge, lt),
        ("{start: exclusive, max_s: 21601}", gt, lt),
        ("{start: exclusive, end: inclusive, max_s: 21600}", gt, le),
    ],
)
def test_rows_that_show_no_time_come_once_at_each_bound(
    cut: str, window: str, low: Compare, high: Compare, lake: Lake
) -> None:
    """No row that comes along from before a bound could be dropped."""
    api = Timeless(low, high)
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: 0
            endpoints:
              things:
                request:
                  params: {{since: "{{start}}", until: "{{end}}", token: "{{token}}"}}
                rows: rows
                paging: {{kind: token, limit: 300, next: next, numbered: false{cut}}}
                window: {window}
                key: none
                cursor: window
                columns: {{id: int64}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-01", "2026-11-02"], NOW)
    ids = [key_rows(lake, r.manifest.files, ["id"])["id"].to_pylist() for r in outcome.results]
    begin, end = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)
    days = [
        [n for n, at in enumerate(api.at) if high(at, begin)],
        [n for n, at in enumerate(api.at) if not high(at, begin) and high(at, end)],
    ]
    assert [sorted(day) for day in ids] == days
