"""`sourcetool`: what it sees in an API, and what it proposes for one."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import load_source
from pipeline.lake.s3 import Lake
from sourcetool.check import Wanted, check
from sourcetool.deployment import validate
from sourcetool.infer import guess
from sourcetool.new import new
from tests.sources.github_api import GitHub, issues
from tests.sources.usgs_api import Usgs, events
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

NOW = datetime.now(UTC)


def page(request: Request, rows: list[dict[str, object]], most: int = 50) -> Response:
    size, number = int(request.query_params["per_page"]), int(request.query_params.get("page", 1))
    size = min(size, most)
    return json_answer(
        {"meta": {"total": len(rows)}, "items": rows[(number - 1) * size : number * size]}
    )


ROWS: list[dict[str, object]] = [
    {"id": n, "name": f"n{n}", "size": n / 2, "updated": "2026-11-01T10:00:00Z", "tags": ["a"]}
    for n in range(1, 131)
]


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def things(request: Request) -> Response:
        return page(request, ROWS)

    async def same(request: Request) -> Response:
        return json_answer({"meta": {"total": len(ROWS)}, "items": ROWS[:20]})

    async def gone(request: Request) -> Response:
        return json_answer({"message": "No such thing"}, 404)

    routes = [Route("/v1/things", things), Route("/v1/same", same), Route("/v1/gone", gone)]
    with serving(Starlette(routes=routes)) as url:
        yield url


@pytest.fixture(autouse=True)
def own_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))


def run_check(file: Path | str, *endpoints: str) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=120, soft_wrap=True)
    code = check(str(file), Wanted(endpoints, 2, 30), console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def yaml_of(tmp_path: Path, url: str, path: str, **more: str) -> Path:
    file = tmp_path / "shop.yaml"
    settings = {"paging": "{kind: page, limit: 50, total: meta.total}", "rows": "items"} | more
    lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    file.write_text(
        f"source: shop\nbase_url: {url}/v1\nstart: 2026-11-01\nendpoints:\n  things:\n"
        f"    path: {path}\n    key: [id]\n{lines}"
        '    request: {params: {per_page: "{limit}", page: "{page}"}}\n'
    )
    return file


def test_a_sound_source_has_its_pages_shown(api: str, tmp_path: Path) -> None:
    code, said = run_check(yaml_of(tmp_path, api, "things"))
    assert code == 0
    assert "2 × 200" in said
    assert "50 + 50 of 130, 50 a page requested" in said
    assert "no rate limit is given" in said
    assert "updated" in said


def test_a_capped_page_size_is_a_doubt(api: str, tmp_path: Path) -> None:
    paging = "{kind: page, limit: 100, total: meta.total}"
    code, said = run_check(yaml_of(tmp_path, api, "things", paging=paging))
    assert code == 0
    assert "set paging.limit: 50" in said


def test_a_capped_page_size_is_a_doubt_where_pages_follow_the_cursor(tmp_path: Path) -> None:
    changed = [
        (NOW - timedelta(days=9, minutes=-n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(90)
    ]

    async def orders(request: Request) -> Response:
        since = request.query_params.get("since", "")
        rows = [{"id": n, "at": at} for n, at in enumerate(changed) if at >= since]
        return json_answer(rows[:30])

    with serving(Starlette(routes=[Route("/orders", orders)])) as url:
        file = tmp_path / "shop.yaml"
        file.write_text(
            f"source: shop\nbase_url: {url}\nstart: 2026-01-01\nendpoints:\n  orders:\n"
            "    key: [id]\n    cursor: at\n    columns: {id: int64, at: 'timestamp[iso]'}\n"
            "    window: {end: none}\n    paging: {kind: cursor, limit: 100}\n"
            '    request: {params: {since: "{start}", limit: "{limit}"}}\n'
        )
        said = run_check(file)[1]
    assert "set paging.limit: 30" in said


def test_a_source_is_found_by_its_name_in_the_file_that_the_setting_names(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SOURCES", str(yaml_of(tmp_path, api, "things")))
    assert run_check("shop")[0] == 0


def test_brackets_in_an_error_are_no_markup(tmp_path: Path) -> None:
    wrong = {"columns": '{updated: "decimal(99,2)"}'}
    said = run_check(yaml_of(tmp_path, "http://127.0.0.1:9", "things", **wrong))[1]
    assert "timestamp[iso], timestamp[ms]" in said

    async def no(request: Request) -> Response:
        return json_answer({"error": "[/b] is closed"}, 400)

    console = Console(file=io.StringIO(), width=200)
    with serving(Starlette(routes=[Route("/orders", no)])) as url:
        assert new(f"{url}/orders", "shop2", str(tmp_path), console) == 2
    assert isinstance(console.file, io.StringIO)
    assert "[/b] is closed" in console.file.getvalue()


@pytest.mark.parametrize("body", ["<rows/>", "id,name\n1,a", '{"id": 1}\n{"id": 2}', ""])
def test_what_is_no_json_is_said_so(tmp_path: Path, body: str) -> None:
    async def other(request: Request) -> Response:
        return Response(body)

    console = Console(file=io.StringIO(), width=400)
    with serving(Starlette(routes=[Route("/rows", other)])) as url:
        assert new(f"{url}/rows", "rows", str(tmp_path), console) == 2
    assert isinstance(console.file, io.StringIO)
    assert "the response can't be read: " in console.file.getvalue()
    assert "A YAML is proposed from JSON only" in console.file.getvalue()


def test_a_page_that_comes_again_breaks(api: str, tmp_path: Path) -> None:
    code, said = run_check(yaml_of(tmp_path, api, "same"))
    assert code == 1
    assert "the second page is the first one again" in said


def test_what_the_api_refuses_is_said(api: str, tmp_path: Path) -> None:
    code, said = run_check(yaml_of(tmp_path, api, "gone"))
    assert code == 1
    assert "404" in said


def test_wrong_yaml_is_said_without_a_request(tmp_path: Path) -> None:
    code, said = run_check(yaml_of(tmp_path, "http://127.0.0.1:9", "things", cursr="x"))
    assert code == 2
    assert "did you mean 'cursor'?" in said
    assert run_check("no-such-source")[0] == 2
    assert run_check(yaml_of(tmp_path, "http://127.0.0.1:9", "things"), "other")[0] == 2


def test_a_shipped_source(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = issues(400, datetime(2026, 9, 1, tzinfo=UTC), NOW)
    with serving(GitHub(rows).app()) as url:
        monkeypatch.setenv("GITHUB_BASE_URL", url)
        monkeypatch.setenv("GITHUB_REPOSITORY", "acme/rocket")
        code, said = run_check("github")
    assert code == 0, said
    assert "x-ratelimit-remaining" in said
    assert "100 + " in said


@pytest.mark.parametrize("query", ["?per_page=50&page=1", "?per_page=20&page=1&since=2026-10-01"])
def test_a_proposal_loads_and_runs(api: str, tmp_path: Path, query: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    assert new(f"{api}/v1/things{query}", "shop", str(tmp_path), console) == 0
    source = load_source(tmp_path / "shop.yaml", {})
    things = source.endpoints["things"]
    assert things.key == ("id",)
    assert things.rows == "items"
    assert things.paging.kind == "page"
    assert things.columns["updated"].type == "timestamp[iso]"
    assert things.columns["size"].type == "double"
    assert things.cursor == ("updated" if "since" in query else None)
    if "since" not in query:
        assert run_check(tmp_path / "shop.yaml")[0] == 0
    assert new(f"{api}/v1/things{query}", "shop", str(tmp_path), console) == 2


@pytest.mark.parametrize("url", ["ftp://x/y", "nonsense", "http://127.0.0.1:9/none"])
def test_nothing_can_be_proposed(tmp_path: Path, url: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    assert new(url, "shop", str(tmp_path), console) == 2
    assert not (tmp_path / "shop.yaml").exists()


def test_a_proposal_for_nested_rows_and_a_window(tmp_path: Path) -> None:
    rows = events(60, datetime(2026, 10, 20, tzinfo=UTC), NOW)
    query = "format=geojson&limit=20&offset=1&starttime=2026-01-01&updatedafter=2026-10-01"
    console = Console(file=io.StringIO(), width=120)
    with serving(Usgs(rows, NOW).app()) as url:
        assert new(f"{url}/query?{query}", "quakes", str(tmp_path), console) == 0
    found = load_source(tmp_path / "quakes.yaml", {}).endpoints["query"]
    assert found.key == ("id",)
    assert found.columns["updated"].path == "properties.updated"
    assert found.cursor == "updated"
    assert found.columns["updated"].type == "timestamp[ms]"
    assert getattr(found.request, "params", {})["updatedafter"] == "{start}"
    assert found.window.end == "none"
    assert getattr(found.paging, "first", None) == 1


@pytest.fixture
def filtering() -> Iterator[str]:
    """An API that ignores a filter that it does not know, or answers nothing then, or by day."""

    async def answer(request: Request) -> Response:
        params, rows = request.query_params, [*ROWS]
        strange = params.keys() - {"from", "to"}
        if strange and request.path_params["kind"] == "nothing":
            return json_answer([])
        if request.path_params["kind"] == "today" and params["to"] < f"{NOW:%Y-%m-%dT%H:%M}":
            return json_answer([])
        if "from" in params:
            rows = [row for row in rows if str(row["updated"]) >= params["from"]]
        if "to" in params:
            rows = [row for row in rows if str(row["updated"]) < params["to"]]
        return json_answer(rows)

    with serving(Starlette(routes=[Route("/v1/{kind}/things", answer)])) as url:
        yield url


@pytest.fixture
def lately(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [NOW - timedelta(hours=h) for h in (1, 5, 30)]
    rows = [{"id": n, "updated": f"{one:%Y-%m-%dT%H:%M:%SZ}"} for n, one in enumerate(at, start=1)]
    monkeypatch.setattr("tests.sourcetool.test_check_and_new.ROWS", rows)


@pytest.mark.parametrize(
    ("kind", "start", "end", "code", "said"),
    [
        ("ignored", "from", "to", 0, ""),
        ("ignored", "from", "too", 1, "The API seems to ignore the filter"),
        ("nothing", "from", "to", 0, ""),
        ("nothing", "from", "too", 0, "the first partition would be empty"),
        ("today", "from", "to", 1, "every day that has ended would be empty"),
        ("nothing", "frm", "too", 0, "the first partition would be empty"),
    ],
)
@pytest.mark.usefixtures("lately")
def test_a_misspelt_filter_is_noticed(
    filtering: str, tmp_path: Path, kind: str, start: str, end: str, code: int, said: str
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        f"source: shop\nbase_url: {filtering}/v1/{kind}\nstart: 2026-11-01\nendpoints:\n  things:\n"
        f'    request: {{params: {{{start}: "{{start}}", {end}: "{{end}}"}}}}\n'
        '    key: [id]\n    cursor: updated\n    columns: {updated: "timestamp[iso]"}\n'
    )
    found, text = run_check(file)
    assert (found, said in text) == (code, True), text
    assert ("first partition" in text) is ("first partition" in said)


def test_an_empty_baseline_is_a_doubt_and_an_empty_day_is_none(
    filtering: str, lake: Lake, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        f"source: shop\nbase_url: {filtering}/v1/nothing\nstart: 2026-11-01\n"
        "endpoints:\n  things:\n"
        '    request: {params: {frm: "{start}", too: "{end}"}}\n'
        '    key: [id]\n    cursor: updated\n    columns: {updated: "timestamp[iso]"}\n'
    )
    source, now = load_source(file, {}), datetime(2026, 11, 4, tzinfo=UTC)
    first, second = extract(source, lake, "things", ["2026-11-01", "2026-11-02"], now)
    assert "the names of the window's parameters" in first.notes.warning
    assert not second.notes.warning


@pytest.mark.parametrize(
    ("query", "params", "window", "cursor"),
    [
        (
            "limit=3&from_ms=1763769600000&to_ms=1895305600000",
            {"from_ms": "{start}", "to_ms": "{end}"},
            {"format": "epoch_ms"},
            ("ts", "timestamp[ms]"),
        ),
        (
            "limit=3&modified_since=2026-11-20 00:00:00&modified_until=2026-11-30 00:00:00",
            {"modified_since": "{start}", "modified_until": "{end}"},
            {"format": "%Y-%m-%d %H:%M:%S"},
            ("ts", "timestamp[ms]"),
        ),
        (
            "limit=3&updatedFrom=2026-11-20T00:00:00&seen=2026-11-01",
            {"updatedFrom": "{start}", "seen": "2026-11-01"},
            {"end": "none", "format": "%Y-%m-%dT%H:%M:%S"},
            ("ts", "timestamp[ms]"),
        ),
    ],
)
def test_the_bounds_of_a_window_are_found_by_what_stands_in_them(
    query: str,
    params: dict[str, str],
    window: dict[str, str],
    cursor: tuple[str, str],
) -> None:
    rows = [{"id": n, "ts": 1_763_769_600_000 + n} for n in range(3)]
    found = guess(rows, {}, [(n, v) for n, _, v in (p.partition("=") for p in query.split("&"))])
    assert found.params.items() >= params.items()
    assert (found.window, found.cursor) == (window, cursor[0])
    assert found.columns["ts"] == cursor[1]
    assert any("is sent with every request now" in doubt for doubt in found.doubts) is (
        "seen" in params
    )


def test_what_a_proposal_is_not_sure_of_is_said_as_in_its_file_and_the_next_command_takes_a_name(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SOURCES", str(tmp_path))

    def proposed(name: str, folder: Path, query: str) -> str:
        console = Console(file=io.StringIO(), width=120, soft_wrap=True)
        assert new(f"{api}/v1/things?{query}", name, str(folder), console) == 0
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    said = proposed("shop", tmp_path, "per_page=50&page=1")
    assert "50 rows seen. Next: make check-source SOURCE=shop\n" in said
    lines = (tmp_path / "shop.yaml").read_text().splitlines()
    in_file = [line.removeprefix("# ? ") for line in lines if line.startswith("# ? ")]
    said_too = [line.strip().removeprefix("? ") for line in said.splitlines() if line[:3] == "  ?"]
    assert [" ".join(line.split()) for line in said_too] == in_file
    assert "how fast may it be asked? Add limits" in in_file[-1]
    elsewhere = tmp_path / "drafts"
    said = proposed("draft", elsewhere, "per_page=1&page=1")
    assert f"1 row seen. Next: make check-source SOURCE={elsewhere}/draft.yaml\n" in said
    assert "(1 row)" in (elsewhere / "draft.yaml").read_text()


def test_one_is_no_plural(api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def twice(request: Request) -> Response:
        return json_answer([{"id": 1, "name": "a"}, {"id": 1, "name": "a"}, {"id": 2}])

    with serving(Starlette(routes=[Route("/things", twice)])) as url:
        file = tmp_path / "shop.yaml"
        file.write_text(
            f"source: shop\nbase_url: {url}\nstart: 2026-11-01\nendpoints:\n"
            "  things: {key: [id], columns: {id: int64}}\n"
        )
        assert "page 1 has 1 row again, equal in all columns" in run_check(file)[1]
    monkeypatch.setenv("HEADRACE_SOURCES", str(file))
    console = Console(file=io.StringIO(), width=120)
    assert validate(console) == 0
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "✓ shop: 1 endpoint\n"
