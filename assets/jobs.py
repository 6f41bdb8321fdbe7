"""The job of a source, and its schedule: at each tick, the partition that has ended last."""

import dagster as dg

from assets.asset_checks import EACH_RUN
from assets.compat import AssetJob, AssetsWithoutChecks
from assets.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from assets.specs import asset_key
from pipeline.config.source import Schedule, Source
from pipeline.partitions import Calendar, PartitionScheme

MAX_RUN_RETRIES = 2
MOST_PARTITIONS = 7
"""The most partitions that one tick requests. If a schedule was off for longer, the user who turned
it off has to materialize the earlier ones; the check ``coverage`` names them."""
_RUNS = 20
"""How many of a schedule's latest runs are read to find the partition that it requested last."""
PRIORITY = {"dagster/priority": "10"}
"""Scheduled runs leave the queue before those of backfills, which have 0."""


def job_name(source: str, partitions: PartitionScheme) -> str:
    """``{source}_daily``, for partitions of a day."""
    return f"{source}_{partitions.frequency}"


def schedule_name(job: str) -> str:
    """Of the schedule of a job: it stays, so that one that is on goes on."""
    return f"{job}_schedule"


def source_job(source: Source) -> AssetJob:
    """All endpoints of a source, by partition. The daemon retries a run whose process dies."""
    names = [each for name in source.endpoints for each in (name, *source.tables(name))]
    assets = AssetsWithoutChecks(selected_keys=[asset_key(source, name) for name in names])
    checks = [dg.AssetCheckKey(asset_key(source, name), EACH_RUN) for name in source.endpoints]
    return dg.define_asset_job(
        job_name(source.source, source.partitions),
        selection=assets | dg.AssetSelection.checks(*checks),
        description=f"All endpoints of {source.description or source.source}, "
        f"one {source.partitions.noun} or a range",
        tags={"dagster/max_retries": str(MAX_RUN_RETRIES), "headrace/source": source.source},
    )


def source_schedule(source: Source, job: AssetJob) -> dg.ScheduleDefinition:
    """At each tick it requests the partition that has ended last, a day's on the day after.

    Of the ticks that were missed, say while the machine was down, Dagster evaluates only the last
    one: so a tick requests the partitions of all of them, in one run.
    """
    calendar, when = source.calendar, source.schedule
    partitioned = any(source.incremental(name) for name in source.endpoints)
    name = schedule_name(job.name)

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
        if len(due_now) > 1:
            ends = {RANGE_START_TAG: due_now[0], RANGE_END_TAG: ended}
            return dg.RunRequest(run_key=ended, tags=ends | PRIORITY)
        if not partitioned:  # of snapshots alone: Dagster knows no partitions of such a job
            return dg.RunRequest(run_key=ended, tags={PARTITION_TAG: ended} | PRIORITY)
        return dg.RunRequest(run_key=ended, partition_key=ended, tags=PRIORITY)

    return dg.ScheduleDefinition(
        name=name,
        description=f"Requests the {source.partitions.noun} that has ended last, and those of "
        "missed ticks",
        job=job,
        cron_schedule=calendar.scheme.schedule_cron(when.hour, when.minute),
        execution_timezone=source.timezone,
        execution_fn=due,
        default_status=default_status(when),
    )


def default_status(when: Schedule) -> dg.DefaultScheduleStatus:
    """Whether a schedule is on before anybody has switched it."""
    status = dg.DefaultScheduleStatus
    return status.RUNNING if when.running else status.STOPPED


def _last_requested(instance: dg.DagsterInstance, schedule: str, calendar: Calendar) -> str | None:
    """The last partition that the schedule has requested, whatever came of it.

    The latest run need not have it: an old one that a user starts again has the schedule's tag too.
    """
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/schedule_name": schedule}), limit=_RUNS)
    keys = (run.tags.get(PARTITION_TAG) or run.tags.get(RANGE_END_TAG) for run in runs)
    return max((key for key in keys if key and calendar.has(key)), default=None)
