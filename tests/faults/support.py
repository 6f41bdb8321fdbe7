"""The whole engine without Dagster, against the emulator and a real S3; and what must hold after.

Times are fixed: one baseline day, long over, so that every row of the emulator belongs to it.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from emulator.testing import Emulator
from local.paths import ROOT
from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.config.limits import BreakerConfig, RetriesConfig, TimeoutsConfig
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.run.context import PartitionResult, RunContext
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once

DAY = "2026-01-01"
NOON_AFTER = datetime(2026, 1, 2, 12, tzinfo=UTC)
IN_DAY_S = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
"""An instant of the day, as the emulator's rows have it."""
UNTIL = "2026-01-02"
MANY = 30_000

QUICK = RetriesConfig(first_wait_s=0.02, max_wait_s=0.2, errors=8, timeouts=8)
LIMITS = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), in_flight=8, throttle_wait_s=0.05)
_numbers = itertools.count()


def new_run_id() -> str:
    return f"run-{next(_numbers)}"


@cache
def _loaded(env: tuple[tuple[str, str], ...]) -> Source:
    return load_source(ROOT / "sources" / "igdb.yaml", dict(env))


def igdb(
    api: Emulator,
    *,
    pack: int = 10,
    batch_rows: int = 5_000,
    page_rows: int = 500,
    only: Sequence[str] = ("keywords",),
    start: str = DAY,
    **changes: object,
) -> Source:
    """``sources/igdb.yaml``, with small batches and short waits."""
    env = {**api.env(), "IGDB_START": start, "IGDB_SAFETY_MARGIN_S": "3600"}
    source = _loaded(tuple(env.items()))
    endpoints = {}
    for name in only:
        spec = source.endpoints[name]
        endpoints[name] = spec.model_copy(
            update={
                "request": spec.request.model_copy(update={"pack": pack}),
                "paging": spec.paging.model_copy(update={"limit": page_rows}),
                "batch_rows": batch_rows,
            }
        )
    quick: dict[str, object] = {
        "endpoints": endpoints,
        "retries": QUICK,
        "timeouts": TimeoutsConfig(connect_s=5.0, read_s=20.0, total_s=60.0),
        "breaker": BreakerConfig(failures=20, open_s=7.0),
    }
    return source.model_copy(update=quick | changes)


Hook = Callable[[int, httpx.Request], None]
Wrap = Callable[[int, httpx.Response], None]


class Watched(httpx.AsyncBaseTransport):
    """The wire, with something that happens before request number n (from 1), or to its answer."""

    def __init__(self, before: Hook | None, wrap: Wrap | None) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._before, self._wrap = before, wrap
        self.sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        number = self.sent
        if self._before:
            self._before(number, request)
        response = await self._inner.handle_async_request(request)
        if self._wrap:
            self._wrap(number, response)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Ran:
    """What a try came to."""

    outcome: RunOutcome
    requests: int
    breaker: str

    @property
    def manifest(self) -> Manifest:
        """Of the one partition that was asked for."""
        assert not self.outcome.failed, self.outcome.failed
        (receipt,) = self.outcome.results
        return receipt.manifest

    @property
    def error(self) -> Exception:
        """Why the one partition failed."""
        assert not self.outcome.results
        (failed,) = self.outcome.failed
        return failed.error


@dataclass
class Bench:
    """One source over one lake."""

    source: Source
    lake: Lake
    now: Callable[[], datetime] = lambda: NOON_AFTER
    limits: ratelimit.Limits = LIMITS
    done: list[PartitionResult] = field(default_factory=list)

    def run(
        self,
        *,
        endpoints: Sequence[str] = (),
        days: Sequence[str] = (DAY,),
        run_id: str = "",
        before: Hook | None = None,
        wrap: Wrap | None = None,
        half_open: bool = False,
    ) -> Ran:
        """One try, in an event loop of its own."""
        names = endpoints or list(self.source.endpoints)
        wire = Watched(before, wrap) if before or wrap else None
        return asyncio.run(self.attempt(names, days, run_id or new_run_id(), wire, half_open))

    async def attempt(
        self,
        names: Sequence[str],
        days: Sequence[str],
        run_id: str,
        wire: Watched | None,
        half_open: bool,
    ) -> Ran:
        outcome = RunOutcome()
        opened = open_client(
            self.source,
            ratelimit.open_budget(self.source.source, self.limits, "memory"),
            half_open=half_open,
            transport=wire,
        )
        async with opened as client, batching(client, self.source) as sender:
            run = RunContext(self.source, self.lake, sender, run_id, self.now, sleep=at_once)
            await run_source(run, names, days, outcome, self.done.append)
            return Ran(outcome, client.requests, client.breaker_state)

    def client(self, **options: Any) -> Any:
        """A client of the source alone, for an ``async with``."""
        memory = ratelimit.open_budget(self.source.source, self.limits, "memory")
        return open_client(self.source, memory, **options)


def check_rows(lake: Lake, rows: Sequence[Mapping[str, Any]], endpoint: str = "keywords") -> None:
    """The lake has exactly these rows of the API, each once, value by value."""
    have = dataset(lake, "igdb", endpoint).to_table().sort_by("id")
    wanted = sorted(rows, key=lambda row: row["id"])
    assert have["id"].to_pylist() == [row["id"] for row in wanted]
    missing = {name for row in wanted for name in row} - set(have.column_names)
    assert not missing
    for name in have.column_names:
        if name.startswith("_"):
            continue
        expected = [row.get(name) for row in wanted]
        if pa.types.is_timestamp(have[name].type):
            seconds = pc.cast(have[name], pa.timestamp("s", tz="UTC"))
            assert pc.cast(seconds, pa.int64()).to_pylist() == expected, name
        else:
            assert have[name].to_pylist() == expected, name


def check_clean(lake: Lake, source: str = "igdb") -> None:
    """Nothing is in the lake but what the manifests name."""
    endpoints = [name for name in lake.folders(f"{source}/") if not name.startswith("_")]
    named = {p for e in endpoints for m in manifests(lake, source, e) for p in m.paths}
    there = {
        item.key
        for item in lake.list("")
        if "/_manifests/" not in item.key and "/_sweeps/" not in item.key
    }
    assert there == named
    assert lake.uploads("") == []
