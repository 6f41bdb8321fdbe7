"""A refusal names a remedy, and the remedy works: each is followed here."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import HeadraceError
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
NAMES = sorted([f"{a}{b}" for a in "aBcDeFgH" for b in "xYz"], key=str.lower)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def names(request: Request) -> Response:
        query = request.query_params
        rows = [{"name": name, "id": n} for n, name in enumerate(NAMES, 1)]
        rows = [row for row in rows if int(str(row["id"])) >= int(query.get("from", 0))]
        rows = [row for row in rows if int(str(row["id"])) > int(query.get("gt", 0))]
        start, size = int(query.get("skip", 0)), int(query["n"])
        return json_answer({"total": len(rows), "data": {"rows": rows[start : start + size]}})

    async def keyed(request: Request) -> Response:
        return json_answer({"items": [{"id": {"v": n}, "t": "x"} for n in range(9)]})

    routes = [Route("/names", names), Route("/keyed", keyed)]
    with serving(Starlette(routes=routes)) as found:
        yield found


def names_of(url: str, paging: str, params: str, more: str = "", rows: str = "data.rows") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-04
        retries: {{errors: 0, first_wait_s: 0.001}}
        endpoints:
          names:
            request: {{params: {{n: "{{limit}}", {params}}}}}
            paging: {paging}
            rows: {rows}
            columns: {{name: string, id: int64}}
            {more}
        """
    )


OFFSET = "{kind: offset, limit: 5, total: total}"
SKIP = 'skip: "{offset}"'
KEYSET = "{kind: keyset, limit: 5}"


@pytest.mark.parametrize(
    ("refused", "said", "mended"),
    [
        pytest.param(
            lambda url: names_of(url, OFFSET, SKIP, "key: [name]"),
            "`order: none`, if the API sorts otherwise",
            lambda url: names_of(url, OFFSET, SKIP, "key: [name]\n            order: none"),
            id="texts in the order of a language",
        ),
        pytest.param(
            lambda url: names_of(url, KEYSET, 'from: "{after}"', "key: [id]"),
            "{after} that means greater than (gt in place of gte)",
            lambda url: names_of(url, KEYSET, 'gt: "{after}"', "key: [id]"),
            id="a bound that is included",
        ),
        pytest.param(
            lambda url: names_of(url, OFFSET, SKIP, "key: [id]", rows="data.row"),
            "there is no `row` among `rows`",
            lambda url: names_of(url, OFFSET, SKIP, "key: [id]", rows="data.rows"),
            id="a path that leads nowhere",
        ),
    ],
)
def test_the_remedy_of_a_refusal_brings_all_rows(
    url: str,
    new_lake: Callable[[], Lake],
    refused: Callable[[str], Source],
    said: str,
    mended: Callable[[str], Source],
) -> None:
    def outcome(source: Source) -> tuple[int, HeadraceError | None]:
        done, _ = outcome_of(source, new_lake(), "names", ["2026-11-04"], NOW)
        rows = sum(receipt.manifest.rows for receipt in done.results)
        return rows, done.failed[0].error if done.failed else None

    rows, error = outcome(refused(url))
    assert rows == 0
    assert said in str(error)
    assert outcome(mended(url)) == (len(NAMES), None)


def test_the_path_of_a_key_inside_an_object(url: str, new_lake: Callable[[], Lake]) -> None:
    def rows_by(columns: str) -> tuple[int, str]:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            retries: {{errors: 0, first_wait_s: 0.001}}
            endpoints:
              keyed: {{rows: items, key: [id], columns: {columns}}}
            """
        )
        done, _ = outcome_of(source, new_lake(), "keyed", ["2026-11-04"], NOW)
        said = str(done.failed[0].error) if done.failed else ""
        return sum(receipt.manifest.rows for receipt in done.results), said

    rows, said = rows_by("{}")
    assert rows == 0
    assert "columns: {id: {type: int64, path: id.id}}" in said
    assert rows_by("{id: {type: int64, path: id.v}}") == (9, "")
