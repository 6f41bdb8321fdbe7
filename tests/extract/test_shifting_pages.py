"""Rows that shift behind the reader of pages that can't overlap, and numbers of an API that are not
what they seem: over a socket, into S3."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract import completeness
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from tests.dialects.test_window_edges import AT, WINDOW, Params, endpoint, ids, manifest_of
from tests.extract.test_short_pages import NOW, Shop
from tests.support.clock import at_once
from tests.support.runs import LIMITS, outcome_of

pytestmark = pytest.mark.slow


def swept(lake: Lake, source: Source) -> SweepResult:
    async def main() -> SweepResult:
        store = ratelimit.open_budget("shop", LIMITS, "memory")
        async with open_client(source, store) as client:
            run = RunContext(
                source, lake, client, "sweep", lambda: datetime.now(UTC), sleep=at_once
            )
            return await sweep(run, "orders", ExtractionProgress())

    return asyncio.run(main())


class Shifting:
    """Rows by page number, in one guise or another; before a page, ``change`` may change them."""

    def __init__(self, guise: str, change: Callable[[list[int]], None]) -> None:
        self.rows = list(range(1, 31))
        self.changes = 0
        self._guise, self._change = guise, change

    def __call__(self, params: Params, number: int) -> Any:
        page = int(params.get("page", 1))
        if page == 3 and self.changes:
            self.changes -= 1
            self._change(self.rows)
        part = [{"id": n, "at": AT} for n in self.rows[(page - 1) * 5 : page * 5]]
        more = page + 1 if page * 5 < len(self.rows) else None
        said: dict[str, Any] = {"data": part}
        if self._guise == "page":
            said["total"] = len(self.rows)
        elif self._guise == "token":
            said["next"] = more
        head = {"Link": f'</orders?page={more}>; rel="next"'} if more else {}
        return JSONResponse(said, headers=head if self._guise == "link" else {})


def one_goes_and_one_comes(rows: list[int]) -> None:
    rows.pop(1)
    rows.append(rows[-1] + 1)


def one_goes(rows: list[int]) -> None:
    rows.pop(1)


GUISES = {
    "page": endpoint(WINDOW + ', page: "{page}"', "kind: page, total: total", "cursor: at"),
    "link": endpoint(WINDOW, "kind: link", "cursor: at"),
    "token": endpoint(
        WINDOW + ', page: "{token}"', "kind: token, next: next, numbered: true", "cursor: at"
    ),
    "token of unknown kind": endpoint(
        WINDOW + ', page: "{token}"', "kind: token, next: next", "cursor: at"
    ),
}


@pytest.mark.parametrize("guise", GUISES)
def test_no_living_row_is_swept_where_rows_shift(lake: Lake, tmp_path: Path, guise: str) -> None:
    change = one_goes_and_one_comes if guise == "page" else one_goes
    api = Shifting(guise.split()[0], change)
    with Shop(api).source(tmp_path, GUISES[guise] + "\n    sweep: true\n") as source:
        assert len(ids(lake, manifest_of(lake, source))) == 30
        api.changes = 1
        assert swept(lake, source).keys_gone == 0, "2 was there when the sweep began"
        assert swept(lake, source).keys_gone == 1, "and is gone in the next one"
        api.changes = 9
        with pytest.raises(ContractBroken, match=r"2\. whether rows move between pages"):
            swept(lake, source)
        have = current(lake, "shop", "orders", key=["id"], cursor="at")["id"].to_pylist()
    assert not set(api.rows) & set(range(1, 31)) - set(have)
    assert 2 not in have


@pytest.mark.parametrize(
    ("guise", "contiguous", "rests_on"),
    [
        ("page", True, "count"),
        ("link", False, None),
        ("token", False, None),
        ("token of unknown kind", True, "chain"),
    ],
)
def test_a_proof_says_what_it_rests_on(
    lake: Lake, tmp_path: Path, guise: str, contiguous: bool, rests_on: str | None
) -> None:
    api = Shifting(guise.split()[0], one_goes)
    with Shop(api).source(tmp_path, GUISES[guise]) as source:
        manifest = manifest_of(lake, source)
    assert ids(lake, manifest) == api.rows
    assert (manifest.proof.contiguous, manifest.proof.rests_on) == (contiguous, rests_on)
    said = next(c["detail"] for c in manifest.checks if c["name"] == "pages_contiguous")
    assert (said == "no row can lie between two pages") is False


def test_a_link_to_a_place_is_no_number(lake: Lake, tmp_path: Path) -> None:
    """GitHub's links have both, a cursor and a page."""

    def answer(params: Params, number: int) -> Response:
        after = int(params.get("after", 0))
        link = f'</orders?after={after + 5}&page=2>; rel="next"'
        part = [{"id": n, "at": AT} for n in range(after + 1, after + 6)]
        return JSONResponse({"data": part}, headers={"Link": link} if after < 20 else {})

    with Shop(answer).source(tmp_path, GUISES["link"]) as source:
        proof = manifest_of(lake, source).proof
    assert (proof.contiguous, proof.rests_on) == (True, "chain")


