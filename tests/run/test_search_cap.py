"""A search that gives no row beyond so many: its window is cut until each part fits."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

CAP, PAGE = 40, 10
START = datetime(2026, 10, 31, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 4, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]


class Search:
    """Rows that come in bursts. A search has pages up to the cap, and refuses what lies behind.

    ``capped_total``: it counts no further than the cap. ``inclusive``: its end belongs to it.
    ``exclusive``: neither of its bounds does.
    """

    def __init__(
        self, *, capped_total: bool = False, inclusive: bool = False, exclusive: bool = False
    ) -> None:
        self.capped_total, self.inclusive = capped_total, inclusive
        self.exclusive = exclusive
        steady = [START + timedelta(minutes=11 * n) for n in range(480)]
        burst = [START + timedelta(hours=30, seconds=7 * n) for n in range(150)]
        midnight = [datetime(2026, 11, 2, tzinfo=UTC)] * 30
        self.rows = dict(enumerate([*steady, *burst, *midnight]))
        self.requests: list[tuple[str, str, int]] = []
        self.fails_at = -1
        self.late: list[datetime] = []
        self.app = Starlette(routes=[Route("/search", self.answer)])

    async def answer(self, request: Request) -> Response:
        given = request.query_params
        start, end, page = given["from"], given["to"], int(given["page"])
        self.requests.append((start, end, page))
        if len(self.requests) == self.fails_at:
            return JSONResponse({"error": "no"}, 403)
        if page > 1:
            while self.late:
                self.rows[len(self.rows)] = self.late.pop()
        low, high = datetime.fromisoformat(start), datetime.fromisoformat(end)
        found = [
            {"id": n, "at": at.isoformat()}
            for n, at in self.rows.items()
            if (low < at if self.exclusive else low <= at)
            and (at <= high if self.inclusive else at < high)
        ]
        if PAGE * page > CAP:
            return JSONResponse({"message": f"Only the first {CAP} results are available"}, 422)
        total = min(len(found), CAP) if self.capped_total else len(found)
        return JSONResponse({"items": found[PAGE * (page - 1) : PAGE * page], "total": total})


def source_at(url: str, more: str = "", cap: int = CAP) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        endpoints:
          things:
            path: search
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
            request: {{params: {{from: "{{start}}", to: "{{end}}", page: "{{page}}"}}}}
            window: {{format: "%Y-%m-%dT%H:%M:%S+00:00", floor: "2026-10-31"{more}}}
            paging: {{kind: page, limit: {PAGE}, total: total}}
            search_cap: {cap}
            rows: items
            batch_rows: 20
        """
    )


def ids_of(lake: Lake, manifest: Any) -> list[int]:
    return list(key_rows(lake, manifest.files, ["id"])["id"].to_pylist())


def check(api: Search, lake: Lake, manifests: list[Any]) -> None:
    """Each row of each window, once."""
    for manifest in manifests:
        low, high = manifest.window.start, manifest.window.end
        truth = {n for n, at in api.rows.items() if (low is None or low <= at) and at < high}
        ids = ids_of(lake, manifest)
        assert Counter(ids) == Counter(truth)
        assert len(ids) > CAP
        assert manifest.proof.contiguous
        assert manifest.proof.rests_on == "count"


@pytest.mark.slow
@pytest.mark.parametrize("capped_total", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
def test_all_rows_come_and_none_is_requested_beyond_the_cap(
    capped_total: bool, inclusive: bool, lake: Lake
) -> None:
    api = Search(capped_total=capped_total, inclusive=inclusive)
    with serving(api.app) as url:
        source = source_at(url, ", end: inclusive" if inclusive else "")
        outcome, _ = outcome_of(source, lake, "things", DAYS, NOW)
    assert not outcome.failed
    check(api, lake, [receipt.manifest for receipt in outcome.results])
    assert max(page for _, _, page in api.requests) * PAGE <= CAP
    assert len(api.requests) < 3 * len(api.rows) / PAGE


@pytest.mark.slow
@pytest.mark.parametrize("fails_at", range(3, 70, 15))
def test_a_run_that_is_cut_off_goes_on_with_its_parts(fails_at: int, lake: Lake) -> None:
    """Wherever it ends: the parts that were found are kept, and no row is lost or doubled."""
    api = Search()
    with serving(api.app) as url:
        source = source_at(url)
        api.fails_at = fails_at
        outcome_of(source, lake, "things", DAYS, NOW, run_id="run")
        again, _ = outcome_of(source, lake, "things", DAYS, NOW, run_id="run")
    assert not again.failed
    check(api, lake, [receipt.manifest for receipt in again.results])


def test_a_part_that_grows_to_the_cap_is_cut_by_the_next_pass(lake: Lake) -> None:
    api = Search()
    with serving(api.app) as url:
        source = source_at(url)
        api.late = [START + timedelta(minutes=11 * n, seconds=1) for n in range(45)]
        outcome, _ = outcome_of(source, lake, "things", DAYS[:1], NOW)
    assert not outcome.failed
    assert not api.late
    check(api, lake, [outcome.results[0].manifest])


def test_rows_that_lie_in_no_part_are_told_by_the_total_of_the_whole(lake: Lake) -> None:
    """Each part agrees with its own total, and a row at each cut is lost all the same."""
    api = Search(exclusive=True)
    api.rows = {n: START + timedelta(seconds=n) for n in range(300)}
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "things", DAYS[:1], NOW)
        (manifest,) = [result.manifest for result in outcome.results]
        assert 0 < manifest.rows < 300
        (said,) = [c["detail"] for c in manifest.checks if not c["passed"]]
        assert f"have {manifest.rows} rows together, and the search of the whole window" in said
        assert "matches 300" in said
        with_remedy = source_at(url, ", start: exclusive")
        outcome, _ = outcome_of(with_remedy, lake, "things", DAYS[:1], NOW)
    (manifest,) = [result.manifest for result in outcome.results]
    assert manifest.rows == 300
    assert all(check["passed"] for check in manifest.checks)


def test_a_second_with_more_rows_than_the_cap_is_refused(lake: Lake) -> None:
    api = Search()
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url, cap=25), lake, "things", DAYS[1:2], NOW)
    (failed,) = outcome.failed
    assert (
        "The search of 2026-11-02T00:00:00+00:00 to 2026-11-02T00:00:01+00:00 matches 30 rows and "
        "gives fewer than 25 (`search_cap`), and no part of it can be requested"
    ) in str(failed.error)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "kind: page, limit: 10, total: total",
            "kind: page, limit: 10",
            "how many rows a part has",
        ),
        ("kind: page, limit: 10, total: total", "kind: none, limit: 10", "is not read in parts"),
        (", floor: '2026-10-31'", "", "say where it begins"),
        ("limit: 10", "limit: 50", "`paging.limit: 50` is more than `search_cap: 40`"),
        ('to: "{end}", ', "", "put both {start} and {end} into the request"),
    ],
)
def test_what_a_capped_search_needs(old: str, new: str, said: str) -> None:
    text = f"""
        source: api
        base_url: http://127.0.0.1:1
        start: 2026-11-01
        endpoints:
          things:
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
            request: {{params: {{from: "{{start}}", to: "{{end}}", page: "{{page}}"}}}}
            window: {{format: iso, floor: '2026-10-31'}}
            paging: {{kind: page, limit: 10, total: total}}
            search_cap: {CAP}
        """
    source_of(text)
    with pytest.raises(ConfigError) as caught:
        source_of(text.replace(old, new))
    assert said in str(caught.value)
