"""Rows of one key: equal ones are dropped and counted, the latest version wins, and rows that no
cursor tells apart are refused with the remedy."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ContractBroken
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
Rows = list[dict[str, Any]]


def paged(rows: Callable[[], Rows] | Rows, size: int) -> Starlette:
    async def answer(request: Request) -> Response:
        first = int(request.query_params.get("token", "0"))
        now = rows if isinstance(rows, list) else rows()
        more = first + size < len(now)
        following = f"t{first + size}"[1:] if more else None
        return JSONResponse({"rows": now[first : first + size], "next": following})

    return Starlette(routes=[Route("/things", answer)])


def source_at(url: str, size: int, more: str = "", key: str = "[id]") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-02
        retries: {{errors: 0}}
        endpoints:
          things:
            key: {key}
            request: {{params: {{token: "{{token}}"}}}}
            paging: {{kind: token, next: next, limit: {size}, numbered: false}}
            rows: rows
            batch_rows: {2 * size}
            {more}
        """
    )


CURSOR = """window: {start: none, end: none}
            cursor: at
            columns: {id: int64, at: "timestamp[iso]"}"""


def read(lake: Lake, manifest: Manifest) -> Rows:
    table = dataset(lake, "api", "things").to_table()
    rows: Rows = table.drop_columns(["_extracted_at"]).to_pylist()
    assert len(rows) == manifest.rows
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_rows_that_are_equal_in_all_columns_are_dropped_and_counted(size: int, lake: Lake) -> None:
    rows = [{"id": n // 2, "name": f"n{n // 2}", "tags": [{"a": n // 2}]} for n in range(12)]
    with serving(paged(rows, size)) as url:
        (manifest,) = extract(source_at(url, size), lake, "things", DAY, NOW)
    assert read(lake, manifest) == rows[::2]
    assert manifest.notes.duplicate_rows == 6
    assert "6 duplicates dropped, equal in all columns" in str(manifest.checks[0]["detail"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("newest_first", [True, False])
def test_of_several_versions_of_a_row_the_latest_by_the_cursor_is_kept(
    size: int, newest_first: bool, lake: Lake
) -> None:
    rows = [
        {"id": n % 4, "at": f"2026-11-02T0{n // 4}:00:00Z", "state": f"s{n // 4}"}
        for n in range(12)
    ]
    sent = rows[::-1] if newest_first else rows
    with serving(paged(sent, size)) as url:
        (manifest,) = extract(source_at(url, size, CURSOR), lake, "things", DAY, NOW)
    found = read(lake, manifest)
    assert {(row["id"], row["state"]) for row in found} == {(n, "s2") for n in range(4)}
    assert (manifest.rows, manifest.notes.older_versions) == (4, 8)
    assert "8 older versions of rows dropped, the latest kept" in str(manifest.checks[0]["detail"])
    assert sum(file.rows for file in manifest.files) == 4


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("with_cursor", [True, False])
@pytest.mark.parametrize("key", ["[id]", "[at, id]"])
def test_rows_of_one_key_that_nothing_tells_apart_are_refused_with_both_and_the_remedy(
    size: int, with_cursor: bool, key: str, lake: Lake
) -> None:
    rows = [
        {"id": n // 3, "at": "2026-11-02T01:00:00Z", "country": ["DE", "FR", "US"][n % 3]}
        for n in range(9)
    ]
    with serving(paged(rows, size)) as url:
        source = source_at(url, size, CURSOR if with_cursor else "", key)
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        said = str(outcome.failed[0].error)
        assert isinstance(outcome.failed[0].error, ContractBroken)
        assert "Two rows share the key `{" in said
        assert "'id': 0}` and differ in `country`" in said
        assert "'country': 'DE'" in said or "'country': 'FR'" in said
        assert "1. which column tells them apart, such as `country`: add it to `key`" in said
        assert "say `key: none` (the current state is then the newest partition alone)" in said
        assert "report it to the API's owner" in said
        more = CURSOR if with_cursor else ""
        (manifest,) = extract(source_at(url, size, more, "[id, country]"), lake, "things", DAY, NOW)
    assert manifest.rows == 9


def test_a_row_that_changes_between_two_readings_of_it_is_no_second_row(lake: Lake) -> None:
    """The row at the edge of a page comes again; a member that moves by itself is no conflict."""
    views = 0

    def rows() -> Rows:
        nonlocal views
        views += 1
        return [{"id": n, "at": f"2026-11-02T01:00:0{n}Z", "views": views} for n in range(8)]

    async def answer(request: Request) -> Response:
        start = request.query_params.get("start", "")
        return JSONResponse([row for row in rows() if row["at"] >= start][:3])

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints:
              things:
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
                window: {{end: none}}
                request: {{params: {{start: "{{start}}"}}}}
                paging: {{kind: cursor, limit: 3}}
            """
        )
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert [row["id"] for row in read(lake, manifest)] == list(range(8))


def test_a_page_by_key_whose_rows_share_it_says_both(lake: Lake) -> None:
    rows: Rows = [{"id": n // 2, "name": f"n{n}"} for n in range(8)]

    async def answer(request: Request) -> Response:
        after = int(request.query_params.get("after", "-1"))
        return JSONResponse([row for row in rows if row["id"] > after][:4])

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            retries: {{errors: 0}}
            endpoints:
              things:
                key: [id]
                request: {{params: {{after: "{{after}}"}}}}
                paging: {{kind: keyset, limit: 4}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    assert "Two rows share the key `{'id': 0}` and differ in `name`" in str(outcome.failed[0].error)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("offset", "say `order: none` at the endpoint and `overlap: false` in `paging`"),
        ("keyset", "say a kind of paging that does not go by the key, such as `cursor` or `page`"),
    ],
)
def test_versions_in_a_page_by_key_are_refused_and_their_cursor_is_not_called_a_key(
    kind: str, way: str, lake: Lake
) -> None:
    rows: Rows = [{"id": n // 2, "at": f"2026-11-02T0{n % 2}:00:00Z"} for n in range(8)]

    async def answer(request: Request) -> Response:
        given = request.query_params
        first = int(given.get("offset", "0"))
        return JSONResponse(
            [r for r in rows if r["id"] > int(given.get("after", "-1"))][first:][:4]
        )

    place = {"offset": "offset", "keyset": "after"}[kind]
    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            retries: {{errors: 0}}
            endpoints:
              things:
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
                request:
                  params: {{from: "{{start}}", to: "{{end}}", {place}: "{{{place}}}"}}
                paging: {{kind: {kind}, limit: 4}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    said = str(outcome.failed[0].error)
    assert (
        "expected each key once, since pages go by it. Check: 1. whether they are versions" in said
    )
    assert f"{way}, and the latest by `at` is kept" in said
    assert "add it to `key`" not in said
    assert "report it to the API's owner" in said


def test_equal_rows_of_a_page_by_key_are_dropped_and_counted(lake: Lake) -> None:
    rows: Rows = [{"id": n // 2, "name": f"n{n // 2}"} for n in range(12)]

    async def answer(request: Request) -> Response:
        after = int(request.query_params.get("after", "-1"))
        return JSONResponse([row for row in rows if row["id"] > after][:4])

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints:
              things:
                key: [id]
                request: {{params: {{after: "{{after}}"}}}}
                paging: {{kind: keyset, limit: 4}}
            """
        )
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert read(lake, manifest) == rows[::2]
    assert manifest.notes.duplicate_rows == 6
