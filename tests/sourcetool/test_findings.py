"""`sourcetool`: names in the YAML that lead nowhere, and an API that wants a key."""

import io
from base64 import b64encode
from collections.abc import Callable, Iterator
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
from sourcetool.findings import margin_is_short
from sourcetool.new import new
from sourcetool.new_request import Key, RequestOptions, request_of
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving

SECRET = "s3cret-of-the-shop"
ROWS: list[dict[str, object]] = [
    {"id": n, "name": f"n{n}", "by": {"first": "Ann"}, "changed_at": "2026-11-01T10:00:00Z"}
    for n in range(1, 31)
]


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def orders(request: Request) -> Response:
        if request.headers.get("x-shop-key") != SECRET:
            return json_answer({"error": "no key", "got": request.headers.get("x-shop-key")}, 401)
        size, number = int(request.query_params["size"]), int(request.query_params["page"])
        rows = ROWS[(number - 1) * size : number * size]
        return json_answer({"count": len(ROWS), "items": rows})

    with serving(Starlette(routes=[Route("/v1/orders", orders)])) as url:
        yield url


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))
    monkeypatch.setenv("SHOP_KEY", SECRET)


def doubts_of(api: str, tmp_path: Path, more: str = "", total: str = "count") -> tuple[int, str]:
    file = tmp_path / "shop.yaml"
    file.write_text(
        f"source: shop\nbase_url: {api}/v1\nstart: 2026-11-01\n"
        "auth: {kind: api_key, name: X-Shop-Key, key: '${SHOP_KEY:-}'}\n"
        "limits: {windows: [{requests: 100, per_s: 1}]}\n"
        "endpoints:\n  orders:\n    key: [id]\n    rows: items\n"
        f"    paging: {{kind: page, limit: 20, total: {total}}}\n"
        '    request: {params: {size: "{limit}", page: "{page}"}}\n'
        f"{more}"
    )
    console = Console(file=io.StringIO(), width=120, soft_wrap=True)
    code = check(str(file), Wanted([], 2, 30), console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_what_is_spelt_as_in_the_rows_is_not_doubted(api: str, tmp_path: Path) -> None:
    code, said = doubts_of(
        api, tmp_path, "    columns: {name: string, by: 'struct<first: string>'}\n"
    )
    assert code == 0
    assert "nothing to doubt" in said


@pytest.mark.parametrize(("total", "doubted"), [("count", False), ("none", True)])
def test_an_empty_second_page_behind_a_full_one_is_doubted(
    api: str, tmp_path: Path, total: str, doubted: bool
) -> None:
    """Filters that compare a number with a text give nothing: rows would be lost in silence."""
    file = tmp_path / "shop.yaml"
    _, said = doubts_of(api, tmp_path, total=total)
    assert "the second is empty" not in said
    file.write_text(file.read_text().replace("limit: 20", "limit: 30"))
    console = Console(file=io.StringIO(), width=120, soft_wrap=True)
    check(str(file), Wanted([], 2, 30), console)
    assert isinstance(console.file, io.StringIO)
    assert ("the second is empty" in console.file.getvalue()) is doubted


def test_a_total_that_leads_nowhere_breaks(api: str, tmp_path: Path) -> None:
    code, said = doubts_of(api, tmp_path, total="cuont")
    assert code == 1
    assert "the number of rows is at cuont, and no number is there" in said
    assert "name the count" not in said


def test_a_declared_column_that_no_row_has(api: str, tmp_path: Path) -> None:
    columns = "    columns: {naem: string, owner: {type: string, path: by.frist}}\n"
    code, said = doubts_of(api, tmp_path, columns)
    assert code == 0
    assert "declared, and in none of 30 rows: naem, owner" in said


def test_columns_whose_cells_do_not_come_in_their_types_are_named(api: str, tmp_path: Path) -> None:
    status, said = doubts_of(api, tmp_path, "    columns: {id: string, name: string}\n")
    assert status == 0
    assert "otherwise than declared, and read all the same: id" in said


def test_a_cursor_that_no_row_has_breaks(api: str, tmp_path: Path) -> None:
    more = (
        "    cursor: updated_at\n    window: {start: none, end: none}\n"
        "    columns: {updated_at: 'timestamp[iso]', changed_at: 'timestamp[iso]'}\n"
    )
    code, said = doubts_of(api, tmp_path, more)
    assert code == 1
    assert "no row has updated_at: rows that change would be missed" in said
    assert "The rows have changed_at" in said


@pytest.mark.parametrize(("key", "named"), [("another", "SHOP_KEY"), ("", "SHOP_KEY (not set)")])
def test_a_wrong_key_is_not_the_yamls_fault(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, named: str
) -> None:
    monkeypatch.setenv("SHOP_KEY", key)
    code, said = doubts_of(api, tmp_path)
    assert code == 1
    assert "or the settings that hold the key" in said
    assert "correct the YAML" not in said
    assert f"allowed to read this. The credentials come from {named}." in said


def proposed(api: str, tmp_path: Path, key: Key | None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=300)
    code = new(
        f"{api}/v1/orders?size=20&page=1",
        "shop",
        str(tmp_path),
        console,
        RequestOptions(f"{api}/v1/orders?size=20&page=1", key),
    )
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_an_api_that_wants_a_key_gets_it_and_the_yaml_names_the_setting(
    api: str, tmp_path: Path, lake: Lake
) -> None:
    code, said = proposed(api, tmp_path, Key("X-Shop-Key", "SHOP_KEY"))
    assert code == 0, said
    text = (tmp_path / "shop.yaml").read_text()
    assert SECRET not in text + said
    assert "${SHOP_KEY}" in text
    source = load_source(tmp_path / "shop.yaml", {"SHOP_KEY": SECRET})
    today = datetime.now(UTC)
    done, _ = outcome_of(source, lake, "orders", [today.date().isoformat()], today)
    assert [receipt.manifest.rows for receipt in done.results] == [len(ROWS)]


@pytest.mark.parametrize(
    ("value", "sent", "auth"),
    [
        ("s3cret", "Bearer s3cret", {"kind": "bearer", "token": "${SHOP_KEY}"}),
        (
            "token s3cret",
            "token s3cret",
            {"kind": "api_key", "name": "Authorization", "key": "${SHOP_KEY}"},
        ),
    ],
)
def test_a_key_for_authorization_is_a_bearers_unless_it_says_another_scheme(
    value: str, sent: str, auth: dict[str, str]
) -> None:
    key = Key("Authorization", "SHOP_KEY")
    found = request_of(RequestOptions("https://api.test/v1/x", key), "shop", {"SHOP_KEY": value})
    assert found.sent_headers == {"Authorization": sent}
    assert found.auth == auth


def test_without_a_key_the_way_is_shown(api: str, tmp_path: Path) -> None:
    code, said = proposed(api, tmp_path, None)
    assert code == 2
    assert "the API responded 401" in said
    assert "--key-header X-Api-Key --key-setting MY_API_KEY" in said


def test_a_key_that_the_api_says_again_is_not_shown(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "a-key-of-another-shop")
    code, said = proposed(api, tmp_path, Key("X-Shop-Key", "SHOP_KEY"))
    assert code == 2
    assert "a-key-of-another-shop" not in said


def test_a_key_that_is_not_set_is_said(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_KEY")
    code, said = proposed(api, tmp_path, Key("X-Shop-Key", "SHOP_KEY"))
    assert code == 2
    assert "the environment variable SHOP_KEY is not set" in said


def test_rows_of_a_feed_that_have_no_cursor_are_no_empty_days(
    api: str, tmp_path: Path, lake: Lake
) -> None:
    code, _ = doubts_of(
        api,
        tmp_path,
        "    cursor: updated_at\n    window: {start: none, end: none}\n"
        "    columns: {updated_at: 'timestamp[iso]'}\n",
    )
    assert code == 1
    source = load_source(tmp_path / "shop.yaml", {"SHOP_KEY": SECRET})
    now = datetime(2026, 11, 3, tzinfo=UTC)
    done, _ = outcome_of(source, lake, "orders", ["2026-11-01", "2026-11-02"], now)
    assert [receipt.manifest.partition for receipt in done.results] == ["2026-11-01"]
    assert "None of the 30 rows of the feed has a value of the cursor" in str(done.failed[0].error)


def looked_at(app: Starlette, tmp_path: Path, paging: str, params: str) -> tuple[int, str]:
    file = tmp_path / "other.yaml"
    with serving(app) as url:
        file.write_text(
            f"source: other\nbase_url: {url}\nstart: 2026-11-01\n"
            "limits: {windows: [{requests: 100, per_s: 1}]}\n"
            f"endpoints:\n  rows:\n    key: [id]\n    rows: items\n    paging: {{{paging}}}\n"
            f"    request: {{params: {{{params}}}}}\n"
            "    columns: {by: 'struct<first: string>'}\n"
        )
        console = Console(file=io.StringIO(), width=300, soft_wrap=True)
        code = check(str(file), Wanted([], 9, 30), console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


@pytest.mark.parametrize("limit", [10, 15, 30])
def test_a_page_behind_the_last_is_no_mistake_in_the_yaml(tmp_path: Path, limit: int) -> None:
    async def rows(request: Request) -> Response:
        at = (int(request.query_params["page"]) - 1) * limit
        if at >= len(ROWS):
            return json_answer({"detail": "Invalid page."}, 404)
        return json_answer({"count": len(ROWS), "items": ROWS[at : at + limit]})

    app = Starlette(routes=[Route("/rows", rows)])
    paging = f"kind: page, limit: {limit}, total: count"
    code, said = looked_at(app, tmp_path, paging, 'page: "{page}"')
    assert code == 0
    assert "nothing to doubt" in said


@pytest.mark.parametrize(
    ("written", "more", "doubted"),
    [
        (lambda at: b64encode(f"arrayconnection:{at - 1}".encode()).decode(), "", True),
        (lambda at: str(at), "", True),
        (lambda at: str(at), ", numbered: true", False),
        (lambda at: str(at), ", numbered: false", False),
        (lambda at: b64encode(f"k:{at * 17}".encode()).decode(), "", False),
    ],
)
def test_tokens_that_count_rows_are_doubted(
    tmp_path: Path, written: Callable[[int], str], more: str, doubted: bool
) -> None:
    """As those of Relay's reference implementation are, in base64."""
    places = {written(at): at for at in range(10, 30, 10)}

    async def rows(request: Request) -> Response:
        at = places.get(request.query_params.get("token", ""), 0)
        following = written(at + 10) if at + 10 < len(ROWS) else None
        return json_answer({"next": following, "items": ROWS[at : at + 10]})

    app = Starlette(routes=[Route("/rows", rows)])
    paging = f"kind: token, limit: 10, next: next{more}"
    code, said = looked_at(app, tmp_path, paging, 'token: "{token}"')
    assert code == 0
    assert ("the tokens count rows or pages" in said) is doubted


@pytest.mark.parametrize(
    ("name", "more", "doubted"),
    [
        ("page", "", True),
        ("page", ", total: count", False),
        ("page", ", numbered: false", False),
        ("cursor", "", False),
    ],
)
def test_links_that_are_page_numbers_want_a_count(
    tmp_path: Path, name: str, more: str, doubted: bool
) -> None:
    """A run says of each of their partitions that its completeness is not proved."""

    async def rows(request: Request) -> Response:
        page = int(request.query_params.get(name, "0"))
        following = f"{request.base_url}rows?{name}={page + 1}" if page < 2 else None
        items = ROWS[page * 10 : page * 10 + 10]
        return json_answer({"next": following, "count": len(ROWS), "items": items})

    app = Starlette(routes=[Route("/rows", rows)])
    code, said = looked_at(app, tmp_path, f"kind: link, limit: 10, next: next{more}", "")
    assert code == 0
    assert ("the link to the next page is a page number" in said) is doubted


@pytest.mark.parametrize(("form", "doubted"), [("iso", True), ('"%Y-%m-%d %H:%M:%S.000Z"', False)])
def test_an_api_that_compares_times_as_texts_is_noticed(
    tmp_path: Path, form: str, doubted: bool
) -> None:
    """As PocketBase does: a blank comes before a T, so that all of the last day comes along."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0) - timedelta(days=2)
    at = [noon + timedelta(hours=h) for h in (*range(-24, 1), 1, 8, 24)]
    rows = [{"id": n, "updated": f"{one:%Y-%m-%d %H:%M:%S.000Z}"} for n, one in enumerate(at)]

    async def answer(request: Request) -> Response:
        low, high = request.query_params.get("from", ""), request.query_params["to"]
        return json_answer([row for row in rows if low <= str(row["updated"]) < high])

    file = tmp_path / "shop.yaml"
    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        file.write_text(
            f"source: shop\nbase_url: {url}\nstart: 2026-11-01\nendpoints:\n  things:\n"
            '    request: {params: {from: "{start}", to: "{end}"}}\n    key: [id]\n'
            f"    window: {{format: {form}}}\n"
            '    cursor: updated\n    columns: {updated: "timestamp[iso]"}\n'
        )
        console = Console(file=io.StringIO(), width=200, soft_wrap=True)
        assert check(str(file), Wanted([], 2, 5), console) == 0
    assert isinstance(console.file, io.StringIO)
    assert ("write the bounds as its rows are" in console.file.getvalue()) is doubted


@pytest.mark.parametrize(
    ("rows", "code", "found"),
    [
        (
            [(1, 1, "a"), (2, 1, "b"), (2, 2, "c"), (3, 1, "d")],
            0,
            "? page 1 has 1 older version of rows, by updated; the latest is kept",
        ),
        (
            [(1, 1, "a"), (2, 1, "b"), (2, 1, "b"), (3, 1, "d")],
            0,
            "? page 1 has 1 row again, equal in all columns; one of each is kept",
        ),
        (
            [(1, 1, "a"), (2, 1, "b"), (2, 1, "c"), (3, 1, "d")],
            1,
            "✗ shop/things, page: Two rows share the key",
        ),
    ],
)
def test_only_rows_of_one_key_that_nothing_tells_apart_break(
    tmp_path: Path, rows: list[tuple[int, int, str]], code: int, found: str
) -> None:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(days=1)
    sent = [
        {"id": key, "updated": f"{day + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}", "state": state}
        for key, hour, state in rows
    ]

    async def answer(request: Request) -> Response:
        low, high = request.query_params.get("from", ""), request.query_params["to"]
        return json_answer([row for row in sent if low <= str(row["updated"]) < high])

    file = tmp_path / "shop.yaml"
    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        file.write_text(
            f"source: shop\nbase_url: {url}\nstart: 2026-11-01\nendpoints:\n  things:\n"
            '    request: {params: {from: "{start}", to: "{end}"}}\n    key: [id]\n'
            '    cursor: updated\n    columns: {updated: "timestamp[iso]"}\n'
        )
        console = Console(file=io.StringIO(), width=300, soft_wrap=True)
        assert check(str(file), Wanted([], 2, 5), console) == code
    assert isinstance(console.file, io.StringIO)
    assert found in console.file.getvalue()
    assert ("would lose or mix up rows" in console.file.getvalue()) is bool(code)


def test_a_margin_that_clocks_and_replicas_use_up() -> None:
    assert [finding.remedy for finding in margin_is_short(0)] == [
        "Set safety_margin_s to 900 or more"
    ]
    assert not [*margin_is_short(900)]
