"""Headrace's engine on one job: the baseline partition of ``games``, without Dagster's start."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.job import CLIENT_ID, CLIENT_SECRET, Job, answer, read_job
from benchmarks.meter import LoopLag, Meter
from local.s3 import S3
from pipeline import ratelimit
from pipeline.config.loader import load_source
from pipeline.config.source import Source
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import sweep
from pipeline.run.runner import RunOutcome, run_source

ROOT = Path(__file__).resolve().parent.parent
NO_LIMIT = ratelimit.RateWindow(10_000, 1.0)


def source_of(job: Job, start: str) -> Source:
    """sources/igdb.yaml with the job's limits and page size, and nothing else changed."""
    text = (ROOT / "sources" / "igdb.yaml").read_text()
    spec = yaml.safe_load(text)
    spec["limits"]["in_flight"] = job.in_flight
    spec["limits"]["windows"] = [{"requests": job.rate, "per_s": 1}] if job.rate else []
    spec["defaults"]["paging"]["limit"] = job.page
    if not job.packed:
        spec["defaults"]["request"]["pack"] = 1
    folder = Path(job.folder) / f"sources-{random.randrange(10**9)}"
    folder.mkdir(parents=True)
    file = folder / "igdb.yaml"
    file.write_text(yaml.safe_dump(spec))
    environment = {
        "IGDB_BASE_URL": job.base_url,
        "IGDB_TOKEN_URL": job.token_url,
        "IGDB_CLIENT_ID": job.options.get("client_id", CLIENT_ID),
        "IGDB_CLIENT_SECRET": job.options.get("client_secret", CLIENT_SECRET),
        "IGDB_START": start,
        "IGDB_SAFETY_MARGIN_S": str(job.options.get("margin_s", 3600)),
    }
    return load_source(file, environment)


def budget_of(source: Source, folder: str) -> ratelimit.Budget:
    windows = tuple(ratelimit.RateWindow(w.requests, w.per_s) for w in source.limits.windows)
    limits = ratelimit.Limits(windows or (NO_LIMIT,), source.limits.in_flight)
    pace = "-".join(f"{window.requests:g}" for window in limits.windows)
    return ratelimit.open_budget(f"bench-{pace}", limits, folder)


async def in_session(
    source: Source, job: Job, lake: Lake, work: Callable[[RunContext], Coroutine[Any, Any, None]]
) -> dict[str, Any]:
    """Do the work with a client and a budget of its own; what the client has to say of it."""
    async with (
        open_client(source, budget_of(source, f"{job.folder}/budget")) as client,
        batching(client, source) as sender,
    ):
        run_id = f"bench-{random.randrange(10**9)}"
        await work(RunContext(source, lake, sender, run_id, lambda: datetime.now(UTC)))
        stats = client.budget.stats
        return {
            "requests": client.requests,
            "waited_slot_s": round(stats.waited_slot_s, 2),
            "between_first_and_last_s": round((stats.last_at or 0) - (stats.first_at or 0), 3),
        }


async def baseline(source: Source, job: Job, lake: Lake) -> dict[str, Any]:
    outcome = RunOutcome()

    async def work(run: RunContext) -> None:
        today = run.calendar.of(run.now())
        await run_source(run, ["games"], [today], outcome)

    async with LoopLag() if job.options.get("watch_loop") else nullcontext() as lag:
        said = await in_session(source, job, lake, work)
    for failed in outcome.failed:
        raise failed.error
    manifest = outcome.results[0].manifest
    return {
        **said,
        **(lag.figures() if lag else {}),
        "rows": manifest.rows,
        "files": len(manifest.files),
        "parquet_bytes": sum(file.bytes for file in manifest.files),
        "contiguous": manifest.proof.contiguous,
    }


async def key_sweep(source: Source, job: Job, lake: Lake) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def work(run: RunContext) -> None:
        swept = await sweep(run, "games", ExtractionProgress())
        found.update(keys=swept.keys_seen, gone=swept.keys_gone)

    return {**await in_session(source, job, lake, work), **found}


def figures(job: Job) -> dict[str, Any]:
    """Do the job; what it took."""
    source = source_of(job, datetime.now(UTC).date().isoformat())
    work = key_sweep if job.options.get("sweep") else baseline
    with Meter() as meter:
        lake = Lake(S3(**job.s3).client(), f"s3://{job.bucket}/{job.prefix}")
        found = asyncio.run(work(source, job, lake))
    return {**meter.figures(), **found}


def main() -> None:
    answer(figures(read_job()))


if __name__ == "__main__":
    main()
