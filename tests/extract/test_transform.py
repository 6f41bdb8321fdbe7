"""A function of the user's own that makes the rows: one of each value in an answer's objects."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from sourcetool.check import Wanted, check
from tests.dialects.test_window_edges import AT, WINDOW, Params, manifest_of
from tests.extract.test_shifting_pages import swept
from tests.extract.test_short_pages import Shop
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
HOSTS = ("a", "b")
STEP_S = 3600


def samples(table: pa.Table) -> pa.Table:
    """A series a row becomes a sample a row: as in docs/sources.md."""
    rows = [
        {**row, "at": int(at * 1e6), "value": float(value), "values": None}
        for row in table.to_pylist()
        for at, value in json.loads(row["values"])
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)


def without_hosts(table: pa.Table) -> pa.Table:
    made = samples(table)
    return made.set_column(made.column_names.index("host"), "host", pa.nulls(made.num_rows))


def by_address(table: pa.Table) -> pa.Table:
    """A key that only the function makes; and it needs the other columns for it."""
    names = [f"{row['name']}@{row['host']}" for row in table.to_pylist()]
    return table.set_column(0, "address", pa.array(names, pa.string()))


def prometheus(params: Params, first: datetime, last: datetime) -> Response:
    """Prometheus' query_range: both bounds included, seconds as numbers, values as text."""
    if "start" not in params:
        said = 'invalid parameter "start": cannot parse "" to a valid timestamp'
        return JSONResponse({"status": "error", "errorType": "bad_data", "error": said}, 400)
    low, high = float(params["start"]), float(params["end"])
    at = [low + STEP_S * n for n in range(int((high - low) // STEP_S) + 1)]
    there = [one for one in at if first.timestamp() <= one <= last.timestamp()]
    found = [
        {"metric": {"host": host}, "values": [[one, value_of(host, one)] for one in there]}
        for host in HOSTS
    ]
    return JSONResponse({"data": {"resultType": "matrix", "result": found if there else []}})


def value_of(host: str, at: float) -> str:
    return "+Inf" if at % 7 == 0 else f"{at % 1000 + HOSTS.index(host)}"


def yaml_of(url: str, transform: str = "samples", paging: str = "{kind: none}") -> str:
    return f"""
source: prometheus
base_url: {url}
start: 2026-11-01
safety_margin_s: {STEP_S}
retries: {{errors: 0}}
endpoints:
  cpu:
    path: api/v1/query_range
    request: {{params: {{query: cpu, start: "{{start}}", end: "{{end}}", step: {STEP_S}}}}}
    window: {{format: epoch_s, end: inclusive, floor: "2026-11-01"}}
    paging: {paging}
    rows: data.result
    transform: tests.extract.test_transform:{transform}
    key: [host, at]
    cursor: at
    columns:
      host: {{type: string, path: metric.host}}
      at: timestamp[us]
      value: double
      values: json
"""


def app(first: datetime = FIRST, last: datetime = NOW) -> Starlette:
    async def answer(request: Request) -> Response:
        return prometheus(dict(request.query_params), first, last)

    return Starlette(routes=[Route("/api/v1/query_range", answer)])


def test_samples_of_series_land_by_their_own_time(lake: Lake) -> None:
    with serving(app()) as url:
        manifests = extract(source_of(yaml_of(url)), lake, "cpu", DAYS, NOW)
    assert [m.rows for m in manifests] == [48, 50, 26], "a step of the margin beside each day"
    landed = {}
    for manifest in manifests:
        for row in key_rows(lake, manifest.files, ["host", "at", "value"]).to_pylist():
            landed[row["host"], row["at"]] = row["value"]
    hours = [FIRST + timedelta(hours=n) for n in range(60)]
    assert landed == {(h, at): float(value_of(h, at.timestamp())) for h in HOSTS for at in hours}


@pytest.mark.parametrize(
    ("transform", "paging", "said"),
    [
        ("without_hosts", "{kind: none}", "expected a value of host in every row, since it is in"),
        ("samples", "{kind: cursor, limit: 2}", "Pages go by `at`, and no row of the API has one"),
    ],
)
def test_rows_that_can_t_be_told_apart_or_asked_for_are_refused(
    lake: Lake, transform: str, paging: str, said: str
) -> None:
    with serving(app()) as url:
        outcome, _ = outcome_of(
            source_of(yaml_of(url, transform, paging)), lake, "cpu", DAYS[:1], NOW
        )
    assert isinstance(outcome.failed[0].error, ContractBroken)
    assert said in str(outcome.failed[0].error)


def test_what_is_looked_at_are_the_rows_that_land(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    file, console = tmp_path / "x.yaml", Console(file=io.StringIO(), width=300)
    with serving(app(now - timedelta(days=3), now)) as url:
        file.write_text(yaml_of(url))
        code = check(str(file), Wanted([], 2, 1), console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert code == 0, said
    assert "beyond it dropped" not in said
    assert "in none of" not in said, "what the function takes is declared for it, and used up by it"
    assert "host                string                declared    a " in said, "a row that lands"


def test_a_sweep_compares_the_keys_that_are_made(lake: Lake, tmp_path: Path) -> None:
    users = [{"name": f"u{n}", "host": "a.test", "at": AT} for n in range(8)]
    text = f"""
  orders:
    request: {{params: {{{WINDOW}}}}}
    rows: data
    key: [address]
    cursor: at
    sweep: true
    transform: tests.extract.test_transform:by_address
    columns: {{address: string, at: "timestamp[iso]"}}
"""
    with Shop(lambda params, number: {"data": users}).source(tmp_path, text) as source:
        assert manifest_of(lake, source).rows == 8
        assert swept(lake, source).keys_gone == 0
        users.pop()
        assert swept(lake, source).keys_gone == 1


def backwards(table: pa.Table) -> pa.Table:
    return table.take(pa.array(range(table.num_rows - 1, -1, -1), pa.int64()))


def other_keys(table: pa.Table) -> pa.Table:
    made = pa.array([-key for key in table["id"].to_pylist()], pa.int64())
    return table.set_column(table.column_names.index("id"), "id", made)


def numbered(url: str, transform: str) -> str:
    return (
        f"source: numbers\nbase_url: {url}\nstart: 2026-11-01\nretries: {{errors: 1}}\n"
        "endpoints:\n  rows_of:\n    request: {params: {offset: '{offset}', limit: '{limit}'}}\n"
        "    paging: {kind: offset, limit: 4}\n    key: [id]\n    columns: {id: int64}\n"
        f"    transform: tests.extract.test_transform:{transform}\n"
    )


@pytest.mark.parametrize("transform", ["backwards", "other_keys"])
def test_pages_by_the_key_go_by_the_key_that_the_api_gave(lake: Lake, transform: str) -> None:
    """Keys in another order are put in order; other keys are refused, by which rows were lost."""

    async def answer(request: Request) -> Response:
        offset, limit = (int(request.query_params[name]) for name in ("offset", "limit"))
        return JSONResponse([{"id": key} for key in range(1, 26)][offset : offset + limit])

    with serving(Starlette(routes=[Route("/rows_of", answer)])) as url:
        source = source_of(numbered(url, transform))
        if transform == "other_keys":
            with pytest.raises(ContractBroken, match="other_keys` made -1 of it, which no row"):
                extract(source, lake, "rows_of", DAYS[2:], NOW)
            return
        manifest = extract(source, lake, "rows_of", DAYS[2:], NOW)[0]
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [*range(1, 26)]
