"""The API clients. One session serves a whole step: one event loop, one client, one budget."""

from contextlib import AbstractAsyncContextManager

import dagster as dg

from pipeline.client.client import Client, open_client
from pipeline.spec.source import Source
from resources.budget import BudgetResource


class ApiResource(dg.ConfigurableResource["ApiResource"]):
    """Opens clients whose requests all go through the shared budget.

    A resource holds configuration only: Dagster sets it up without an event loop, so that the HTTP
    client is opened inside the run's loop, by ``async with api.session(source) as client``.
    ``cache`` is the folder of cached answers; without one they are in the process's memory.
    """

    budget: dg.ResourceDependency[BudgetResource]
    cache: str | None = None

    def session(
        self, source: Source, *, half_open: bool = False, share: float = 1.0
    ) -> AbstractAsyncContextManager[Client]:
        """:param half_open: the try before ended since the API was down: begin with one request."""
        return open_client(source, self.budget.open(source, share=share), half_open=half_open)
