"""APIs that leave out the rows at the bound, or give no row beyond an offset."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.s3 import Lake
from pipeline.run.runner import RunOutcome
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


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
