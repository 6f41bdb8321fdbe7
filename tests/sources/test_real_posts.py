"""Servers that others wrote, asked by POST: GraphQL and CouchDB take no text for a number."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.config import Source, load_source
from pipeline.errors import ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support import real
from tests.support.runs import check_rows, days_from, extract, instant, landed, outcome_of

NOW = datetime(2026, 11, 6, tzinfo=UTC)
DAYS = days_from("2026-11-01", 5)
pytestmark = pytest.mark.slow

GRAPHQL = """
source: real
base_url: {url}
start: 2026-11-01
endpoints:
  units:
    path: graphql
    request:
      method: POST
      json:
        query: |
          query ($first: Int, $after: String, $since: Float, $until: Float) {{
            units(first: $first, after: $after, since: $since, until: $until) {{
              totalCount
              pageInfo {{hasNextPage endCursor}}
              edges {{node {{number name size changed}}}}
            }}
          }}
        variables: {{first: "{{limit}}", after: "{{token}}", since: "{{start}}", until: "{{end}}"}}
    errors_at: errors
    window: {{format: epoch_ms}}
    paging:
      kind: token
      limit: 500
      numbered: true # endCursor is an offset in disguise: arrayconnection:499
      next: data.units.pageInfo.endCursor
      more: data.units.pageInfo.hasNextPage
      total: data.units.totalCount
    rows: data.units.edges
    key: [id]
    cursor: changed
    columns:
      id: {{type: int64, path: node.number}}
      name: {{type: string, path: node.name}}
      size: {{type: int32, path: node.size}}
      changed: {{type: "timestamp[ms]", path: node.changed}}
"""
COUCHDB = """
source: real
base_url: {url}
start: 2026-11-01
endpoints:
  units:
    path: _find
    request:
      method: POST
      json:
        selector:
          number: {{$gte: null, $gt: "{{after}}"}}
          changed: {{$gte: "{{start}}", $lt: "{{end}}"}}
        sort: [number]
        limit: "{{limit}}"
    window: {{format: epoch_ms}}
    paging: {{kind: keyset, limit: 400}}
    rows: docs
    key: [number]
    cursor: changed
    columns: {{number: int64, name: string, size: int32, changed: "timestamp[ms]"}}
  changes:
    path: _changes
    request: {{params: {{since: "{{token}}", limit: "{{limit}}", include_docs: true}}}}
    paging: {{kind: token, limit: 400, next: last_seq, until_short: true}}
    rows: results
    key: [id]
    deleted: deleted
    infer: false
    columns: {{id: string, number: {{type: int64, path: doc.number}}}}
"""


def table_of(number: int) -> list[dict[str, Any]]:
    """Milliseconds since 1970, midnights and equal ones included."""
    made = real.rows(number, days=5)
    return [row | {"changed": int(instant(row["changed"]).timestamp()) * 1000} for row in made]


def source_of(text: str, folder: Path, **values: str) -> Source:
    path = folder / "real.yaml"
    path.write_text(text.format(**values))
    return load_source(path, {})


def test_graphql_s_connections(lake: Lake, tmp_path: Path) -> None:
    table = table_of(8_000)
    with real.graphql(tmp_path, table) as url:
        source = source_of(GRAPHQL, tmp_path, url=url)
        manifests = extract(source, lake, "units", DAYS, NOW)
        wanted = landed(source, "units", [{"node": row | {"number": row["id"]}} for row in table])
        assert sum(check_rows(source, lake, m, wanted) for m in manifests) >= len(table)
        assert all(m.proof.rests_on in ("count", "one page") for m in manifests)

        source = source_of(GRAPHQL.replace("size changed", "size, nothing"), tmp_path, url=url)
        outcome, _ = outcome_of(source, lake, "units", DAYS[:1], NOW)
        assert 'Cannot query field \\"nothing\\"' in str(outcome.failed[0].error)


def test_couchdb_s_selectors_and_its_changes(lake: Lake, tmp_path: Path) -> None:
    table = [
        {"_id": f"ü{row['id']:05}", "number": row.pop("id") - 1_000, **row}
        for row in table_of(2_000)
    ]
    with real.couchdb(tmp_path, table) as url:
        index = {"index": {"fields": ["number"]}, "ddoc": "by_number"}
        assert httpx.post(f"{url}/_index", json=index, trust_env=False).status_code == 200
        source = source_of(COUCHDB, tmp_path, url=url)
        manifests = extract(source, lake, "units", DAYS, NOW)
        wanted = landed(source, "units", table)
        assert sum(check_rows(source, lake, m, wanted) for m in manifests) >= len(table)
        # A full page is followed from its last row but one: the page after it is never empty.
        assert {m.proof.rests_on for m in manifests} == {"keys"}

        wrong = COUCHDB.replace('$gt: "{{after}}"', '$gt: "{{after}} "')
        outcome, _ = outcome_of(source_of(wrong, tmp_path, url=url), lake, "units", DAYS[:1], NOW)
        assert isinstance(outcome.failed[0].error, ContractBroken)
        assert "compares `number` by its type, as a number or a text" in str(
            outcome.failed[0].error
        )

        with httpx.Client(base_url=url, trust_env=False) as http:
            gone = [_deleted(http, row["_id"]) for row in table[:50]]
        (manifest,) = extract(source, lake, "changes", DAYS[-1:], NOW)
        found = key_rows(lake, manifest.files, ["id", "number", "_deleted"]).to_pylist()
        assert {row["id"] for row in found if row["_deleted"]} == {*gone}
        kept = {row["id"]: row["number"] for row in found if not row["_deleted"]}
        del kept["_design/by_number"]
        assert kept == {row["_id"]: row["number"] for row in table[50:]}


def _deleted(http: httpx.Client, name: str) -> str:
    rev = http.get(f"/{name}").json()["_rev"]
    answer = http.delete(f"/{name}", params={"rev": rev})
    assert answer.status_code == 200, answer.text
    return name
