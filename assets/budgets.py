"""A page for each budget: the last hour of every API key, over all processes that use it."""

from collections.abc import Sequence

import dagster as dg

from assets.plot import requests_over_time
from pipeline.errors import HeadraceError
from pipeline.spec.source import Source
from resources import ApiResource

MINUTE_S = 60.0


def budget_page(sources: Sequence[Source]) -> dg.AssetsDefinition:
    """The asset ``headrace/budgets``; materialize it to look."""

    @dg.asset(
        key=["headrace", "budgets"],
        group_name="headrace",
        description="Requests of the last hour against each API key's limit, by all processes.",
        kinds={"markdown"},
    )
    def budgets(api: ApiResource) -> dg.MaterializeResult[None]:
        metadata: dict[str, dg.MetadataValue] = {}
        for source in sources:
            try:
                metadata[source.source] = dg.MetadataValue.md(_page(source, api))
            except HeadraceError as error:
                raise dg.Failure(str(error), allow_retries=False) from None
        return dg.MaterializeResult(metadata=metadata)

    return budgets


def _page(source: Source, api: ApiResource) -> str:
    minutes = api.budget.usage(source)
    requests = sum(count for _, count in minutes)
    per_s = [window.requests / window.per_s for window in source.limits.windows]
    limit = min(per_s, default=0.0)
    plot = requests_over_time(minutes, MINUTE_S, limit)
    return f"{requests:,} requests in the last hour\n\n{plot}"
