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


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("{pos: null}", '`where: {"pos":null}` keeps none of'),
        ("{po: 1}", "`where` looks at `po`, and none of the 30 rows of a page has it"),
        ("{pos: {gt: 0}}", ""),
    ],
)
def test_a_filter_that_keeps_no_row_breaks(where: str, said: str, api: str, tmp_path: Path) -> None:
    file = yaml_of(tmp_path, api, f"{lines('all')}    where: {where}\n")
    code, text = run(file)
    assert said in text
    assert code == (1 if said else 0)


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


def pages_from(first: int, *, at_zero: str = "") -> Starlette:
    """Numbered pages of 20 of 50 rows, which begin with page ``first``; ``at_zero`` says what an
    API that begins with 1 does for page 0."""

    async def items(request: Request) -> Response:
        number = int(request.query_params.get("page", first))
        if number < first:
            if at_zero == "refused":
                return json_answer({"error": "page must be positive"}, 400)
            number = first if at_zero == "first" else 1000
        size = 20
        rows = [{"id": n} for n in range(50)][(number - first) * size : (number - first + 1) * size]
        return json_answer({"items": rows, "last_page": (number - first + 1) * size >= 50})

    return Starlette(routes=[Route("/items", items)])


ITEMS = (
    "  items:\n    key: [id]\n    rows: items\n    columns: {id: int64}\n"
    '    request: {params: {page: "{page}"}}\n'
    '    paging: {kind: page, limit: 20, more: "!last_page"}\n'
)


def test_pages_that_are_counted_from_zero_lose_their_first_page(tmp_path: Path) -> None:
    with serving(pages_from(0)) as url:
        code, said = run(yaml_of(tmp_path, url, ITEMS))
        assert code == 1
        assert "page 0 has 20 rows that page 1 has not" in said
        assert "set paging.first: 0" in said
        code, said = run(yaml_of(tmp_path, url, ITEMS.replace("limit: 20", "limit: 20, first: 0")))
        assert code == 0, said
        assert "that page" not in said


@pytest.mark.parametrize("at_zero", ["refused", "first", "empty"])
def test_pages_that_are_counted_from_one_are_not_doubted(tmp_path: Path, at_zero: str) -> None:
    with serving(pages_from(1, at_zero=at_zero)) as url:
        code, said = run(yaml_of(tmp_path, url, ITEMS))
    assert code == 0, said
    assert "that page" not in said


@pytest.mark.parametrize(
    ("members", "headers", "sentence"),
    [
        ({}, {"Link": '<http://x/items?page=2>; rel="next"'}, "names a next page (`Link`)"),
        ({"has_more": True}, {}, "says that there is more (`has_more`)"),
    ],
)
def test_one_response_that_names_more_breaks(
    tmp_path: Path, members: dict[str, Any], headers: dict[str, str], sentence: str
) -> None:
    async def items(request: Request) -> Response:
        response = json_answer({"items": [{"id": n} for n in range(7)], **members})
        response.headers.update(headers)
        return response

    endpoint = "  items:\n    key: [id]\n    rows: items\n"
    with serving(Starlette(routes=[Route("/items", items)])) as url:
        code, said = run(yaml_of(tmp_path, url, endpoint))
        assert code == 1
        assert f"paging is `none`, and the response {sentence}" in said
        code, said = run(yaml_of(tmp_path, url, endpoint + "    whole: true\n"))
        assert code == 0, said
    assert "items  7\n" in said


def test_a_full_looking_response_that_is_whole_is_not_doubted(tmp_path: Path) -> None:
    async def items(request: Request) -> Response:
        return json_answer([{"id": n} for n in range(100)])

    endpoint = "  items:\n    key: [id]\n"
    with serving(Starlette(routes=[Route("/items", items)])) as url:
        code, said = run(yaml_of(tmp_path, url, endpoint))
        assert (code, "100 rows came, as many as a page of several may have" in said) == (0, True)
        code, said = run(yaml_of(tmp_path, url, endpoint + "    whole: true\n"))
    assert "✓ shop: nothing to doubt" in said


def test_the_number_of_all_rows_is_not_proposed_as_a_page_size(tmp_path: Path) -> None:
    """OData: ``$top`` is the number of all rows, and behind so many no page is named."""

    async def items(request: Request) -> Response:
        query = request.query_params
        skip, top = int(query.get("$skiptoken", 0)), int(query.get("$top", 10**9))
        body: dict[str, Any] = {"value": [{"id": n} for n in range(50)][skip : skip + min(top, 20)]}
        if top > 20 and skip + 20 < 50:
            body["@odata.nextLink"] = f"items?$top={top}&$skiptoken={skip + 20}"
        return json_answer(body)

    endpoint = (
        "  items:\n    key: [id]\n    rows: value\n    columns: {id: int64}\n"
        '    request: {params: {$top: "{limit}"}}\n'
        "    paging: {kind: link, limit: 500, next: '@odata\\.nextLink'}\n"
    )
    with serving(Starlette(routes=[Route("/items", items)])) as url:
        code, said = run(yaml_of(tmp_path, url, endpoint))
        assert "set paging.limit: 20, and leave $top out" in said
        mended = endpoint.replace('    request: {params: {$top: "{limit}"}}\n', "")
        code, said = run(yaml_of(tmp_path, url, mended.replace("500", "20")), pages=3)
    assert (code, "20 + 20 + 10" in said) == (0, True), said


def test_rows_without_the_cursor_are_doubted_and_the_remedy_brings_them(tmp_path: Path) -> None:
    """The API filters by the time of change, or by that of creation where there is none."""
    rows = [
        {"id": n, "created_at": f"2026-11-0{n}T10:00:00Z", "updated_at": None if n % 2 else at}
        for n, at in ((n, f"2026-11-0{n}T12:00:00Z") for n in range(1, 9))
    ]

    async def items(request: Request) -> Response:
        return json_answer({"count": len(rows), "items": rows})

    endpoint = (
        "  items:\n    key: [id]\n    rows: items\n    cursor: updated_at\n"
        '    request: {params: {since: "{start}"}}\n    window: {end: none}\n    whole: true\n'
        '    columns: {updated_at: "timestamp[iso]", created_at: "timestamp[iso]"}\n'
    )
    with serving(Starlette(routes=[Route("/items", items)])) as url:
        code, said = run(yaml_of(tmp_path, url, endpoint), days=60)
        assert (code, "has no `updated_at`" in said) == (1, True), said
        assert "cursor: [updated_at, " in said, said
        mended = endpoint.replace("cursor: updated_at", "cursor: [updated_at, created_at]")
        code, said = run(yaml_of(tmp_path, url, mended), days=60)
    assert (code, "have no" in said) == (0, False), said
