"""Servers that others wrote, over sockets, with tens of thousands of rows, every row compared."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Source, load_source
from pipeline.errors import ContractBroken
from pipeline.lake.s3 import Lake
from tests.support import real
from tests.support.runs import check_rows, days_from, extract, landed, outcome_of

NOW = datetime(2026, 11, 6, tzinfo=UTC)
DAYS = days_from("2026-11-01", 5)
ROWS = 20_000
pytestmark = pytest.mark.slow

COMMON = """
source: real
base_url: {url}
start: 2026-11-01
safety_margin_s: 3600
endpoints:
  units:
    key: [id]
    cursor: changed
    columns: {{id: {id_type}, name: string, size: int32, changed: "timestamp[iso]"}}
"""
JSON_SERVER = """
    path: units
    request:
      params:
        _page: "{page}"
        _limit: "{limit}"
        _sort: id
        changed_gte: "{start}"
        changed_lte: "{end}"
    window: {format: "%Y-%m-%dT%H:%M:%SZ", end: inclusive}
"""
DRF = """
    request:
      params: {changed__gte: "{start}", changed__lt: "{end}", limit: "{limit}", offset: "{offset}"}
    rows: results
"""
POCKETBASE = """
    path: api/collections/units/records
    request:
      params:
        page: "{page}"
        perPage: "{limit}"
        sort: id
        filter: "(changed >= '{start}' && changed < '{end}')"
    window: {format: "%Y-%m-%d %H:%M:%S.000Z", floor: "1970-01-01 00:00:00.000Z"}
    rows: items
    infer: false
"""


def source_of(url: str, folder: Path, text: str, id_type: str = "int64") -> Source:
    path = folder / "real.yaml"
    path.write_text(COMMON.format(url=url, id_type=id_type) + text)
    return load_source(path, {})


def compare(source: Source, lake: Lake, table: list[dict[str, Any]]) -> None:
    manifests = extract(source, lake, "units", DAYS, NOW)
    wanted = landed(source, "units", table)
    assert sum(check_rows(source, lake, m, wanted) for m in manifests) > ROWS
    assert sum(m.proof.pages for m in manifests) > 20


@pytest.fixture(scope="module")
def table() -> list[dict[str, Any]]:
    return real.rows(ROWS, days=5)


@pytest.fixture(scope="module")
def json_server(
    tmp_path_factory: pytest.TempPathFactory, table: list[dict[str, Any]]
) -> Iterator[str]:
    with real.json_server(tmp_path_factory.mktemp("json-server"), table) as url:
        yield url


@pytest.fixture(scope="module")
def django_rest(
    tmp_path_factory: pytest.TempPathFactory, table: list[dict[str, Any]]
) -> Iterator[str]:
    with real.django_rest(tmp_path_factory.mktemp("drf"), table) as url:
        yield url


@pytest.mark.parametrize(
    "paging",
    [
        f"{{kind: {kind}, limit: 500, total_header: x-total-count}}"
        for kind in ("page", "link", "offset")
    ],
)
def test_json_server(
    json_server: str, lake: Lake, tmp_path: Path, table: list[dict[str, Any]], paging: str
) -> None:
    text = JSON_SERVER.replace('"{page}"', "1") if "link" in paging else JSON_SERVER
    text = text.replace('_page: "{page}"', '_start: "{offset}"') if "offset" in paging else text
    source = source_of(json_server, tmp_path, text + f"    paging: {paging}\n")
    compare(source, lake, table)


def test_a_filter_that_the_server_ignores_is_caught(
    json_server: str, lake: Lake, tmp_path: Path
) -> None:
    text = JSON_SERVER.replace("changed_gte", "since").replace("changed_lte", "until")
    paging = "    paging: {kind: page, limit: 500, total_header: x-total-count}\n"
    source = source_of(json_server, tmp_path, text + paging)
    outcome, _ = outcome_of(source, lake, "units", DAYS[:1], NOW)
    assert isinstance(outcome.failed[0].error, ContractBroken)
    assert "The API seems to ignore the filter" in str(outcome.failed[0].error)


@pytest.mark.parametrize(
    ("path", "paging"),
    [
        ("cursor", "{kind: link, limit: 500, next: next}"),
        ("offset/", "{kind: offset, limit: 1000, total: count}"),
        ("offset/", "{kind: offset, limit: 5000, total: count}"),
    ],
    ids=["next-in-body", "offset", "offset-capped"],
)
def test_django_rest_framework(
    django_rest: str,
    lake: Lake,
    tmp_path: Path,
    table: list[dict[str, Any]],
    path: str,
    paging: str,
) -> None:
    text = DRF if path == "offset/" else DRF.replace(', offset: "{offset}"', "")
    source = source_of(django_rest, tmp_path, text + f"    path: {path}\n    paging: {paging}\n")
    compare(source, lake, table)


def test_pocketbase(lake: Lake, tmp_path: Path) -> None:
    table = real.rows(ROWS, days=5, form="%Y-%m-%d %H:%M:%S.000Z")
    with real.pocketbase(tmp_path, table) as url:
        paging = "    paging: {kind: page, limit: 900, total: totalItems}\n"
        source = source_of(url, tmp_path, POCKETBASE + paging, id_type="string")
        compare(source, lake, [{**row, "id": f"{row['id']:015}"} for row in table])
