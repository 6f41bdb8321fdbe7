"""A key whose type changes: sweeps of before and after are compared, and the current state read."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.read import current, gone_keys
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from tests.support.clock import at_once
from tests.support.runs import LIMITS, outcome_of, serving
from tests.support.yaml_sources import source_of


@dataclass
class Things:
    """A collection whose keys a test changes.

    :ivar sweeps: so far. Each begins two seconds after the one before it, as its record is named
        by the second.
    """

    lake: Lake
    url: str = ""
    keys: list[Any] = field(default_factory=lambda: [1, 2, 3])
    sweeps: int = 0

    async def respond(self, request: Request) -> Response:
        return JSONResponse([{"id": key} for key in self.keys])

    def source(self, kind: str) -> Source:
        return source_of(f"""
            source: api
            base_url: {self.url}
            start: 2026-11-01
            endpoints:
              things:
                paging: {{kind: none}}
                whole: true
                key: [id]
                columns: {{id: {kind}}}
        """)

    def load(self, kind: str) -> None:
        """Materialize the partition of today."""
        now = datetime.now(UTC)
        outcome, _ = outcome_of(self.source(kind), self.lake, "things", [f"{now:%Y-%m-%d}"], now)
        assert not outcome.failed, outcome.failed[0].error

    def sweep(self, kind: str) -> SweepResult:
        self.sweeps += 1
        source, now = self.source(kind), datetime.now(UTC) + timedelta(seconds=2 * self.sweeps)

        async def main() -> SweepResult:
            async with open_client(source, _budget()) as client:
                run = RunContext(source, self.lake, client, "sweep", lambda: now, sleep=at_once)
                return await sweep(run, "things", ExtractionProgress())

        return asyncio.run(main())

    def current(self) -> list[Any]:
        return sorted(current(self.lake, "api", "things")["id"].to_pylist())


def _budget() -> ratelimit.Budget:
    return ratelimit.open_budget("api", LIMITS, "memory")


@pytest.fixture
def things(lake: Lake) -> Iterator[Things]:
    api = Things(lake)
    with serving(Starlette(routes=[Route("/things", api.respond)])) as api.url:
        yield api


def test_a_key_that_became_text_is_compared_with_sweeps_from_before(things: Things) -> None:
    things.load("int64")
    things.keys = [1, 2]
    assert things.sweep("int64").keys_gone == 1
    things.keys = [1, 2, "A4"]
    things.load("string")
    things.keys = [2, "A4"]
    assert things.sweep("string").keys_gone == 1
    assert things.current() == ["2", "A4"]
    gone = gone_keys(things.lake, "api", "things")
    assert gone is not None
    assert sorted(gone["id"].to_pylist()) == ["1", "3"]
    things.keys = [2, 3, "A4"]
    result = things.sweep("string")
    assert (result.keys_gone, result.keys_back) == (0, 1), "swept as a number, back as text"
    assert things.current() == ["2", "A4"], "3 comes with its next extraction"


def test_a_key_that_became_a_number_is_compared_with_sweeps_of_text(things: Things) -> None:
    things.keys = ["1", "5", "A4"]
    things.load("string")
    things.keys = ["1"]
    assert things.sweep("string").keys_gone == 2
    things.keys = [1, 7]
    things.load("int64")
    assert things.current() == [1, 7]
    things.keys = [1]
    assert things.sweep("int64").keys_gone == 1
    assert things.current() == [1]
    things.keys = [1, 5]
    assert things.sweep("int64").keys_back == 1


def test_keys_that_have_no_type_in_common_are_compared_as_text(things: Things) -> None:
    things.keys = [True, False]
    things.load("bool")
    things.keys = [True]
    assert things.sweep("bool").keys_gone == 1
    things.keys = [1, 7]
    things.load("int64")
    things.keys = [1]
    assert things.sweep("int64").keys_gone == 1
    assert things.current() == [1]
