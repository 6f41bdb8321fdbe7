"""Rows of a cached response: what is known of them is as old as the response."""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.extract.position import ExtractionProgress
from pipeline.http.cache import cached
from pipeline.http.client import open_client
from pipeline.http.response_store import FILE
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.messages import Sender
from pipeline.run.context import RunContext
from pipeline.run.deletions import sweep
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once
from tests.support.http10 import serving_1_0
from tests.support.runs import LIMITS, serving
from tests.support.yaml_sources import source_of

HOUR_S = 3600.0


@dataclass
class Api:
    """A collection with an ETag for each of its states."""

    url: str = ""
    ids: list[int] = field(default_factory=lambda: [1, 2])
    requests: int = 0

    async def respond(self, request: Request) -> Response:
        self.requests += 1
        tag = f'"{self.ids}"'
        date = {"date": format_datetime(datetime.now(UTC), usegmt=True), "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=date)
        return JSONResponse([{"id": key} for key in self.ids], headers=date)


@pytest.fixture
def api() -> Iterator[Api]:
    things = Api()
    app = Starlette(routes=[Route("/things", things.respond)])
    with serving(app, date_header=False) as things.url:
        yield things


@dataclass
class Bench:
    """Runs of one source, each with a client of its own and one folder of responses."""

    source: Source
    lake: Lake
    folder: Path

    def load(self) -> None:
        asyncio.run(self._with_sender(self._load))

    def sweep(self) -> int:
        """How many keys are newly gone."""
        return int(asyncio.run(self._with_sender(self._sweep)))

    async def _with_sender(self, work: Any) -> Any:
        budget = ratelimit.open_budget("api", LIMITS, "memory")
        async with (
            open_client(self.source, budget) as client,
            cached(client, client, self.source, str(self.folder)) as sender,
        ):
            return await work(sender)

    def _run(self, sender: Sender) -> RunContext:
        name = f"run-{time.monotonic_ns()}"
        return RunContext(
            self.source, self.lake, sender, name, lambda: datetime.now(UTC), sleep=at_once
        )

    async def _load(self, sender: Sender) -> None:
        outcome = RunOutcome()
        await run_source(self._run(sender), ["things"], [f"{datetime.now(UTC):%Y-%m-%d}"], outcome)
        assert not outcome.failed

    async def _sweep(self, sender: Sender) -> int:
        return (await sweep(self._run(sender), "things", ExtractionProgress())).keys_gone

    def let_pass(self, seconds: float) -> None:
        """Make the cached responses older."""
        with closing(sqlite3.connect(self.folder / FILE)) as db, db:
            for key, stored_at_s, text in db.execute(
                "SELECT key, stored_at_s, headers FROM responses"
            ).fetchall():
                at_s = stored_at_s - seconds
                headers = json.loads(text)
                headers["date"] = format_datetime(datetime.fromtimestamp(at_s, UTC), usegmt=True)
                db.execute(
                    "UPDATE responses SET stored_at_s = ?, headers = ? WHERE key = ?",
                    (at_s, json.dumps(headers), key),
                )

    @property
    def alive(self) -> dict[int, datetime]:
        """The current rows, and when each was extracted."""
        rows = current(self.lake, "api", "things", columns=["id", "_extracted_at"]).to_pylist()
        return {row["id"]: row["_extracted_at"] for row in rows}


@pytest.fixture
def bench(api: Api, lake: Lake, tmp_path: Path) -> Bench:
    source = source_of(
        f"""
        source: api
        base_url: {api.url}
        start: 2026-11-02
        endpoints:
          things:
            paging: {{kind: none}}
            whole: true
            key: [id]
            cache: high
            columns: {{id: int64}}
        """
    )
    return Bench(source, lake, tmp_path / "cache")


def test_a_row_that_was_deleted_since_its_response_stays_deleted(api: Api, bench: Bench) -> None:
    bench.load()
    api.ids.remove(1)
    assert bench.sweep() == 1
    requests = api.requests
    bench.load()
    assert api.requests == requests, "the rows are from the cache"
    assert [*bench.alive] == [2]


def test_cached_rows_are_as_old_as_their_response(
    api: Api, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """And its ``Date`` says nothing of the API's clock."""
    caplog.set_level(logging.WARNING)
    bench.load()
    before = bench.alive
    bench.let_pass(HOUR_S)
    bench.load()
    assert api.requests == 1
    ages_s = [(before[key] - at).total_seconds() for key, at in bench.alive.items()]
    assert ages_s == [pytest.approx(HOUR_S, abs=HOUR_S / 2)] * 2
    assert "clock" not in caplog.text


def test_a_row_that_the_api_confirms_is_as_new_as_the_304(
    api: Api, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that was deleted, and is back in a response that was there before."""
    caplog.set_level(logging.WARNING)
    bench.load()
    api.ids.remove(1)
    assert bench.sweep() == 1
    api.ids.insert(0, 1)
    bench.let_pass(25 * HOUR_S)
    confirmed_from = datetime.now(UTC)
    bench.load()
    bench.load()
    assert api.requests == 3, "a load, a sweep, and a 304; the last load has the cache's"
    assert sorted(bench.alive) == [1, 2]
    assert min(bench.alive.values()) >= confirmed_from
    assert "clock" not in caplog.text


@pytest.mark.parametrize("with_length", [True, False])
def test_a_cached_response_whose_end_was_shown_needs_no_second_one(
    lake: Lake, tmp_path: Path, with_length: bool
) -> None:
    """One that named no length, and may be cut short, is compared with what the API sends now."""
    body = '{"id": 1}\n{"id": 2}\n'
    headers = {"Content-Length": str(len(body))} if with_length else {}
    with serving_1_0(lambda *_: (body, headers)) as (url, requested):
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints:
              things: {{format: jsonl, paging: {{kind: none}}, key: [id], cache: 3600}}
            """
        )
        bench = Bench(source, lake, tmp_path)
        bench.load()
        bench.load()
    assert len(requested) == (1 if with_length else 3)
