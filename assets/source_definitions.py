"""All that Dagster has of some sources: assets with their checks, jobs and schedules."""

import sys
from collections.abc import Sequence

import dagster as dg

from assets.assets import source_assets
from assets.compat import names_a_partition
from assets.deletions import source_sweeps
from assets.jobs import source_job
from assets.not_loaded import BrokenDefinitions
from assets.schedules import source_schedule
from assets.specs import api_spec
from assets.usage import budget_page
from pipeline.config.source import Source


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
    return dg.Definitions(
        assets=[
            *(
                source_assets(
                    source,
                    lake_url=lake_url,
                    snapshots_by_partition=by_partition,
                    settings={"HEADRACE_LAKE": lake_url, "HEADRACE_BUDGET": budget or ""},
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
