"""A source that can't be loaded, as Dagster shows it: its sentence, and a run that fails with it.

The other sources load and run. The job and its schedule keep their names, their hour, and whether
the schedule is on, so that one that is on goes on: its runs fail with the sentence, and whatever
watches for failed runs reports it.
"""

from dataclasses import dataclass

import dagster as dg

from assets.compat import AssetJob
from assets.failures import fail
from assets.schedules import default_status
from pipeline.config import BrokenSource


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
        f"{broken.name}_{broken.partitions.frequency}",
        selection=dg.AssetSelection.assets(key),
        description=text,
        tags={"headrace/source": broken.name},
    )
    when = broken.schedule
    schedule = dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=broken.partitions.schedule_cron(when.hour, when.minute),
        execution_timezone=broken.timezone,
        default_status=default_status(when),
        description=text,
    )
    return BrokenDefinitions(source_is_not_loaded, job, schedule)
