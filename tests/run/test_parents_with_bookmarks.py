"""Children whose parents follow each other by a bookmark, and so may change with one start."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.http.client import open_client
from pipeline.lake.index import manifest_of
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.partitions.window import Window
from pipeline.ratelimit import open_budget
from pipeline.run.context import RunContext
from pipeline.run.other_runs import misfit
from pipeline.run.runner import RunOutcome
from tests.support.clock import at_once
from tests.support.runs import LIMITS, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

FIRST, DAY = "2026-11-01", "2026-11-02"
NOW = datetime(2026, 11, 3, 2, tzinfo=UTC)
PARTS = 10


class Api:
    """Things by number, each with ten parts; the parts of ``fails_at`` are refused."""

    def __init__(self) -> None:
        self.things = [1, 2, 3]
        self.fails_at = -1
        routes = [Route("/things", self.of_things), Route("/things/{thing:int}/parts", self.parts)]
        self.app = Starlette(routes=routes)

    async def of_things(self, request: Request) -> Response:
        low = int(request.query_params.get("since_id", "0"))
        return JSONResponse([{"id": thing} for thing in self.things if thing > low])

    async def parts(self, request: Request) -> Response:
        thing = request.path_params["thing"]
        if thing == self.fails_at:
            return JSONResponse({"error": "no"}, 403)
        return JSONResponse([{"part": 100 * thing + n} for n in range(PARTS)])


def source_at(url: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: {FIRST}
        endpoints:
          things:
            key: [id]
            cursor: id
            columns: {{id: int64}}
            request: {{params: {{since_id: "{{start}}"}}}}
            paging: {{kind: none}}
            whole: true
          parts:
            path: things/{{parent}}/parts
            key: [part]
            columns: {{part: int64, thing: int64}}
            paging: {{kind: none}}
            whole: true
            batch_rows: 10
            parents: {{endpoint: things, column: id, column_here: thing, concurrency: 1}}
        """
    )


def materialize(source: Source, lake: Lake, *names: str, day: str = DAY, run: str) -> RunOutcome:
    return outcome_of(source, lake, names, [day], NOW, run)[0]


def parts(lake: Lake) -> list[int]:
    return sorted(dataset(lake, "api", "parts", DAY).to_table()["part"].to_pylist())


def parts_of(*things: int) -> list[int]:
    return [100 * thing + n for thing in things for n in range(PARTS)]


def begun(api: Api, source: Source, lake: Lake) -> None:
    """The first day, and the things of the second one."""
    assert not materialize(source, lake, "things", day=FIRST, run="first").failed
    api.things += [4, 5, 6, 7]
    assert not materialize(source, lake, "things", run="parents").failed


def test_children_that_were_cut_off_are_not_resumed_in_another_list_of_parents(lake: Lake) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        begun(api, source, lake)
        api.fails_at = 7
        assert materialize(source, lake, "parts", run="children").failed
        api.things, api.fails_at = [1, 2, 3, 5, 6, 7, 8, 9], -1
        assert not materialize(source, lake, "things", run="parents again").failed
        assert not materialize(source, lake, "parts", run="children").failed
    assert parts(lake) == parts_of(5, 6, 7, 8, 9)


def test_children_of_parents_that_were_replaced_are_not_done(lake: Lake) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        begun(api, source, lake)
        assert not materialize(source, lake, "parts", run="children").failed
        api.things += [8]
        assert not materialize(source, lake, "things", run="parents again").failed
        assert not materialize(source, lake, "parts", run="children").failed
    assert parts(lake) == parts_of(4, 5, 6, 7, 8)


def test_children_that_another_run_made_from_the_same_parents_are_as_good(lake: Lake) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        begun(api, source, lake)
        assert not materialize(source, lake, "parts", run="children").failed

        async def why_not(theirs: Manifest) -> str | None:
            async with open_client(source, open_budget("api", LIMITS, "memory")) as client:
                run = RunContext(source, lake, client, "another", lambda: NOW, sleep=at_once)
                wanted = Window("incremental", None, NOW - timedelta(hours=2), 0.0, complete=True)
                return misfit(run, theirs, wanted)

        manifest = manifest_of(lake, "api", "parts", DAY)
        assert manifest
        assert asyncio.run(why_not(manifest)) is None
        assert not materialize(source, lake, "things", run="parents again").failed
        assert "from other rows of `things`" in str(asyncio.run(why_not(manifest)))
