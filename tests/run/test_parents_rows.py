"""Which parents a child is asked for: their values, and their partition while it is replaced."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken, LakeUnavailable
from pipeline.lake.files import key_rows
from pipeline.lake.index import ManifestIndex, manifest_of
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from pipeline.run import writer
from pipeline.run.context import RunContext
from pipeline.run.other_runs import winner
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAY = ["2026-11-03"]
NAMES = ["Ann", "Smith, Bob", "Cy"]


async def customers(request: Request) -> Response:
    at = "2026-11-02T23:30:00Z"
    return JSONResponse([{"id": n, "name": name, "at": at} for n, name in enumerate(NAMES)])


async def orders(request: Request) -> Response:
    asked = request.query_params["of"].split(",")
    return JSONResponse([{"id": 10 * int(n)} for n in asked if n.isdigit()])


async def shared(request: Request) -> Response:
    return JSONResponse([{"id": 7}])


@contextmanager
def source_at(
    of_parent: str, orders: Callable[[Request], Awaitable[Response]] = orders
) -> Iterator[Source]:
    children = [Route("/orders", orders), Route("/shared", shared)]
    routes = [Route("/customers", customers), *children]
    with serving(Starlette(routes=routes)) as url:
        yield source_of(
            f"""
            source: shop
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: 3600
            retries: {{errors: 1, first_wait_s: 0.001}}
            endpoints:
              customers:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, name: string, at: "timestamp[iso]"}}
              orders: &child
                request: {{params: {{of: "{{parent}}"}}}}
                key: [id]
                columns: {{id: int64}}
                parents: {{endpoint: customers, {of_parent}}}
              shared: *child
            """
        )


def replaced_once(
    monkeypatch: pytest.MonkeyPatch, source: Source, lake: Lake, day: str
) -> list[str]:
    """The partition is replaced by another run between its manifest and its files.

    :return: filled with how each manifest of it was read after that.
    """
    real, looks = ManifestIndex.get_then_fresh, list[str]()

    def stale(self: ManifestIndex, *names: str) -> Callable[[], Manifest | None]:
        look = real(self, *names)
        if names[1:] != ("customers", day):
            return look

        def replaced() -> Manifest | None:
            found = look()
            if not looks:
                monkeypatch.setattr(ManifestIndex, "get_then_fresh", real)
                extract(source, lake, "customers", [day], NOW)
            looks.append(found.generation if found else "")
            return found

        return replaced

    monkeypatch.setattr(ManifestIndex, "get_then_fresh", stale)
    return looks


def test_a_value_that_would_be_asked_for_as_two_is_refused(lake: Lake) -> None:
    with source_at("column: name, group: 2") as source:
        extract(source, lake, "customers", DAY, NOW)
        outcome, requests = outcome_of(source, lake, "orders", DAY, NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert str(failed.error) == (
        "parents.group joins the values of `shop/customers.name` by commas, and 'Smith, Bob' has "
        "one, so that the API would read two values. Set one: 1. group: 1; 2. a column without "
        "commas"
    )
    assert requests == 0


def test_parents_that_took_long_are_not_asked_for_twice_however_few_rows_they_have(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if each had taken five minutes."""
    monkeypatch.setattr(writer, "MAX_S", 0.0)
    asked: list[str] = []
    down = True

    async def down_for_the_third(request: Request) -> Response:
        asked.append(request.query_params["of"])
        return JSONResponse({}, 503) if down and asked[-1] == "2" else await orders(request)

    with source_at("concurrency: 1", down_for_the_third) as source:
        extract(source, lake, "customers", DAY, NOW)
        first, _ = outcome_of(source, lake, "orders", DAY, NOW)
        assert isinstance(first.failed[0].error, ApiUnavailable)
        down, asked[:] = False, []
        (manifest,) = extract(source, lake, "orders", DAY, NOW)
    assert asked == ["2"]
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [0, 10, 20]


def test_parents_that_are_replaced_while_they_are_read_are_read_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source_at("group: 2") as source:
        extract(source, lake, "customers", DAY, NOW)
        looks = replaced_once(monkeypatch, source, lake, DAY[0])
        (manifest,) = extract(source, lake, "orders", DAY, NOW)
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [0, 10, 20]
    assert len(looks) == len(set(looks)) == 2


def test_parents_whose_files_are_gone_are_a_reason_to_wait(lake: Lake) -> None:
    with source_at("group: 2") as source:
        (manifest,) = extract(source, lake, "customers", DAY, NOW)
        lake.delete(sorted(manifest.paths))
        outcome, _ = outcome_of(source, lake, "orders", DAY, NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, LakeUnavailable)
    assert outcome.retry_wait_s is not None


