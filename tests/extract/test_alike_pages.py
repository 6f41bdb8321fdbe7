"""Rows without a key, from an API that does not know the number of a page."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.errors import ContractBroken
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

DAYS = 12
HOURS = 24
BY: dict[str, tuple[str, Callable[[str], int]]] = {
    "page": ('page: "{page}"', lambda number: int(number) - 1),
    "offset": ('page: "{offset}"', lambda number: int(number) // HOURS),
}


def same(_: int, request: int) -> list[dict[str, Any]]:
    return [{"hour": hour, "sent": request} for hour in range(HOURS)]


def by_day(day: int, _: int) -> list[dict[str, Any]]:
    """Each page has the same hours."""
    return [{"hour": hour, "sent": day} for hour in range(HOURS)] if day < DAYS else []


@pytest.mark.parametrize("kind", BY)
@pytest.mark.parametrize(
    ("rows", "deepest"),
    [(same, None), (by_day, None), (by_day, DAYS)],
    ids=["ignored", "alike in truth", "alike in truth, and no page far behind"],
)
def test_an_api_that_ignores_the_number_is_refused(
    lake: Lake, kind: str, rows: Callable[[int, int], list[dict[str, Any]]], deepest: int | None
) -> None:
    requests = 0
    param, day_of = BY[kind]

    async def things(request: Request) -> Response:
        nonlocal requests
        requests += 1
        day = day_of(request.query_params["page"])
        if deepest is not None and day > deepest:
            return json_answer({"message": "no such page"}, 400)
        return json_answer(rows(day, requests))

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                key: none
                request: {{params: {{{param}}}}}
                paging: {{kind: {kind}, limit: {HOURS}}}
                columns: {{hour: int64, sent: int64}}
            """
        )
        now = datetime(2026, 11, 2, 12, tzinfo=UTC)
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-01"], now)
    if rows is same:
        error = outcome.failed[0].error
        assert isinstance(error, ContractBroken)
        assert "the same rows for every page" in str(error)
        assert "are equal in hour. Check: 1. that the API knows the paging parameter" in str(error)
        assert requests < 50
    else:
        assert not outcome.failed, outcome.failed[0].error
        assert outcome.results[0].manifest.rows == DAYS * HOURS
