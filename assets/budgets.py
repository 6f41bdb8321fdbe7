"""A page for each budget: the last hour of every API key, over all processes that use it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from assets.ending import fail
from assets.plot import requests_over_time
from pipeline.errors import HeadraceError
from pipeline.spec.source import Source
from resources import ApiResource

MINUTE_S = 60.0
_HEAD = "| minute (UTC) | requests | 429 | waited, s |\n|---|---|---|---|\n"


def budget_page(sources: Sequence[Source]) -> dg.AssetsDefinition:
    """The asset ``headrace/budgets``; materialize it to look."""

    @dg.asset(
        key=["headrace", "budgets"],
        group_name="headrace",
        description="The last hour of each API key: requests, limit, 429s, waits; all processes.",
        kinds={"markdown"},
    )
    def budgets(api: ApiResource) -> dg.MaterializeResult[None]:
        metadata: dict[str, dg.MetadataValue] = {}
        for source in sources:
            try:
                metadata[source.source] = dg.MetadataValue.md(_page(source, api))
            except HeadraceError as error:
                fail(str(error))
        return dg.MaterializeResult(metadata=metadata)

    return budgets


def _page(source: Source, api: ApiResource) -> str:
    minutes = api.budget.usage(source)
    requests = sum(minute.requests for minute in minutes)
    per_s = [window.requests / window.per_s for window in source.limits.windows]
    limit = min(per_s, default=0.0)
    plot = requests_over_time([(m.at, m.requests) for m in minutes], MINUTE_S, limit)
    busy = [minute for minute in minutes if minute.throttled or minute.waited_s >= 1]
    rows = [
        f"| {datetime.fromtimestamp(m.at, UTC):%H:%M} | {m.requests:,} | {m.throttled:,} "
        f"| {m.waited_s:,.0f} |\n"
        for m in busy
    ]
    return (
        f"{requests:,} requests in the last hour, {sum(m.throttled for m in minutes):,} times 429, "
        f"{sum(m.waited_s for m in minutes):,.0f} s waited for slots, over all processes\n\n{plot}"
        + (f"\n\n{_HEAD}{''.join(rows)}" if rows else "")
    )
