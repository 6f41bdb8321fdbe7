"""The usage of each budget: the last hour of every API key, over all processes that use it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from assets.failures import fail
from assets.progress import counted, requests_over_time
from pipeline.config.source import Source
from pipeline.errors import HeadraceError
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
                metadata[source.source] = dg.MetadataValue.md(page(source, api))
            except HeadraceError as error:
                fail(str(error))
        return dg.MaterializeResult(metadata=metadata)

    return budgets


def page(source: Source, api: ApiResource) -> str:
    """Markdown: the requests of all users of a source's budget in each minute of the last hour."""
    minutes = api.budget.usage(source)
    requests = sum(minute.requests for minute in minutes)
    throttled = sum(minute.throttled for minute in minutes)
    waited_s = sum(minute.waited_s for minute in minutes)
    sends = [(minute.at, minute.requests) for minute in minutes]
    plot = requests_over_time(sends, MINUTE_S, source.limits.rate_per_s)
    busy = [minute for minute in minutes if minute.throttled or minute.waited_s >= 1]
    rows = [
        f"| {datetime.fromtimestamp(m.at, UTC):%H:%M} | {m.requests:,} | {m.throttled:,} "
        f"| {m.waited_s:,.0f} |\n"
        for m in busy
    ]
    return (
        f"{counted(requests, 'request')} in the last hour, {throttled:,} with status 429, "
        f"{waited_s:,.0f} s waited for send slots, over all processes\n\n{plot}"
        + (f"\n\n{_HEAD}{''.join(rows)}" if rows else "")
    )
