"""Cursors that are null, or not shown; keysets with their bound; tokens alone: over a socket."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from pipeline.config import load_source
from pipeline.errors import ConfigError, ContractBroken, RequestRefused
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.extract.test_short_pages import Shop
from tests.support.runs import Row, outcome_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]
Params = dict[str, str]

WINDOWED = """
  orders:
    request:
      params: {{since: "{{start}}", until: "{{end}}", offset: "{{offset}}", limit: "{{limit}}"}}
    paging: {{kind: offset, limit: 5}}
    key: [id]
    cursor: {cursor}
    columns: {{id: int64, changed: "timestamp[iso]", made: "timestamp[iso]"}}
"""


def landed(lake: Lake, source: Any, days: list[str] = DAYS) -> list[Row]:
    outcome, _ = outcome_of(source, lake, "orders", days, NOW)
    if outcome.failed:
        raise outcome.failed[0].error
    assert all(check["passed"] for r in outcome.results for check in r.manifest.checks)
    return sorted(current(lake, "shop", "orders").to_pylist(), key=lambda row: row["id"])


def rows_of(day: int) -> list[Row]:
    """Half of them have been changed, hours after they were made."""
    return [
        {
            "id": 100 * day + n,
            "made": f"2026-03-{day:02}T{n:02}:00:00Z",
            "changed": f"2026-03-{day:02}T{n + 3:02}:30:00Z" if n % 2 else None,
        }
        for n in range(1, 18)
    ]


ROWS = [row for day in (1, 2, 3) for row in rows_of(day)]


def by_change(params: Params, number: int) -> list[Row]:
    low, high = params.get("since", ""), params["until"]
    found = [row for row in ROWS if low <= (row["changed"] or row["made"]) < high]
    offset, limit = int(params["offset"]), int(params["limit"])
    return found[offset : offset + limit]


def test_the_first_cursor_that_a_row_has(lake: Lake, tmp_path: Path) -> None:
    with Shop(by_change).source(tmp_path, WINDOWED.format(cursor="[changed, made]")) as source:
        rows = landed(lake, source)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    for row in rows:
        assert row["_cursor"] == (row["changed"] or row["made"])


def test_a_null_cursor_is_refused_with_what_helps(lake: Lake, tmp_path: Path) -> None:
    with (
        Shop(by_change).source(tmp_path, WINDOWED.format(cursor="changed")) as source,
        pytest.raises(ContractBroken, match=r"it is null.*cursor: \[changed, created_at\]"),
    ):
        landed(lake, source)


def test_the_later_version_of_a_row_wins_by_whichever_cursor(lake: Lake, tmp_path: Path) -> None:
    rows: list[Row] = [{"id": 1, "made": "2026-03-02T05:00:00Z", "changed": None}]

    def answer(params: Params, number: int) -> list[Row]:
        low, high = params.get("since", ""), params["until"]
        return [r for r in rows if low <= (r["changed"] or r["made"]) < high]

    with Shop(answer).source(tmp_path, WINDOWED.format(cursor="[changed, made]")) as source:
        assert landed(lake, source, ["2026-03-02"])[0]["changed"] is None
        rows[0]["changed"] = "2026-03-03T05:00:00Z"
        assert landed(lake, source, ["2026-03-03"])[0]["changed"] is not None
        (row,) = landed(lake, source, ["2026-03-02"])  # of which the API has no row any more
    assert row["_cursor"] == datetime(2026, 3, 3, 5, tzinfo=UTC)


def test_a_window_that_the_rows_do_not_show(lake: Lake, tmp_path: Path) -> None:
    def answer(params: Params, number: int) -> list[Row]:
        return [{"id": row["id"]} for row in by_change(params, number)]

    text = WINDOWED.format(cursor="window").replace(
        'columns: {id: int64, changed: "timestamp[iso]", made: "timestamp[iso]"}',
        "columns: {id: int64}",
    )
    shop = Shop(answer)
    with shop.source(tmp_path, text) as source:
        rows = landed(lake, source)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert {params["until"] for params in shop.asked} == {
        f"2026-03-0{n}T00:00:00Z" for n in (2, 3, 4)
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('until: "{end}", ', "", r"`cursor: window` says that the API alone knows"),
        ("cursor: window", "cursor: [changed, gone]", "the cursor `gone` needs a declared type"),
        (
            'cursor: window\n    columns: {id: int64, changed: "timestamp[iso]"',
            "cursor: changed\n    columns: {id: int64, "
            'changed: {type: "timestamp[iso]", from: window.end}',
            "the cursor `changed` comes from `window.end`.*`cursor: window`",
        ),
        ("cursor: window", "cursor: []", "expected the name of a column, a list of names"),
    ],
)
def test_cursors_that_do_not_fit(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = WINDOWED.format(cursor="window").replace(old, new)
    if "end" in old:
        text = text.replace("paging:", "window: {end: none}\n    paging:")
    file = tmp_path / "shop.yaml"
    file.write_text(f"source: shop\nbase_url: http://x\nstart: 2026-03-01\nendpoints:{text}")
    with pytest.raises(ConfigError, match=said):
        load_source(file, {})


KEYSET = """
  orders:
    request: {params: {from_id: "{after}", limit: "{limit}"}}
    paging: {kind: keyset, limit: 5, inclusive: %s}
    key: [id]
