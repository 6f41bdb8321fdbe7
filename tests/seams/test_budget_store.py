"""A budget store that a file adds by registering it: a partition end to end, and its resume."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import ClassVar, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import ConfigError, RequestRefused
from pipeline.http.client import open_client
from pipeline.lake.s3 import Lake
from pipeline.ratelimit import Limits, RateWindow, open_budget, reservation, state_layout, usage
from pipeline.ratelimit.stores.base import BUDGET_STORES, Change, StateStore
from pipeline.ratelimit.usage_stats import Minute, last_hour
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

T = TypeVar("T")
NOW = datetime(2026, 11, 4, tzinfo=UTC)
DAY = "2026-11-04"
LIMITS = Limits((RateWindow(1_000, 1.0), RateWindow(5_000, 60.0)), in_flight=3)
PAGE, ROWS, BATCH = 10, 150, 30


class DictStore(StateStore):
    """The example of the family's base."""

    rows: ClassVar[dict[str, memoryview[float]]] = {}
    permits: ClassVar[set[tuple[str, int]]] = set()

    async def open(self) -> None:
        row = memoryview(bytearray(8 * state_layout.size(self.limits))).cast("d")
        state_layout.fresh(row, self.limits, 0.0)
        self.rows.setdefault(self.name, row)

    async def close(self) -> None: ...

    async def update(self, change: Change[T]) -> T:
        return change(self.rows[self.name], monotonic())

    def give_back(self, ticket: float) -> None:
        reservation.give_back(self.rows[self.name], ticket, self.share)

    async def take_permit(self) -> int | None:
        free = (p for p in self.permit_numbers if (self.name, p) not in self.permits)
        permit = next(free, None)
        if permit is not None:
            self.permits.add((self.name, permit))
        return permit

    def free_permit(self, permit: int) -> None:
        self.permits.discard((self.name, permit))

    @classmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        now = monotonic()
        return now, last_hour(cls.rows.get(name, state_layout.EMPTY), now)


@pytest.fixture
def location() -> Iterator[str]:
    BUDGET_STORES.register("dict")(DictStore)
    yield "dict://here"
    BUDGET_STORES.forget("dict")
    DictStore.rows.clear()


class Api:
    """Rows by key. A request for rows behind ``refuses_after`` is refused."""

    def __init__(self) -> None:
        self.requests = 0
        self.after: list[int] = []
        self.refuses_after = ROWS

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/things", self.things)])

    async def things(self, request: Request) -> Response:
        after = int(request.query_params.get("after", 0))
        self.requests += 1
        self.after.append(after)
        if after > self.refuses_after:
            return JSONResponse({"error": "no"}, 400)
        return JSONResponse([{"id": n} for n in range(after + 1, min(ROWS, after + PAGE) + 1)])


def extract(url: str, lake: Lake, location: str) -> RunOutcome:
    """One attempt of a run at the partition, through a budget of the registered kind."""
    source = source_of(
        f"""
        source: shop
        base_url: {url}
        start: 2026-11-01
        auth: {{kind: none}}
        endpoints:
          things:
            request: {{params: {{after: "{{after}}", limit: "{{limit}}"}}}}
            paging: {{kind: keyset, limit: {PAGE}}}
            key: [id]
            batch_rows: {BATCH}
        """
    )

    async def main() -> RunOutcome:
        outcome = RunOutcome()
        async with open_client(source, open_budget("shop", LIMITS, location)) as client:
            run = RunContext(source, lake, client, "one-run", lambda: NOW, sleep=at_once)
            await run_source(run, ["things"], [DAY], outcome)
        return outcome

    return asyncio.run(main())


def test_a_registered_store_carries_a_partition_and_its_resume(lake: Lake, location: str) -> None:
    api = Api()
    api.refuses_after = 75
    with serving(api.app) as url:
        failed = extract(url, lake, location).failed[0].error
        assert isinstance(failed, RequestRefused)
        api.refuses_after, api.after = ROWS, []
        outcome = extract(url, lake, location)
    manifest = outcome.results[0].manifest
    assert manifest.rows == ROWS
    assert manifest.resumed_pages > 0
    assert min(api.after) >= BATCH, "staged rows are not requested again"
    assert not DictStore.permits, "every permit was freed"
    sends, _ = state_layout.send_times(DictStore.rows["shop"])
    assert len(sends) == api.requests, "every request of both attempts went through the store"
    assert sum(minute.requests for minute in usage(location, "shop")) == api.requests


def test_a_store_that_is_not_registered_is_refused_without_its_url() -> None:
    with pytest.raises(ConfigError, match=r"begins with `dict://`, expected a folder") as caught:
        open_budget("shop", LIMITS, "dict://user:secret@host")
    assert "secret" not in str(caught.value)
    assert "`redis://`" in str(caught.value)
