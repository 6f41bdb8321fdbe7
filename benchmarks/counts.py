"""How many requests the work costs, counted by the server: a sweep, a daily run, a backfill."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.headrace_peer import in_session, source_of
from benchmarks.job import CLIENT_ID, CLIENT_SECRET, Job
from benchmarks.peers import Peer, run_case
from benchmarks.server import static_server
from emulator.data import ids_of
from emulator.testing import Emulator, running
from local.s3 import S3
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source

BUCKET = "lake"
FAST = 200
"""Requests a second for the runs whose pace is of no interest."""


def s3_values(s3: S3) -> dict[str, str]:
    return {
        "endpoint_url": s3.endpoint_url,
        "access_key": s3.access_key,
        "secret_key": s3.secret_key,
        "region": s3.region,
    }


def sweep_case(s3: S3, rows: int) -> dict[str, Any]:
    """All keys at 4 requests a second; the limit is the server's too."""
    ids = ids_of(rows)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        static_server(rows, rate=4) as server,
    ):
        job = Job(
            origin=server.origin, rows=rows, page=500, rate=4, in_flight=8, top_id=ids[-1],
            s3=s3_values(s3), bucket=BUCKET, prefix="sweep", folder=folder, packed=True,
            options={"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "sweep": True},
        )  # fmt: skip
        figures = run_case(Peer("sweep", "", "headrace_peer"), job, s3.env())
    if "requests" in figures:
        figures["quota_s"] = round(max(0, figures["requests"] - 1) / 4, 1)
        figures["single_pages_s"] = round(rows / 500 / 4, 1)
    return {"rows": rows, **figures}


class Counter:
    """Runs of the IGDB source against an emulator, each counted."""

    def __init__(self, emulator: Emulator, s3: S3, folder: str) -> None:
        self._emulator, self._s3, self._folder = emulator, s3, folder

    def run(
        self,
        prefix: str,
        first: str,
        endpoints: Sequence[str],
        days: Sequence[str],
        *,
        margin_s: int = 3600,
        rate: int = FAST,
    ) -> dict[str, Any]:
        """:param first: the first partition of the source."""
        identity = {"client_id": self._emulator.client_id}
        identity["client_secret"] = self._emulator.client_secret
        job = Job(
            origin=self._emulator.origin, rows=0, page=500, rate=rate, in_flight=8, top_id=0,
            s3=s3_values(self._s3), bucket=BUCKET, prefix=prefix, folder=self._folder, packed=True,
            options={**identity, "margin_s": margin_s},
        )  # fmt: skip
        source, outcome = source_of(job, first), RunOutcome()
        lake = Lake(self._s3.client(), f"s3://{BUCKET}/{prefix}")

        async def work(run: RunContext) -> None:
            await run_source(run, endpoints or list(source.endpoints), days, outcome)

        self._emulator.reset()
        asyncio.run(in_session(source, job, lake, work))
        for failed in outcome.failed:
            raise failed.error
        counted = self._emulator.stats()
        return {
            "requests": counted["requests"],
            "queries": counted["subqueries"],
            "partitions": len(outcome.results),
            "rows": sum(receipt.manifest.rows for receipt in outcome.results),
        }


def last_days(count: int) -> list[str]:
    today = datetime.now(UTC).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]


@contextmanager
def counter_of(s3: S3, games: int) -> Iterator[Counter]:
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        running(games=games, rate=0, in_flight=0) as emulator,
    ):
        yield Counter(emulator, s3, folder)


def daily_run(s3: S3, games: int) -> dict[str, Any]:
    """A run of all endpoints the day after their baseline, with little to fetch."""
    days = last_days(2)
    with counter_of(s3, games) as counter:
        counter.run("daily", days[0], [], [days[0]])
        return {"games": games, **counter.run("daily", days[0], [], [days[1]], rate=4)}


def backfill(s3: S3, games: int) -> dict[str, Any]:
    """Thirty days in one run, and one window of thirty days."""
    days = last_days(32)
    with counter_of(s3, games) as counter:
        endpoints = ["games"]
        counter.run("thirty", days[0], endpoints, [days[0]])
        thirty = counter.run("thirty", days[0], endpoints, days[1:31], rate=4)
        counter.run("one", days[29], endpoints, [days[29]])
        margin_s = 29 * 86_400 + 3600
        window = counter.run("one", days[29], endpoints, [days[30]], margin_s=margin_s, rate=4)
    return {
        "games": games,
        "thirty_days": thirty,
        "one_window": window,
        "more_requests": thirty["requests"] - window["requests"],
    }


def counts(s3: S3, rows: int, games: int) -> dict[str, Any]:
    found = {
        "sweep": sweep_case(s3, rows),
        "daily": daily_run(s3, games // 10),
        **backfill(s3, games),
    }
    print(f"    {found}", flush=True)
    return found
