"""Many lanes one after the other: a process holds few of their budgets open."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.errors import Retryable
from pipeline.lanes import open_lanes
from pipeline.lanes.lane_sender import LaneKey, LaneSender
from resources import BudgetResource
from tests.lanes.support import MANAGEMENT, inventory
from tests.ratelimit import servers
from tests.support.runs import serving

LANES = 120
"""More than the connections that a Postgres grants by default."""


async def respond(request: Request) -> Response:
    who = f"<Arn>a</Arn><UserId>u</UserId><Account>{MANAGEMENT}</Account>"
    result = f"<GetCallerIdentityResult>{who}</GetCallerIdentityResult>"
    return Response(f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>")


def with_lanes(
    tmp_path: Path, where: str, work: Callable[[LaneSender], Awaitable[None]], at_once: int = 20
) -> None:
    app = Starlette(routes=[Route("/{path:path}", respond, methods=["POST"])])
    with serving(app) as url:
        source = inventory(url, [MANAGEMENT], ["us-east-1"], tmp_path)
        assert source.lanes is not None
        limits = source.lanes.limits.model_copy(update={"lanes_at_once": at_once})
        source = source.with_lanes(source.lanes.model_copy(update={"limits": limits}))

        async def main() -> None:
            async with open_lanes(source, BudgetResource(where=where).open) as lanes:
                await work(lanes)

        asyncio.run(main())


async def call(lanes: LaneSender, number: int) -> None:
    """A call in a lane of its own."""
    await lanes.call(MANAGEMENT, f"us-east-{number}", "sts", "GetCallerIdentity", {})


async def call_all(lanes: LaneSender) -> None:
    for number in range(LANES):
        await call(lanes, number)


def test_the_files_of_lanes_that_are_read_are_closed(tmp_path: Path) -> None:
    opened: list[int] = []

    async def work(lanes: LaneSender) -> None:
        for number in range(LANES):
            await call(lanes, number)
            opened.append(len(os.listdir("/proc/self/fd")))

    with_lanes(tmp_path, str(tmp_path / "budgets"), work)
    assert max(opened[60:]) <= max(opened[:60]), "they grow to some, and no further"


def test_lanes_take_fewer_connections_than_postgres_grants(tmp_path: Path) -> None:
    with servers.postgres_url() as where:
        with_lanes(tmp_path, where, call_all)


def test_a_server_without_a_free_connection_is_said(tmp_path: Path) -> None:
    with servers.postgres_url() as where, pytest.raises(Retryable) as caught:
        with_lanes(tmp_path, where, call_all, at_once=LANES)
    assert "too many connections" in str(caught.value)
    assert "max_connections" in str(caught.value)


def test_a_budget_that_closing_forgets_stays_open(tmp_path: Path) -> None:
    async def work(lanes: LaneSender) -> None:
        await call_all(lanes)
        first = f"named-{LaneKey(MANAGEMENT, 'us-east-0', 'sts').budget}"
        assert sum(minute.requests for minute in ratelimit.usage("memory", first)) == 1

    with_lanes(tmp_path, "memory", work)
