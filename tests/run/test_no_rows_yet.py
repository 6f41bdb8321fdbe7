"""An endpoint whose columns are inferred, and that has had no row yet."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.read import current, rows_of
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

DAY, NEXT = "2026-11-02", "2026-11-03"
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 3, 12, tzinfo=UTC)
NAMES = ["accounts", "visits", "orders", "orders/lines"]


class Api:
    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"accounts": [], "visits": [], "orders": []}
        self.app = Starlette(routes=[Route("/{name}", self.answer)])

    async def answer(self, request: Request) -> Response:
        return JSONResponse(self.rows[request.path_params["name"]])


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def source(api: Api) -> Iterator[Source]:
    with serving(api.app, date_header=False) as url:
        yield source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              accounts: {{paging: {{kind: none}}, whole: true, key: [id]}}
              visits:
                request:
                  params: {{account: "{{each}}", since: "{{start}}", until: "{{end}}"}}
                paging: {{kind: none}}
                whole: true
                each: {{endpoint: accounts, column: id}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              orders:
                paging: {{kind: none}}
                whole: true
                key: [id]
                tables:
                  lines:
                    rows: lines
                    key: [order_id, line]
                    columns:
                      order_id: {{type: int64, from: parent.id}}
                      line: {{type: int64, from: position}}
            """
        )


def test_its_readers_have_no_rows_and_its_children_no_values(
    lake: Lake, api: Api, source: Source
) -> None:
    names = ["accounts", "visits", "orders"]
    outcome, _ = outcome_of(source, lake, names, [DAY], NOW)
    assert not outcome.failed
    visits = next(each.manifest for each in outcome.results if each.endpoint == "visits")
    assert "there are no values to read" in visits.notes.warning
    for name in NAMES:
        assert current(lake, "api", name).num_rows == 0
        assert rows_of(lake, "api", name).num_rows == 0
    for name, read in (("accounts", current), ("orders", rows_of)):
        table = read(lake, "api", name, columns=["id", "_extracted_at"])
        assert table.column_names == ["id", "_extracted_at"]
        assert table.schema.field("id").type == pa.null()
    lines = current(lake, "api", "orders/lines", columns=["order_id", "line"])
    assert lines.schema == pa.schema({"order_id": pa.int64(), "line": pa.int64()})


def test_rows_of_a_later_day_bring_the_columns(lake: Lake, api: Api, source: Source) -> None:
    names = ["accounts", "visits", "orders"]
    assert not outcome_of(source, lake, names, [DAY], NOW)[0].failed
    api.rows = {
        "accounts": [{"id": 7}],
        "visits": [{"id": 1, "at": "2026-11-03T01:00:00Z"}],
        "orders": [{"id": 3, "lines": [{"n": 1}, {"n": 2}]}],
    }
    assert not outcome_of(source, lake, names, [NEXT], LATER)[0].failed
    assert [current(lake, "api", name).num_rows for name in NAMES] == [1, 1, 1, 2]
    assert current(lake, "api", "orders/lines")["order_id"].to_pylist() == [3, 3]
