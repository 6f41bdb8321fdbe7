"""The maintenance job: finds what dead runs left in the lake, and on request removes it. Names the
committed files that are damaged.

A run cleans up after the attempts before it; this is for partitions that are never requested again.
"""

import time
from collections.abc import Callable

import dagster as dg
from pydantic import Field

from assets.executors import end_with_the_run
from assets.failures import CRASH_RETRIES, end, report_of_error
from assets.heartbeat import heartbeat
from pipeline.errors import HeadraceError
from pipeline.lake.damage import mend
from pipeline.lake.maintenance import clean
from resources import LakeResource

_MOST_LISTED = 200
_HOUR_S = 3600.0
_LINE_EVERY_S = 5.0


class MaintenanceConfig(dg.Config):
    """The config of the maintenance job."""

    older_than_s: float = Field(
        72 * _HOUR_S, description="what is younger stays: more seconds than any run is silent for"
    )
    dry_run: bool = Field(True, description="only report")
    source: str = Field("", description="one source; empty: all")


@dg.op(retry_policy=CRASH_RETRIES)
def clean_lake(
    context: dg.OpExecutionContext, config: MaintenanceConfig, lake: LakeResource
) -> None:
    """Unfinished uploads, orphaned files, stale checkpoints, commits that were cut off."""
    end_with_the_run()
    with heartbeat(context):
        try:
            report = clean(
                lake.open(),
                older_than_s=config.older_than_s,
                dry_run=config.dry_run,
                source=config.source or None,
                on_endpoint=_progress(context.log.info),
            )
        except HeadraceError as error:
            end(context, report_of_error(error, context.retry_number + 1))
    outcome = "found (dry run: nothing removed)" if report.dry_run else "removed"
    for each in report.leftovers[:_MOST_LISTED]:
        context.log.info(f"{outcome}: {each.kind} {each.key}, {each.age_s / _HOUR_S:.1f} h old")
    for sentence in [*report.refused, *map(mend, report.damaged)][:_MOST_LISTED]:
        context.log.warning(sentence)
    if report.refused:
        context.log.warning(
            "nothing was removed of the endpoints whose manifests can't be believed"
        )
    context.log.info(f"{len(report.leftovers)} leftovers {outcome}, {report.bytes:,} bytes")
    context.add_output_metadata(
        {
            "left_over": len(report.leftovers),
            "bytes": report.bytes,
            "dry_run": report.dry_run,
            "damaged": len(report.damaged),
            "refused": len(report.refused),
        }
    )


def _progress(log: Callable[[str], None]) -> Callable[[str, int], None]:
    """Logs how many endpoints are done: the first and the last one, and every few seconds."""
    count, logged_at = 0, 0.0

    def on_endpoint(name: str, of: int) -> None:
        nonlocal count, logged_at
        count += 1
        now = time.monotonic()
        if count in {1, of} or now - logged_at >= _LINE_EVERY_S:
            logged_at = now
            log(f"{count:,} of {of:,} endpoints looked at, now {name}")

    return on_endpoint


@dg.job(description="Find, and on request remove, what dead runs left in the lake")
def maintenance() -> None:
    clean_lake()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_weekly",
    job=maintenance,
    cron_schedule="0 4 * * 0",
    description="Every week; with dry_run: false in its run config it removes what it finds",
)
