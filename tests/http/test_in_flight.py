"""One endpoint uses all the requests in flight that its API allows: where answers are slow, the
quota would lie idle with fewer."""

import asyncio
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.http.client import open_client
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

IN_FLIGHT = 40
PAGE = 5
ROWS = 100 * PAGE


class Slow:
    """Answers once as many requests are open as may be; not before two seconds if they are not."""

    def __init__(self) -> None:
        self.open = self.most = 0
        self.all_there = asyncio.Event()
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        offset = int(request.query_params["offset"])
        self.open += 1
        self.most = max(self.most, self.open)
        if self.most == IN_FLIGHT:
            self.all_there.set()
        try:
            if offset:  # the first page tells how many there are
                await asyncio.wait_for(self.all_there.wait(), 2.0)
        except TimeoutError:
            pass
        finally:
            self.open -= 1
        numbers = range(offset + 1, min(ROWS, offset + PAGE) + 1)
        return JSONResponse({"total": ROWS, "rows": [{"id": n} for n in numbers]})


def test_one_endpoint_has_as_many_requests_open_as_its_api_allows(lake: Lake) -> None:
    api, outcome = Slow(), RunOutcome()

    async def run(url: str) -> None:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            limits: {{in_flight: {IN_FLIGHT}}}
            endpoints:
              things:
                key: [id]
                columns: {{id: int64}}
                rows: rows
                request: {{params: {{sort: id, offset: "{{offset}}", limit: "{{limit}}"}}}}
                paging: {{kind: offset, limit: {PAGE}, total: total}}
            """
        )
        limits = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), IN_FLIGHT)
        async with open_client(source, ratelimit.open_budget("api", limits, "memory")) as client:
            at = datetime(2026, 11, 2, 12, tzinfo=UTC)
            shared = RunContext(source, lake, client, "run-1", lambda: at, sleep=at_once)
            await run_source(shared, ["things"], ["2026-11-02"], outcome)

    with serving(api.app) as url:
        asyncio.run(run(url))
    assert not outcome.failed
    assert outcome.results[0].manifest.rows == ROWS
    assert api.most == IN_FLIGHT
