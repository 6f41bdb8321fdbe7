"""A quota that is used up after a few pages: each attempt begins where the one before it ended."""

from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import RateLimited
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS, PAGE, QUOTA = 90, 10, 2


class Api:
    """Two pages an hour."""

    def __init__(self) -> None:
        self.left = QUOTA
        self.given: list[int] = []
        self.app = Starlette(routes=[Route("/things", self.respond)])

    async def respond(self, request: Request) -> Response:
        if not self.left:
            return JSONResponse({}, 429, {"retry-after": "3600"})
        self.left -= 1
        first = int(request.query_params.get("token", 0))
        self.given.append(first)
        last = min(ROWS, first + PAGE)
        rows = [{"id": n} for n in range(first, last)]
        return JSONResponse({"rows": rows, "next": f"t{last}"[1:] if last < ROWS else None})


def test_a_partition_gets_on_however_small_the_quota_is(lake: Lake) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                key: [id]
                columns: {{id: int64}}
                request: {{params: {{token: '{{token}}'}}}}
                paging: {{kind: token, next: next, limit: {PAGE}, numbered: false}}
                rows: rows
            """
        )
        for _ in range(ROWS // PAGE):
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            if outcome.results:
                break
            assert isinstance(outcome.failed[0].error, RateLimited)
            api.left = QUOTA
    (receipt,) = outcome.results
    found = key_rows(lake, receipt.manifest.files, ["id"])["id"].to_pylist()
    assert sorted(found) == list(range(ROWS))
    assert api.given == list(range(0, ROWS, PAGE))
