"""The schedule of a source: at each tick, the partition that has ended last."""

import dagster as dg

from assets.compat import AssetJob
from assets.jobs import job_name
from pipeline.config.source import Source
from pipeline.partitions import Calendar

MOST_PARTITIONS = 7
"""Partitions that one tick requests. If a schedule was off for longer, those before are left to
the user who turned it off; the check ``coverage`` names them."""
_RUNS = 20
"""How many of a schedule's latest runs are read, to find one that its last tick requested."""
_PARTITION = "dagster/partition"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


def source_schedule(source: Source, job: AssetJob) -> dg.ScheduleDefinition:
    """At each tick it requests the partition that has ended last, a day's on the day after.

    Of the ticks that were missed, say while the machine was down, Dagster evaluates only the last
    one: so a tick requests the partitions of all of them, in one run.
    """
    calendar, when = source.calendar, source.schedule
    name = f"{job_name(source)}_schedule"

    def due(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        running = calendar.of(context.scheduled_execution_time)
        ended = calendar.previous(running)
        if ended is None:
            return dg.SkipReason(
                f"The partition before {running} lies before the source's start, {source.start}"
            )
        last = _last_requested(context.instance, name, calendar)
        missed = calendar.between(calendar.next(last), ended) if last else []
        missed = [key for key in missed if key >= calendar.first]
        due_now = missed[-MOST_PARTITIONS:] or [ended]
        if len(due_now) == 1:
            return dg.RunRequest(run_key=ended, partition_key=ended)
        ends = {_RANGE_START: due_now[0], _RANGE_END: ended}
        return dg.RunRequest(run_key=ended, tags=ends)

    return dg.ScheduleDefinition(
        name=name,
        description="The partition that has ended last, and those of missed ticks",
        job=job,
        cron_schedule=calendar.scheme.schedule_cron(when.hour, when.minute),
        execution_timezone=source.timezone,
        execution_fn=due,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if when.running
        else dg.DefaultScheduleStatus.STOPPED,
    )


def _last_requested(instance: dg.DagsterInstance, schedule: str, calendar: Calendar) -> str | None:
    """The last partition that the schedule has requested, whatever came of it.

    The latest run need not have it: an old one that a user starts again has the schedule's tag too.
    """
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/schedule_name": schedule}), limit=_RUNS)
    keys = (run.tags.get(_PARTITION) or run.tags.get(_RANGE_END) for run in runs)
    return max((key for key in keys if key and calendar.has(key)), default=None)