def test_a_day_before_that_is_replaced_while_late_rows_are_counted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source_at("group: 2") as source:
        extract(source, lake, "customers", ["2026-11-02"], NOW)
        looks = replaced_once(monkeypatch, source, lake, "2026-11-02")
        (manifest,) = extract(source, lake, "customers", DAY, NOW)
    assert (manifest.margin_rows, manifest.late_rows) == (3, 0)
    assert len(looks) == len(set(looks)) == 2


def test_one_child_of_two_parents_is_told_how_to_name_it(lake: Lake) -> None:
    with source_at("group: 1") as source:
        extract(source, lake, "customers", DAY, NOW)
        outcome, _ = outcome_of(source, lake, "shared", DAY, NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert "2 with a key that another row has" in str(failed.error)
    assert "one row may come under several parents: put the parent's column into 'key'" in str(
        failed.error
    )
    assert "column_here" in str(failed.error)


def test_a_number_is_asked_for_as_one_in_json(lake: Lake) -> None:
    """A database has no row where a number is a text; nothing would show it."""

    async def lines(request: Request) -> Response:
        of = (await request.json())["of"]
        return JSONResponse({"rows": [{"line": 1}] if type(of) is int else []})

    routes = [Route("/customers", customers), Route("/lines", lines, methods=["POST"])]
    with serving(Starlette(routes=routes)) as url:
        source = source_of(
            f"""
            source: shop
            base_url: {url}
            start: 2026-11-01
            endpoints:
              customers:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, name: string, at: "timestamp[iso]"}}
              lines:
                request: {{method: POST, json: {{of: "{{parent}}"}}}}
                rows: rows
                key: [customer, line]
                columns: {{customer: string, line: int32}}
                parents: {{endpoint: customers, column_here: customer}}
            """
        )
        outcome, _ = outcome_of(source, lake, ["customers", "lines"], DAY, NOW)
    assert not outcome.failed
    manifest = manifest_of(lake, "shop", "lines", DAY[0])
    assert manifest is not None
    found = key_rows(lake, manifest.files, ["customer", "line"]).to_pylist()
    assert found == [{"customer": str(n), "line": 1} for n in range(len(NAMES))]


def test_who_lost_a_partition_of_children_takes_the_winners(lake: Lake) -> None:
    """It was made from the same parents, with the same YAML: there is nothing left to do."""

    def found(since: datetime) -> Manifest | None:
        run = RunContext(source, lake, cast(Any, None), "loser", lambda: NOW)
        return asyncio.run(winner(run, "orders", DAY[0], since=since, patience_s=0))

    with source_at("group: 1") as source:
        began = NOW - timedelta(minutes=1)
        (parent,) = extract(source, lake, "customers", DAY, began)
        assert found(began) is None
        (manifest,) = extract(source, lake, "orders", DAY, NOW)
        assert str(parent.watermark) < str(manifest.extracted_at)
        assert found(NOW) == manifest
        assert found(NOW + timedelta(seconds=1)) is None, "it is older than this try"
        extract(source, lake, "customers", DAY, NOW)
        assert found(NOW) is None, "there are other parents now"


def test_a_day_without_children_keeps_their_columns(lake: Lake) -> None:
    """It is read beside the day before it: what its rows had is known from that one's commit."""

    async def people(request: Request) -> Response:
        day = request.query_params["until"][:10]
        at = {"2026-11-02": "2026-11-01T12:00:00Z", "2026-11-03": "2026-11-02T12:00:00Z"}[day]
        return JSONResponse([{"id": int(day[-2:]), "at": at}])

    async def pets(request: Request) -> Response:
        return JSONResponse([{"id": 1, "name": "Rex"}] if request.query_params["of"] == "2" else [])

    with serving(Starlette(routes=[Route("/people", people), Route("/pets", pets)])) as url:
        source = source_of(
            f"""
            source: home
            base_url: {url}
            start: 2026-10-31
            safety_margin_s: 0
            endpoints:
              people:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              pets:
                request: {{params: {{of: "{{parent}}"}}}}
                key: [id]
                parents: {{endpoint: people}}
            """
        )
        days = ["2026-11-01", "2026-11-02"]
        outcome, _ = outcome_of(source, lake, ["people", "pets"], days, NOW)
    first, second = (r.manifest for r in outcome.results if r.endpoint == "pets")
    assert (first.rows, second.rows) == (1, 0)
    assert {c["name"] for c in first.columns} == {c["name"] for c in second.columns}
    assert not second.notes.schema_changes


def test_pages_of_one_parent_that_have_no_common_type_fail_that_parent(lake: Lake) -> None:
    async def people(request: Request) -> Response:
        return JSONResponse([{"id": n, "at": "2026-11-02T23:30:00Z"} for n in (1, 2)])

    async def pets(request: Request) -> Response:
        person, page = int(request.query_params["of"]), int(request.query_params["page"])
        worth = {(2, 1): 2**53 + 1, (2, 2): 0.5}.get((person, page), 1)
        rows = [{"id": 10 * person + page, "worth": worth}] if page < 3 else []
        return JSONResponse(rows)

    with serving(Starlette(routes=[Route("/people", people), Route("/pets", pets)])) as url:
        source = source_of(
            f"""
            source: home
            base_url: {url}
            start: 2026-11-01
            endpoints:
              people:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              pets:
                request: {{params: {{of: "{{parent}}", page: "{{page}}"}}}}
                paging: {{kind: page, limit: 1}}
                key: [id]
                parents: {{endpoint: people, max_failed_share: 0.5}}
            """
        )
        outcome, _ = outcome_of(source, lake, ["people", "pets"], DAY, NOW)
    (manifest,) = (r.manifest for r in outcome.results if r.endpoint == "pets")
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [11, 12]
    (failed,) = manifest.notes.parents["failures"]
    assert failed["parent"] == "2"
    assert "9007199254740993" in failed["reason"]
    assert "Declare the column's type" in failed["reason"]


@pytest.mark.parametrize("status", [204, 404])
def test_a_status_that_means_no_rows_leaves_columns_from_elsewhere_without_values(
    lake: Lake, status: int
) -> None:
    """No row has the parent, the begin of the window, or what is of the response."""

    async def people(request: Request) -> Response:
        return JSONResponse([{"id": n, "at": "2026-11-02T23:30:00Z"} for n in (1, 2, 3)])

    async def pets(request: Request) -> Response:
        person = int(request.query_params["of"])
        return JSONResponse([{"id": 7}]) if person == 2 else Response(status_code=status)

    with serving(Starlette(routes=[Route("/people", people), Route("/pets", pets)])) as url:
        source = source_of(
            f"""
            source: home
            base_url: {url}
            start: 2026-11-01
            endpoints:
              people:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              pets:
                request: {{params: {{of: "{{parent}}"}}}}
                answers: {{empty: [404]}}
                key: [person, id]
                columns:
                  person: int64
                  id: int64
                  owner: {{type: int64, from: parent.id}}
                  until: {{type: string, from: window.end}}
                  rack: {{type: string, from: headers.x-rack}}
                parents: {{endpoint: people, column_here: person}}
            """
        )
        outcome, _ = outcome_of(source, lake, ["people", "pets"], DAY, NOW)
    assert not outcome.failed
    (manifest,) = (r.manifest for r in outcome.results if r.endpoint == "pets")
    assert key_rows(lake, manifest.files, ["person", "id"]).to_pylist() == [{"person": 2, "id": 7}]


@pytest.mark.parametrize(
    ("people", "away_on", "warned"),
    [(20, 1, [True, False]), (20, 2, [False, True]), (19, 2, [False, False]), (0, 0, [False] * 2)],
)
def test_no_child_of_any_of_many_parents_is_a_warning(
    lake: Lake, people: int, away_on: int, warned: list[bool]
) -> None:
    """A child page that is empty is believed, so that an outage looks like no children."""

    async def persons(request: Request) -> Response:
        day = int(request.query_params["until"][8:10]) - 1
        at = f"2026-11-{day:02}T12:00:00Z"
        return JSONResponse([{"id": 100 * day + n, "at": at} for n in range(people)])

    async def pets(request: Request) -> Response:
        person = int(request.query_params["of"])
        return JSONResponse([] if person // 100 == away_on else [{"id": person}])

    with serving(Starlette(routes=[Route("/people", persons), Route("/pets", pets)])) as url:
        source = source_of(
            f"""
            source: home
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: 0
            endpoints:
              people:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              pets:
                request: {{params: {{of: "{{parent}}"}}}}
                key: [id]
                parents: {{endpoint: people}}
            """
        )
        days = ["2026-11-01", "2026-11-02"]
        outcome, _ = outcome_of(source, lake, ["people", "pets"], days, NOW)
    assert not outcome.failed
    warnings = [r.manifest.notes.warning for r in outcome.results if r.endpoint == "pets"]
    assert ["no row came for any of the parents" in text for text in warnings] == warned
    assert not any("window's parameters" in text for text in warnings), warnings
