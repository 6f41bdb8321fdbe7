"""All that Dagster has of some sources: assets with their checks, jobs and schedules.

A source that can't be loaded is shown with its sentence, and has a run that fails with it; the
other sources load and run. Its job and its schedule keep their names, their hour, and whether the
schedule is on, so that one that is on goes on: its runs fail with the sentence, and whatever
watches for failed runs reports it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from assets.assets import source_assets
from assets.compat import AssetJob, names_a_partition
from assets.deletions import source_sweeps
from assets.failures import fail
from assets.jobs import (
    default_status,
    job_name,
    schedule_name,
    source_job,
    source_schedule,
)
from assets.specs import api_spec
from assets.usage import budget_page
from pipeline.config import BrokenSource
from pipeline.config.source import Source


@dataclass(frozen=True)
class BrokenDefinitions:
    """The definitions in place of a source's assets, job and schedule."""

    asset: dg.AssetsDefinition
    job: AssetJob
    schedule: dg.ScheduleDefinition


def not_loaded(broken: BrokenSource) -> BrokenDefinitions:
    """The asset ``{source}/not_loaded``, which fails with what is wrong in the YAML."""
    key = dg.AssetKey([broken.name, "not_loaded"])
    text = (
        f"The source `{broken.name}` is not loaded, and none of its assets are here. "
        "Correct what is said below, then reload the code location.\n\n"
        f"```\n{broken.reason}\n```"
    )

    @dg.asset(
        key=key,
        group_name=broken.name,
        description=text,
        kinds={"error"},
        tags={"headrace/not_loaded": "true"},
        metadata={"error": dg.MetadataValue.md(text)},
    )
    def source_is_not_loaded() -> None:
        fail(f"The source `{broken.name}` is not loaded:\n{broken.reason}")

    job = dg.define_asset_job(
        job_name(broken.name, broken.partitions),
        selection=dg.AssetSelection.assets(key),
        description=text,
        tags={"headrace/source": broken.name},
    )
    when = broken.schedule
    schedule = dg.ScheduleDefinition(
        name=schedule_name(job.name),
        job=job,
        cron_schedule=broken.partitions.schedule_cron(when.hour, when.minute),
        execution_timezone=broken.timezone,
        default_status=default_status(when),
        description=text,
    )
    return BrokenDefinitions(source_is_not_loaded, job, schedule)


def source_definitions(
    sources: Sequence[Source],
    *,
    lake_url: str,
    budget: str | None,
    broken: Sequence[BrokenDefinitions] = (),
) -> dg.Definitions:
    """The definitions of sources, without the resources that they need: ``lake`` and ``api``.

    :param budget: where budgets are shared; None: a folder of each machine's own.
    :param broken: what stands in place of sources that can't be loaded.
    """
    jobs = {source.source: source_job(source) for source in sources}
    sweeps = [source_sweeps(source) for source in sources]
    by_partition = names_a_partition(sys.argv)
    own = [source for source in sources if source.lanes is None]
    settings = {"HEADRACE_LAKE": lake_url, "HEADRACE_BUDGET": budget or ""}
    return dg.Definitions(
        assets=[
            *(
                source_assets(
                    source,
                    lake_url=lake_url,
                    snapshots_by_partition=by_partition,
                    settings=settings,
                )
                for source in sources
            ),
            *(api_spec(source) for source in sources),
            *filter(None, sweeps),
            *(each.asset for each in broken),
            *([budget_page(own)] if own else []),
        ],
        jobs=[*jobs.values(), *(each.job for each in broken)],
        schedules=[
            *(source_schedule(source, jobs[source.source]) for source in sources),
            *(each.schedule for each in broken),
        ],
    )
