"""`check`: what it says of sound APIs that look odd, and how the verdict is shown."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourcetool.check import Wanted, check
from tests.support.responses import json_answer
from tests.support.runs import serving

LINES = [{"order": n // 3, "pos": n % 3, "n": str(n)} for n in range(90)]
SERIES = [{"values": [2 * n, 2 * n + 1]} for n in range(3)]


def exploded(table: pa.Table) -> pa.Table:
    """Rows of a list of values: `values` is what it reads, and no row that it makes has it."""
    values = [json.loads(text) for text in table["values"].to_pylist()]
    ids = [one for each in values for one in each]
    columns = {
        name: pa.array(ids, pa.int64()) if name == "id" else pa.nulls(len(ids), field.type)
        for name, field in zip(table.column_names, table.schema, strict=True)
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def lines(request: Request) -> Response:
        query = request.query_params
        size, number = int(query["size"]), int(query.get("page", 1))
        rows = LINES[(number - 1) * size : number * size]
        if request.path_params["kind"] == "same":
            rows = LINES[:size]
        total = len(rows) if request.path_params["kind"] == "small" else len(LINES)
        if request.path_params["kind"] == "mixed":
            rows = [r | {"n": int(str(r["n"])) if i % 2 else r["n"]} for i, r in enumerate(rows)]
        return json_answer({"total": total, "rows": rows})

    async def keys(request: Request) -> Response:
        after = int(request.query_params.get("from", 0))
        rows = [{"id": n} for n in range(1, 60) if n >= after]
        return json_answer(rows[: int(request.query_params["limit"])])

    async def series(request: Request) -> Response:
        return json_answer(SERIES)

    routes = [Route("/{kind}/lines", lines), Route("/keys", keys), Route("/series", series)]
    with serving(Starlette(routes=routes)) as url:
        yield url


@pytest.fixture(autouse=True)
def own_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))


def run(file: Path | str, **wanted: Any) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=160, soft_wrap=True)
    code = check(str(file), Wanted(**wanted), console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def yaml_of(tmp_path: Path, url: str, endpoints: str) -> Path:
    file = tmp_path / "file_name.yaml"
    file.write_text(
        f"source: shop\nbase_url: {url}\nstart: 2026-11-01\n"
        "limits: {windows: [{requests: 100, per_s: 1}]}\n"
        f"endpoints:\n{endpoints}"
    )
    return file


def lines(kind: str) -> str:
    return (
        f"  lines:\n    path: {kind}/lines\n    key: [order, pos]\n    rows: rows\n"
        "    paging: {kind: page, limit: 30, total: total}\n"
        "    columns: {order: int64, pos: int32, n: int64}\n"
        '    request: {params: {size: "{limit}", page: "{page}"}}\n'
    )


def test_pages_of_a_key_of_two_columns_are_told_apart(api: str, tmp_path: Path) -> None:
    code, said = run(yaml_of(tmp_path, api, lines("plain")))
    assert code == 0, said
    assert "✓ shop: nothing to doubt in 1 endpoint" in said.splitlines()[0]
    assert "order, pos: 0/0 … 9/2; 10/0 … 19/2" in said
    code, said = run(yaml_of(tmp_path, api, lines("same")))
    assert code == 1
    assert "the second page is the first one again" in said


def test_numbers_that_are_all_texts_are_no_doubt_and_some_are(api: str, tmp_path: Path) -> None:
    said = run(yaml_of(tmp_path, api, lines("plain")))[1]
    assert "otherwise than declared, and read all the same: n" in said
    code, said = run(yaml_of(tmp_path, api, lines("mixed")))
    assert code == 0
    assert "some cells had to be converted, and others not: n (" in said


def test_a_total_that_is_smaller_than_the_rows_that_came_is_a_doubt(
    api: str, tmp_path: Path
) -> None:
    paging = "{kind: page, limit: 30, total: total}"
    text = lines("small").replace(paging, "{kind: token, limit: 30, next: none, total: total}")
    text = text.replace('page: "{page}"', 'page: "{token}"')
    said = run(yaml_of(tmp_path, api, text))[1]
    assert "the API counts" not in said, "one page of it, and its total is right for that"
    code, said = run(yaml_of(tmp_path, api, lines("small").replace("total: total", "more: rows")))
    assert code == 0, said
    code, said = run(
        yaml_of(tmp_path, api, lines("small").replace("total: total", "more: rows, total: total"))
    )
    assert "the API counts 30 rows, and 60 came" in said


def test_a_bound_that_is_included_is_told_from_a_filter_that_is_ignored(
    api: str, tmp_path: Path
) -> None:
    text = (
        "  keys:\n    key: [id]\n    columns: {id: int64}\n"
        "    paging: {kind: keyset, limit: 20}\n"
        '    request: {params: {NAME: "{after}", limit: "{limit}"}}\n'
    )
    code, said = run(yaml_of(tmp_path, api, text.replace("NAME", "from")))
    assert code == 1
    assert "The API includes the bound" in said
    code, said = run(yaml_of(tmp_path, api, text.replace("NAME", "frm")))
    assert code == 1
    assert "The API seems to ignore the filter" in said


def test_what_a_transform_reads_is_no_column_without_values(api: str, tmp_path: Path) -> None:
    text = (
        "  series:\n    key: [id]\n    columns: {id: int64, values: json, gone: string}\n"
        "    transform: tests.sourcetool.test_check_verdicts:exploded\n"
    )
    code, said = run(yaml_of(tmp_path, api, text))
    assert "declared, and in none of 6 rows: gone" in said
    assert code == 0


def test_a_source_is_found_by_the_name_in_its_file(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = yaml_of(tmp_path, api, lines("plain"))
    for place in (file, tmp_path):
        monkeypatch.setenv("HEADRACE_SOURCES", str(place))
        assert run("shop")[0] == 0
    code, said = run("other")
    assert code == 2
    assert "there is shop" in said


def test_the_verdict_for_programs(api: str, tmp_path: Path) -> None:
    text = lines("plain") + lines("same").replace("  lines:\n", "  again:\n", 1)
    code, said = run(yaml_of(tmp_path, api, text), as_json=True)
    found = json.loads(said)
    assert (code, found["verdict"]) == (1, "broken")
    assert [(e["name"], e["verdict"]) for e in found["endpoints"]] == [
        ("lines", "sound"),
        ("again", "broken"),
    ]
    assert found["endpoints"][0]["columns"] == {"order": "int64", "pos": "int32", "n": "int64"}
    assert found["endpoints"][1]["doubts"][0]["breaks"] is True
    code, said = run(yaml_of(tmp_path, api, "  x: {}\n"), as_json=True)
    assert (code, json.loads(said)["verdict"]) == (2, "refused")


def test_rows_into_a_file(api: str, tmp_path: Path) -> None:
    file, into = yaml_of(tmp_path, api, lines("plain")), tmp_path / "x.parquet"
    code, said = run(file, rows=70, into=str(into))
    assert code == 0, said
    rows = pq.read_table(into)
    assert rows.column_names == ["order", "pos", "n"]
    assert rows["n"].to_pylist() == list(range(70))
    two = yaml_of(tmp_path, api, lines("plain") + lines("same").replace("lines:", "again:", 1))
    code, said = run(two, rows=70, into=str(into))
    assert code == 2
    assert "name it with --endpoint" in said
