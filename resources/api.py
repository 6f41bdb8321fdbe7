"""The API clients. One session serves a whole step: one event loop, one client, one budget."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import dagster as dg
from pydantic import Field

from pipeline.config.source import Source
from pipeline.extract.fan_out import PartitionValue
from pipeline.http.cache import cached
from pipeline.http.client import Client, open_client
from pipeline.http.request_batching import batching
from pipeline.lanes import LaneSender, lanes_of, open_lanes, values_of_lanes
from pipeline.messages import Sender
from resources.budget import BudgetResource

ApiClient = Client | LaneSender
"""What tells how a run's requests go: of one API, or of the lanes of AWS."""


@dataclass(frozen=True)
class OpenApi:
    """An API that a run may send to, while its session is open.

    :ivar client: tells what was used of the budget, and whether the API is up.
    :ivar values: of endpoints that are read in lanes: the lanes that were found.
    :ivar lanes: is passed before a lane is read; None: the source has none.
    """

    client: ApiClient
    sender: Sender
    values: Mapping[str, tuple[PartitionValue, ...]] = field(default_factory=dict)
    lanes: asyncio.Semaphore | None = None


class ApiResource(dg.ConfigurableResource["ApiResource"]):
    """Opens clients whose requests all go through the shared budget.

    A resource holds configuration only: Dagster sets it up without an event loop, so the HTTP
    client is opened inside the run's loop, by ``async with api.session(source) as client``.
    """

    budget: dg.ResourceDependency[BudgetResource]
    cache: str | None = Field(
        default=None, description="the folder of cached responses; without one they are in memory"
    )
    metrics: str | None = Field(
        default=None, description="`otlp`: export a step's counters by OpenTelemetry"
    )

    def session(
        self, source: Source, *, half_open: bool = False, share: float = 1.0
    ) -> AbstractAsyncContextManager[Client]:
        """A client of the source's API, to be entered inside the run's event loop.

        :param half_open: the attempt before ended since the API was down: begin with one request.
        :param share: the part of the budget that this run may take.
        """
        return open_client(source, self.budget.open(source, share=share), half_open=half_open)

    @asynccontextmanager
    async def sending(
        self,
        source: Source,
        endpoints: Sequence[str],
        *,
        half_open: bool = False,
        share: float = 1.0,
    ) -> AsyncIterator[OpenApi]:
        """All that a run of some endpoints needs to send, open as long as the ``async with``.

        :raises HeadraceError: the accounts of a source that is read in lanes can't be listed.
        """
        if source.lanes is not None:
            async with open_lanes(source, lambda of: self.budget.open(of, share=share)) as lanes:
                values = await _values(source, endpoints, lanes)
                at_once = asyncio.Semaphore(source.lanes.limits.lanes_at_once)
                yield OpenApi(lanes, lanes, values, at_once)
            return
        async with (
            self.session(source, half_open=half_open, share=share) as client,
            batching(client, source) as packer,
            cached(client, packer, source, self.cache) as sender,
        ):
            yield OpenApi(client, sender)


async def _values(
    source: Source, endpoints: Sequence[str], sender: LaneSender
) -> Mapping[str, tuple[PartitionValue, ...]]:
    """The lanes, if one of the endpoints is read in them: others go by committed rows."""
    each = (source.endpoints[name].each for name in endpoints)
    if not any(of is not None and of.found_in_run for of in each):
        return {}
    return values_of_lanes(source, await lanes_of(sender), sender.sessions.own_account)
