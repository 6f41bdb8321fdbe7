"""Two rows of one key at the seam of two pages by key: `id > last` would pass over the second."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import ContractBroken
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
PAGE = 10


def rows_with(*of_seam: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(
        [{"id": n, "country": "DE"} for n in range(1, 36) if n != PAGE] + list(of_seam),
        key=lambda row: row["id"],
    )


def read(rows: list[dict[str, Any]], lake: Lake, more: str = "") -> tuple[Any, int]:
    async def things(request: Request) -> Response:
        after = int(request.query_params.get("after", "0"))
        return JSONResponse([row for row in rows if row["id"] > after][:PAGE])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            retries: {{errors: 1, first_wait_s: 0.001}}
            endpoints:
              things:
                request: {{params: {{after: "{{after}}"}}}}
                paging: {{kind: keyset, limit: {PAGE}}}
                key: [id]
                columns: {{id: int64, country: string}}
                {more}
            """
        )
        return outcome_of(source, lake, "things", ["2026-11-02"], NOW)


def test_two_rows_of_one_key_on_two_pages_are_refused_and_not_passed_over(lake: Lake) -> None:
    seam = ({"id": PAGE, "country": "DE"}, {"id": PAGE, "country": "FR"})
    outcome, _ = read(rows_with(*seam), lake)
    (failed,) = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert "Two rows share the key `{'id': 10}` and differ in `country`" in str(failed.error)
    assert "add it to `key`, with another kind of paging" in str(failed.error)


@pytest.mark.parametrize("at", [PAGE - 1, PAGE, PAGE + 1])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_rows_that_are_equal_or_alone_cost_one_row_a_page(copies: int, at: int, lake: Lake) -> None:
    rows = [
        *rows_with({"id": PAGE, "country": "DE"}),
        *[{"id": at, "country": "DE"}] * (copies - 1),
    ]
    outcome, requests = read(sorted(rows, key=lambda row: row["id"]), lake)
    (receipt,) = outcome.results
    assert receipt.manifest.rows == 35
    assert receipt.manifest.proof.rests_on == "keys"
    assert receipt.manifest.notes.duplicate_rows == copies - 1
    assert requests <= 6