@pytest.mark.parametrize("empty", ["total", "204", "no total"])
@pytest.mark.parametrize("passes_over", [True, False])
def test_each_slice_is_held_against_its_own_total(
    lake: Lake, tmp_path: Path, empty: str, passes_over: bool
) -> None:
    rows = [{"id": n, "at": 1772409600 + 3600 * n} for n in range(15)]  # none in the last slice

    def answer(params: Params, number: int) -> Any:
        found = [r for r in rows if int(params["since"]) <= r["at"] < int(params["until"])]
        if not found and empty == "204":
            return Response(status_code=204)
        if not found and empty == "no total":
            return {"data": []}
        came = [r for r in found if r["id"] % 5] if passes_over else found
        return {"data": came, "next": None, "total": len(found)}

    text = endpoint(
        WINDOW + ', token: "{token}"',
        "kind: token, next: next, total: total, slices: 4",
        "window: {format: epoch_s}",
        "cursor: at",
    ).replace("timestamp[iso]", "timestamp[s]")
    with Shop(answer).source(tmp_path, text) as source:
        manifest = manifest_of(lake, source)
    assert manifest.proof.contiguous is not passes_over


@pytest.mark.parametrize("rows", [0, 1, 5, 6, 10, 20])
@pytest.mark.parametrize(
    ("params", "paging", "status"),
    [
        ('page: "{page}"', "kind: page, total: total", 404),
        ('page: "{page}"', "kind: page, total: total", 400),
        ('offset: "{offset}"', "kind: offset, overlap: false, total: total", 416),
        ('offset: "{offset}"', "kind: offset, overlap: false, total_header: X-Total", 416),
    ],
)
def test_an_api_may_have_no_page_behind_its_last(
    lake: Lake, tmp_path: Path, params: str, paging: str, status: int, rows: int
) -> None:
    """As Django REST framework (404) and WordPress (400) have none."""

    def answer(params: Params, number: int) -> Any:
        at = int(params["offset"]) if "offset" in params else (int(params["page"]) - 1) * 5
        if at and at >= rows:
            return JSONResponse({"detail": "Invalid page."}, status)
        found = [{"id": n, "at": AT} for n in range(rows)]
        page = {"data": found[at : at + 5], "total": rows}
        return JSONResponse(page, headers={"X-Total": str(rows)})

    with Shop(answer).source(tmp_path, endpoint(params, paging, "order: none")) as source:
        manifest = manifest_of(lake, source, "2026-03-03")
    assert ids(lake, manifest) == list(range(rows))
    assert manifest.proof.contiguous


@pytest.mark.parametrize("total", [", total: total", ""])
@pytest.mark.parametrize("status", [400, 404])
def test_a_page_that_should_be_there_is_refused_as_before(
    lake: Lake, tmp_path: Path, status: int, total: str
) -> None:
    def answer(params: Params, number: int) -> Any:
        page = int(params["page"])
        found = [{"id": n, "at": AT} for n in range(page * 5, page * 5 + 5)]
        rows = {"data": found, "total": 11}
        return rows if page < 2 else JSONResponse({"detail": "Invalid page."}, status)

    text = endpoint('page: "{page}"', f"kind: page{total}")
    with Shop(answer).source(tmp_path, text) as source, pytest.raises(RequestRefused) as raised:
        manifest_of(lake, source, "2026-03-03")
    assert f"refused the request with status {status}" in str(raised.value)
    assert ("name the count (paging.total)" in str(raised.value)) is not bool(total)


def test_a_count_is_asked_for_no_longer_a_window_than_the_pages(lake: Lake, tmp_path: Path) -> None:
    rows = [{"id": n, "at": 1772409600 + 600 * n} for n in range(144)]

    def answer(params: Params, number: int) -> Any:
        low, high = int(params["since"]), int(params["until"])
        if high - low > 21_600:
            return JSONResponse({"error": "at most 6 hours"}, 400)
        found = [row for row in rows if low <= row["at"] < high]
        return {"data": found, "next": None, "n": len(found)}

    text = endpoint(
        WINDOW + ', token: "{token}"',
        "kind: token, next: next",
        "window: {max_s: 21600, format: epoch_s}",
        "count: {path: orders, at: n}",
        "cursor: at",
    ).replace("timestamp[iso]", "timestamp[s]")
    shop = Shop(answer)
    with shop.source(tmp_path, text) as source:
        manifest = manifest_of(lake, source)
    assert (manifest.rows, manifest.proof.contiguous) == (144, True)
    # Five parts of a day: each begins a second earlier, and is no longer than six hours.
    assert len(shop.asked) == 3 * 5, "the pages, and the counts before and after"


@pytest.mark.parametrize("total", [120, 2_000])
def test_a_total_that_is_far_too_high_costs_few_pages(
    lake: Lake, tmp_path: Path, total: int
) -> None:
    def answer(params: Params, number: int) -> Any:
        at = (int(params["page"]) - 1) * 5
        return {"data": [{"id": n, "at": AT} for n in range(100)][at : at + 5], "total": total}

    shop = Shop(answer)
    text = endpoint('page: "{page}"', "kind: page, total: total")
    with shop.source(tmp_path, text) as source:
        manifest = manifest_of(lake, source, "2026-03-03")
    assert ids(lake, manifest) == list(range(100))
    assert not manifest.proof.contiguous
    assert len(shop.asked) < 3 * (20 + 20 + 24), "twenty pages, twenty empty ones, those ahead"