"""


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize("rows", [0, 1, 4, 5, 6, 9, 23])
def test_a_keyset_that_gives_its_bound_as_well(
    lake: Lake, tmp_path: Path, rows: int, kind: type
) -> None:
    ids = [kind(n) for n in range(10, 10 + rows)]

    def answer(params: Params, number: int) -> list[Row]:
        found = [n for n in ids if "from_id" not in params or n >= kind(params["from_id"])]
        assert int(params["limit"]) <= 5
        return [{"id": n} for n in found[: int(params["limit"])]]

    shop = Shop(answer)
    with shop.source(tmp_path, KEYSET % "true") as source:
        if rows:
            found = [row["id"] for row in landed(lake, source, ["2026-03-03"])]
            assert found == ids
        outcome, _ = outcome_of(source, lake, "orders", ["2026-03-03"], NOW)
    assert not outcome.failed
    assert len(shop.asked) <= 2 * (rows // 4 + 4)


def test_a_bound_that_comes_along_is_said(lake: Lake, tmp_path: Path) -> None:
    def answer(params: Params, number: int) -> list[Row]:
        return [{"id": n} for n in range(int(params.get("from_id", 1)), 24)][:5]

    with (
        Shop(answer).source(tmp_path, KEYSET % "false") as source,
        pytest.raises(ContractBroken, match=r"`paging: \{inclusive: true\}`"),
    ):
        landed(lake, source, ["2026-03-03"])


def alone(params: Params, number: int) -> Any:
    """A page token is good only by itself (and with what the API wants beside it)."""
    if "token" in params and params.keys() != {"token", "market"}:
        return JSONResponse({"error": "a token comes alone"}, 400)
    begin = int(params.get("token", "0"))
    found = ROWS[begin : begin + 5]
    more = {"next": str(begin + 5)} if begin + 5 < len(ROWS) else {}
    return {"rows": found, **more}


TOKEN = """
  orders:
    request:
      params: {market: A1, since: "{start}", until: "{end}", limit: "{limit}", token: "{token}"}
%s
    window: {floor: "2020-01-01", together: true}
    paging: {kind: token, limit: 5, next: next, numbered: false}
    rows: rows
    key: [id]
    cursor: [changed, made]
    columns: {id: int64, changed: "timestamp[iso]", made: "timestamp[iso]"}
"""


def test_parameters_that_a_token_leaves_out(lake: Lake, tmp_path: Path) -> None:
    shop = Shop(alone)
    with shop.source(tmp_path, TOKEN % "      with_token: [token, market]") as source:
        late = source.model_copy(update={"start": datetime(2026, 3, 3, tzinfo=UTC).date()})
        rows = landed(lake, late, ["2026-03-03"])
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert set(shop.asked[0]) == {"market", "since", "until", "limit"}


def test_a_token_that_is_refused_beside_others_is_said(lake: Lake, tmp_path: Path) -> None:
    with Shop(alone).source(tmp_path, TOKEN % "") as source:
        late = source.model_copy(update={"start": datetime(2026, 3, 3, tzinfo=UTC).date()})
        with pytest.raises(RequestRefused, match=r"with_token: \[token\]"):
            landed(lake, late, ["2026-03-03"])


@pytest.mark.parametrize(
    ("names", "said"),
    [("[tokn]", "`tokn`, which is no parameter"), ("[market]", "leaves the token itself out")],
)
def test_what_stays_beside_a_token_is_checked(tmp_path: Path, names: str, said: str) -> None:
    file = tmp_path / "shop.yaml"
    text = TOKEN % f"      with_token: {names}"
    file.write_text(f"source: shop\nbase_url: http://x\nstart: 2026-03-01\nendpoints:{text}")
    with pytest.raises(ConfigError, match=said):
        load_source(file, {})


@pytest.mark.parametrize("window", ["{}", "{max_s: 43200}"])
def test_the_window_in_a_column_is_that_of_all_pages_and_not_of_one(
    lake: Lake, tmp_path: Path, window: str
) -> None:
    """Each page by the cursor requests from the last row of the page before it on."""
    rows = [{"id": n, "changed": f"2026-03-02T{n:02}:00:00Z"} for n in range(24)]

    def send(params: Params, number: int) -> list[Row]:
        low, high = params.get("since", ""), params["until"]
        return [row for row in rows if low <= str(row["changed"]) < high][:5]

    text = f"""
  orders:
    request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
    window: {window}
    paging: {{kind: cursor, limit: 5}}
    key: [id]
    cursor: changed
    safety_margin_s: 0
    columns:
      id: int64
      changed: "timestamp[iso]"
      since: {{type: "timestamp[iso]", from: window.start}}
"""
    with Shop(send).source(tmp_path, text) as source:
        hours = {row["since"].hour for row in landed(lake, source, DAYS[:2])}
    assert hours == ({0} if window == "{}" else {0, 12})
