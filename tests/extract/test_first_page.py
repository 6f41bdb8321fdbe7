"""Pages by number from another one on than the YAML says, and counts that do not agree."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
IDS = list(range(1, 18))
SIZE = 5


def from_zero(page: int) -> list[int]:
    return IDS[page * SIZE : (page + 1) * SIZE]


def from_one(page: int) -> list[int]:
    """Page 0 is page 1, as many APIs have it."""
    return from_zero(max(page, 1) - 1)


def from_one_alone(page: int) -> list[int] | None:
    """There is no page 0."""
    return from_zero(page - 1) if page else None


def came(
    pages: Callable[[int], list[int] | None], total: int | None, first: int, lake: Lake
) -> tuple[int, str, str]:
    """The rows that are committed, what is refused, and what the check of the pages says."""

    async def things(request: Request) -> Response:
        rows = pages(int(request.query_params["page"]))
        if rows is None:
            return json_answer({"error": "page must be at least 1"}, 400)
        counted = {} if total is None else {"total": total}
        return json_answer({"data": [{"id": n} for n in rows], **counted})

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            retries: {{errors: 0, first_wait_s: 0.001}}
            endpoints:
              things:
                rows: data
                key: [id]
                columns: {{id: int64}}
                request: {{params: {{page: "{{page}}", size: "{{limit}}"}}}}
                paging: {{kind: page, limit: {SIZE}, first: {first}, total: total}}
            """
        )
        done, _ = outcome_of(source, lake, "things", ["2026-11-04"], NOW)
    checks = [check for result in done.results for check in result.manifest.checks]
    failed = "".join(str(check["detail"]) for check in checks if not check["passed"])
    refused = str(done.failed[0].error) if done.failed else ""
    return sum(result.manifest.rows for result in done.results), refused, failed


def test_counted_rows_on_the_page_before_the_first_one_are_not_lost(
    new_lake: Callable[[], Lake],
) -> None:
    rows, refused, _ = came(from_zero, len(IDS), 1, new_lake())
    assert rows == 0
    assert "page 0 has 5 that page 1 and those behind it have not" in refused
    assert "Set `first: 0` in `paging`" in refused
    assert came(from_zero, len(IDS), 0, new_lake()) == (len(IDS), "", "")


def test_uncounted_rows_name_the_page_that_may_be_missing(lake: Lake) -> None:
    rows, refused, failed = came(from_zero, None, 1, lake)
    assert (rows, refused) == (len(IDS) - SIZE, "")
    assert "the rows of its first page are missing: set `first: 0` in `paging`" in failed


@pytest.mark.parametrize("pages", [from_one, from_one_alone])
@pytest.mark.parametrize("total", [len(IDS) + SIZE, len(IDS) + 90])
def test_a_count_that_never_agrees_is_told_with_both_numbers(
    pages: Callable[[int], list[int] | None], total: int, lake: Lake
) -> None:
    rows, refused, failed = came(pages, total, 1, lake)
    assert (rows, refused) == (len(IDS), "")
    assert f"the API counts {total} rows, and 17 came, in 3 passes" in failed
