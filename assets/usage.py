"""The usage of each budget: the last hour of every API key, over all processes that use it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from assets.failures import fail
from assets.progress import requests_over_time
from pipeline.config.source import Source
from pipeline.errors import HeadraceError, counted
from pipeline.ratelimit import Minute
from resources import ApiResource

MINUTE_S = 60.0
_HEAD = "| minute (UTC) | requests | 429 | waited, s |\n|---|---|---|---|\n"


def budget_page(sources: Sequence[Source]) -> dg.AssetsDefinition:
    """The assets ``headrace/budgets/{source}``; materialize one to look.

    One a source, so that the code locations of one deployment don't claim the same asset.
    """
    keys = {
        source.source: dg.AssetKey(["headrace", "budgets", source.source]) for source in sources
    }

    @dg.multi_asset(
        name="headrace_budgets" if len(sources) != 1 else f"headrace_budget_{sources[0].source}",
        specs=[
            dg.AssetSpec(
                key,
                group_name="headrace",
                description="The last hour of the API key: requests, limit, 429s, waits; of all "
                f"processes that use the key of {name}.",
                kinds={"markdown"},
                skippable=True,
            )
            for name, key in keys.items()
        ],
        can_subset=True,
    )
    def budgets(
        context: dg.AssetExecutionContext, api: ApiResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        for source in sources:
            key = keys[source.source]
            if key not in context.selected_asset_keys:
                continue
            try:
                minutes = api.budget.usage(source)
            except HeadraceError as error:
                fail(str(error))
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "requests": sum(minute.requests for minute in minutes),
                    "throttled_429": sum(minute.throttled for minute in minutes),
                    "waited_s": sum(minute.waited_s for minute in minutes),
                    "last_hour": dg.MetadataValue.md(page(source, minutes)),
                },
            )

    return budgets


def page(source: Source, minutes: Sequence[Minute]) -> str:
    """Markdown: the requests of all users of a source's budget in each minute of the last hour."""
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