def scanned(params: Params, number: int) -> Any:
    """As a scan with a filter: most pages are empty, each with a new token."""
    at = int(params.get("token", 0))
    found = [{"id": at, "at": AT}] if at % 250 == 0 else []
    return {"data": found, "next": at + 1 if at < 251 else None}


TOKENS = endpoint('token: "{token}"', "kind: token, next: next")


def test_many_empty_pages_with_new_tokens_are_no_circle(lake: Lake, tmp_path: Path) -> None:
    with Shop(scanned).source(tmp_path, TOKENS) as source:
        assert ids(lake, manifest_of(lake, source, "2026-03-03")) == [0, 250]


def test_a_token_that_comes_again_is_a_circle_at_once(lake: Lake, tmp_path: Path) -> None:
    def answer(params: Params, number: int) -> Any:
        at = int(params.get("token", 0))
        return {"data": [{"id": at, "at": AT}], "next": at % 4 + 1}

    shop = Shop(answer)
    with (
        shop.source(tmp_path, TOKENS) as source,
        pytest.raises(ContractBroken, match="go round in a circle"),
    ):
        manifest_of(lake, source, "2026-03-03")
    assert len(shop.asked) < 15


def test_a_total_where_elasticsearch_stops_counting_is_no_proof(lake: Lake, tmp_path: Path) -> None:
    def answer(params: Params, number: int) -> Any:
        at = (int(params["page"]) - 1) * 5_000
        end = min(at + 5_000, 10_000)
        return {"data": [{"id": n} for n in range(at, end)], "total": 10_000}

    text = endpoint('page: "{page}"', "kind: page, total: total", "sweep: true")
    with Shop(answer).source(tmp_path, text.replace("limit: 5", "limit: 5000")) as source:
        manifest = manifest_of(lake, source, "2026-03-03")
        with pytest.raises(ContractBroken, match="Nothing is recorded as gone"):
            swept(lake, source)
    assert manifest.rows == 10_000
    assert not manifest.proof.contiguous


def test_what_rests_on_least_is_said_of_all_parents(lake: Lake, tmp_path: Path) -> None:
    """The first one's rows fit one page, the second one's do not."""

    def answer(params: Params, number: int) -> Any:
        rows = [{"id": n, "at": AT} for n in range(3 if params["of"] == "1" else 8)]
        at = (int(params["page"]) - 1) * 5
        return {"data": rows[at : at + 5], "total": len(rows)}

    text = "  customers: {key: [id]}\n" + endpoint(
        'page: "{page}"',
        "kind: page, total: total",
        'path: "customers/{parent}/orders"',
        "parents: {endpoint: customers, column_here: of}",
        columns=", of: int64",
    ).replace("key: [id]", "key: [of, id]")
    with Shop(answer).source(tmp_path, text) as source:
        outcome_of(source, lake, "customers", ["2026-03-03"], NOW)
        manifest = manifest_of(lake, source, "2026-03-03")
    assert manifest.rows == 11
    assert (manifest.proof.contiguous, manifest.proof.rests_on) == (True, "count")


FOR_EVER = {
    "empty pages by number": ('page: "{page}"', "kind: page, more: more", False, 150),
    "empty pages by token": ('token: "{token}"', "kind: token, next: next", False, 50),
    "empty pages by link": ("", "kind: link, next: next", False, 50),
    "old rows by token": ('token: "{token}"', "kind: token, next: next", True, 35),
}


@pytest.mark.parametrize("form", FOR_EVER)
def test_a_next_page_that_is_named_for_ever_is_refused_soon_and_the_remedy_reads_all(
    form: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(completeness._MOST_OF_KIND, ("empty", False), 30)
    params, paging, wraps, most = FOR_EVER[form]

    def answer(given: Params, number: int) -> Any:
        at = int(given.get("token", 0)) or 5 * (int(given.get("page", 1)) - 1)
        rows = [{"id": n % 25 if wraps else n, "at": AT} for n in range(at, at + 5)]
        named = at + 5 if params else f"/orders?token={at + 5}"
        return {"data": rows if wraps or at < 25 else [], "next": named, "more": True}

    shop = Shop(answer)
    with (
        shop.source(tmp_path, endpoint(params, paging)) as source,
        pytest.raises(ContractBroken, match="pages in a row brought no new row") as refused,
    ):
        manifest_of(lake, source, "2026-03-03")
    assert len(shop.asked) < most
    if wraps:
        return
    by_number = "more" in paging
    remedy = paging.replace(", more: more", "") if by_number else f"{paging}, until_short: true"
    line = "`paging.more`: leave it out" if by_number else "until_short: true"
    assert line in str(refused.value)
    with Shop(answer).source(tmp_path, endpoint(params, remedy)) as source:
        assert ids(lake, manifest_of(lake, source, "2026-03-03")) == list(range(25))
