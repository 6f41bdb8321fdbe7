"""The API clients. One session serves a whole step: one event loop, one client, one budget."""

from contextlib import AbstractAsyncContextManager

import dagster as dg
from pydantic import Field

from pipeline.config.source import Source
from pipeline.http.client import Client, open_client
from resources.budget import BudgetResource


class ApiResource(dg.ConfigurableResource["ApiResource"]):
    """Opens clients whose requests all go through the shared budget.

    A resource holds configuration only: Dagster sets it up without an event loop, so the HTTP
    client is opened inside the run's loop, by ``async with api.session(source) as client``.
    """

    budget: dg.ResourceDependency[BudgetResource]
    cache: str | None = Field(
        default=None, description="the folder of cached responses; without one they are in memory"
    )

    def session(
        self, source: Source, *, half_open: bool = False, share: float = 1.0
    ) -> AbstractAsyncContextManager[Client]:
        """A client of the source's API, to be entered inside the run's event loop.

        :param half_open: the attempt before ended since the API was down: begin with one request.
        :param share: the part of the budget that this run may take.
        """
        return open_client(source, self.budget.open(source, share=share), half_open=half_open)
