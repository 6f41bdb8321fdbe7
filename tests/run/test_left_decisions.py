"""A commit that a run had decided, and left to others: its own next attempt takes it for done, and
another run replaces it.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import LakeUnavailable
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

DAY = "2026-11-20"
MORNING = datetime(2026, 11, 20, 9, tzinfo=UTC)
EVENING = datetime(2026, 11, 20, 18, tzinfo=UTC)
FIRST, LATE = ({"id": n, "at": f"2026-11-20T0{n}:00:00Z"} for n in (1, 2))
SPECS = {
    "snapshot": "columns: {id: int64}",
    "incremental": 'cursor: at, columns: {id: int64, at: "timestamp[iso]"}, request: '
    '{params: {since: "{start}", until: "{end}"}}',
}
STRUCK = {
    "the clean-up fails": ("delete", "_checkpoints"),
    "the manifest is not written": ("put", "_manifests"),
}


class Api:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [FIRST]
        self.app = Starlette(routes=[Route("/things", self.things)])

    async def things(self, request: Request) -> Response:
        return JSONResponse(self.rows)


def source_at(url: str, kind: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        endpoints:
          things: {{paging: {{kind: none}}, whole: true, key: [id], {SPECS[kind]}}}
        """
    )


def left(lake: Lake, source: Source, struck: str) -> None:
    """The run of the morning leaves its decision behind."""
    wanted, folder = STRUCK[struck]

    def strike(operation: str, key: str) -> None:
        if operation == wanted and folder in key:
            raise LakeUnavailable("S3 is away")

    lake.on_operation = strike
    outcome_of(source, lake, "things", [DAY], MORNING, "morning")
    lake.on_operation = None


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("struck", STRUCK)
def test_another_run_replaces_what_an_earlier_one_had_decided(
    lake: Lake, kind: str, struck: str
) -> None:
    api = Api()
    with serving(api.app, date_header=False) as url:
        source = source_at(url, kind)
        left(lake, source, struck)
        api.rows = [FIRST, LATE]
        outcome, requests = outcome_of(source, lake, "things", [DAY], EVENING, "evening")
    assert [result.outcome for result in outcome.results] == ["committed"]
    assert requests
    assert current(lake, "api", "things")["id"].to_pylist() == [1, 2]


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("struck", STRUCK)
def test_the_next_attempt_of_a_run_takes_what_it_had_decided_for_done(
    lake: Lake, kind: str, struck: str
) -> None:
    api = Api()
    with serving(api.app, date_header=False) as url:
        source = source_at(url, kind)
        left(lake, source, struck)
        again, requests = outcome_of(source, lake, "things", [DAY], EVENING, "morning", attempt=2)
    assert [result.outcome for result in again.results] == ["already committed"]
    assert requests == 0
    assert current(lake, "api", "things")["id"].to_pylist() == [1]
