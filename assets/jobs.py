"""The daily job of a source, and its schedule."""

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipeline.spec.source import Source

if TYPE_CHECKING:
    # What ``define_asset_job`` returns has no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

MAX_RUN_RETRIES = 2


def source_job(source: Source) -> "UnresolvedAssetJobDefinition":
    """All endpoints of a source, by day. A run whose process dies is run again by the daemon."""
    return dg.define_asset_job(
        f"{source.source}_daily",
        selection=dg.AssetSelection.groups(source.source),
        description=f"All endpoints of {source.description or source.source}, one day or a range",
        tags={"dagster/max_retries": str(MAX_RUN_RETRIES), "headrace/source": source.source},
    )


def source_schedule(source: Source, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Every day, the day before: its partition is complete then."""
    when = source.schedule

    def yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        local = context.scheduled_execution_time.astimezone(source.zone)
        day = local.date() - timedelta(days=1)
        if day < source.start:
            return dg.SkipReason(f"{day} lies before the source's start, {source.start}")
        return dg.RunRequest(run_key=day.isoformat(), partition_key=day.isoformat())

    return dg.ScheduleDefinition(
        name=f"{source.source}_daily_schedule",
        description="Materializes the day before, which is complete then",
        job=job,
        cron_schedule=f"{when.minute} {when.hour} * * *",
        execution_timezone=source.timezone,
        execution_fn=yesterday,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if when.running
        else dg.DefaultScheduleStatus.STOPPED,
    )
