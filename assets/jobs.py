"""The daily job of a source, and its schedule."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipeline.config.source import Source

if TYPE_CHECKING:
    # What ``define_asset_job`` returns has no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

MAX_RUN_RETRIES = 2
MOST_DAYS = 7
"""Days that one tick asks for. If a schedule was off for longer, the days before are left to
whoever turned it off; the check ``coverage`` names them."""
_RUNS = 20
"""How many of a schedule's latest runs to look at, to find one that its last tick asked for."""
_PARTITION = "dagster/partition"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


def source_job(source: Source) -> "UnresolvedAssetJobDefinition":
    """All endpoints of a source, by day. A run whose process dies is run again by the daemon."""
    return dg.define_asset_job(
        f"{source.source}_daily",
        selection=dg.AssetSelection.groups(source.source),
        description=f"All endpoints of {source.description or source.source}, one day or a range",
        tags={"dagster/max_retries": str(MAX_RUN_RETRIES), "headrace/source": source.source},
    )


def source_schedule(source: Source, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Each day it asks for the day before, whose partition is complete then.

    Of the ticks that were missed, say while the machine was down, Dagster evaluates only the last
    one: so a tick asks for the days of all of them, in one run.
    """
    when, name = source.schedule, f"{source.source}_daily_schedule"

    def due(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        local = context.scheduled_execution_time.astimezone(source.zone)
        day = local.date() - timedelta(days=1)
        if day < source.start:
            return dg.SkipReason(f"{day} lies before the source's start, {source.start}")
        last = _last_asked_for(context.instance, name) or day
        first = max(last + timedelta(days=1), day - timedelta(days=MOST_DAYS - 1), source.start)
        if first >= day:
            return dg.RunRequest(run_key=day.isoformat(), partition_key=day.isoformat())
        days = {_RANGE_START: first.isoformat(), _RANGE_END: day.isoformat()}
        return dg.RunRequest(run_key=day.isoformat(), tags=days)

    return dg.ScheduleDefinition(
        name=name,
        description="The day before, which is complete then, and the days of missed ticks",
        job=job,
        cron_schedule=f"{when.minute} {when.hour} * * *",
        execution_timezone=source.timezone,
        execution_fn=due,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if when.running
        else dg.DefaultScheduleStatus.STOPPED,
    )


def _last_asked_for(instance: dg.DagsterInstance, schedule: str) -> date | None:
    """The last day that the schedule has asked for, whatever came of it.

    The latest run need not have it: an old one that a user starts again has the schedule's tag too.
    """
    asked = dg.RunsFilter(tags={"dagster/schedule_name": schedule})
    runs = instance.get_runs(asked, limit=_RUNS)
    days = (run.tags.get(_PARTITION) or run.tags.get(_RANGE_END) for run in runs)
    return max((date.fromisoformat(day) for day in days if day), default=None)
