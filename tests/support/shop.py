"""A source of six rows, three a day, over a server of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config.source import Source
from tests.support.responses import json_answer
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

DAYS = ["2026-11-01", "2026-11-02"]
NOW = datetime(2026, 11, 4, tzinfo=UTC)
ROWS = [{"id": n, "at": f"2026-11-0{1 + n % 2}T0{n % 9}:00:00Z", "name": f"n{n}"} for n in range(6)]


@contextmanager
def shop() -> Iterator[Source]:
    """``shop/things``: rows 0, 2, 4 on the first day, 1, 3, 5 on the second."""

    async def things(request: Request) -> Response:
        begin, end = request.query_params.get("from", ""), request.query_params["to"]
        return json_answer([row for row in ROWS if begin <= str(row["at"]) < end])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        yield source_of(
            f"""
            source: shop
            base_url: {url}
            start: {DAYS[0]}
            safety_margin_s: 0
            endpoints:
              things:
                request: {{params: {{from: "{{start}}", to: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )
