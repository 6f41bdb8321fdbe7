"""Columns that are of the response, and not of the row: an equal row that comes again is one."""

from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

COLUMNS = {
    "now": 'seen: {type: "timestamp[iso]", from: now}',
    "response": "seen: {type: string, from: response.trace}",
    "headers": "seen: {type: string, from: headers.x-trace}",
}


class Api:
    """A row comes to the front while the second page is requested: the last row of the first page
    is the first one of the second."""

    def __init__(self) -> None:
        self.rows, self.number = [*range(1, 36)], 0
        self.app = Starlette(routes=[Route("/things", self.respond)])

    async def respond(self, request: Request) -> Response:
        self.number += 1
        if self.number == 2:
            self.rows.insert(0, 0)
        first, trace = 10 * (int(request.query_params["page"]) - 1), f"t{self.number}"
        rows = [{"id": row, "n": row} for row in self.rows[first : first + 10]]
        return JSONResponse({"rows": rows, "trace": trace}, headers={"X-Trace": trace})


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("batch_rows", [10, 1000])
def test_a_row_that_comes_again_is_the_same_in_whatever_response(
    column: str, batch_rows: int, lake: Lake
) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                key: [id]
                columns: {{id: int64, {COLUMNS[column]}}}
                request: {{params: {{page: "{{page}}"}}}}
                paging: {{kind: page, limit: 10}}
                rows: rows
                batch_rows: {batch_rows}
            """
        )
        now = datetime(2026, 11, 3, 2, tzinfo=UTC)
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], now)
    assert not outcome.failed
    (result,) = outcome.results
    ids = dataset(lake, "api", "things").to_table()["id"].to_pylist()
    assert sorted(ids) == [*range(1, 36)]
    assert result.manifest.notes.duplicate_rows == 1
