"""The API, opened for a step: one event loop, one sender, one budget."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import dagster as dg
from pydantic import Field

from pipeline.config.source import Source
from pipeline.extract.partition_values import PartitionValue
from pipeline.http.cache import cached
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.lanes import LaneSender, lanes_of, open_lanes, values_of_lanes
from pipeline.messages import Sender
from pipeline.ratelimit import BudgetStats
from resources.budget import BudgetResource


class RequestReport(Protocol):
    """How the requests of a run go so far, to one API or to the lanes of AWS."""

    @property
    def stats(self) -> BudgetStats:
        """What was used of the budget."""
        ...

    @property
    def breaker_state(self) -> str:
        """``closed``, ``open`` or ``half open``."""
        ...


@dataclass(frozen=True)
class ApiSession:
    """An API that a run may send to.

    :ivar values: of endpoints that are read in lanes: the lanes that were found.
    :ivar lanes: is passed before a lane is read; None: the source has none.
    """

    sender: Sender
    report: RequestReport
    values: Mapping[str, tuple[PartitionValue, ...]] = field(default_factory=dict)
    lanes: asyncio.Semaphore | None = None


class ApiResource(dg.ConfigurableResource["ApiResource"]):
    """Opens sessions whose requests all go through the shared budget.

    A resource holds configuration only: Dagster sets it up without an event loop, so the HTTP
    client is opened inside the run's loop, by ``async with api.open(source, names) as session``.
    """

    budget: dg.ResourceDependency[BudgetResource]
    cache: str | None = Field(
        default=None, description="the folder of cached responses; without one they are in memory"
    )
    metrics: str | None = Field(
        default=None, description="`otlp`: export a step's counters by OpenTelemetry"
    )

    @asynccontextmanager
    async def open(
        self,
        source: Source,
        endpoints: Sequence[str],
        *,
        half_open: bool = False,
        share: float = 1.0,
    ) -> AsyncIterator[ApiSession]:
        """All that a run of some endpoints needs to send, open as long as the ``async with``.

        :param half_open: the attempt before ended since the API was down: begin with one request.
        :param share: the part of the budget that this run may take.
        :raises HeadraceError: the accounts of a source that is read in lanes can't be listed.
        """
        if source.lanes is not None:
            async with open_lanes(source, lambda of: self.budget.open(of, share=share)) as lanes:
                values = await _values(source, endpoints, lanes)
                at_once = asyncio.Semaphore(source.lanes.limits.lanes_at_once)
                yield ApiSession(lanes, lanes, values, at_once)
            return
        budget = self.budget.open(source, share=share)
        async with (
            open_client(source, budget, half_open=half_open) as client,
            batching(client, source) as batcher,
            cached(client, batcher, source, self.cache) as sender,
        ):
            yield ApiSession(sender, client)


async def _values(
    source: Source, endpoints: Sequence[str], sender: LaneSender
) -> Mapping[str, tuple[PartitionValue, ...]]:
    """The lanes, if one of the endpoints is read in them: others go by committed rows."""
    each = (source.endpoints[name].each for name in endpoints)
    if not any(of is not None and of.found_in_run for of in each):
        return {}
    return values_of_lanes(source, await lanes_of(sender), sender.sessions.own_account)
