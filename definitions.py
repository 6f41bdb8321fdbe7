"""The composition root: sources and resources to Dagster's ``Definitions``."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster_aws.s3 import S3Resource

from assets import (
    Webhook,
    alert_sensors,
    api_spec,
    budget_page,
    chosen_executor,
    fresh_by_policy,
    lost_runs,
    maintenance,
    maintenance_schedule,
    names_a_partition,
    not_loaded,
    source_assets,
    source_job,
    source_schedule,
    source_sweeps,
    sync_job,
)
from pipeline.config import load_all
from pipeline.config.settings import Settings
from pipeline.errors import ConfigError
from pipeline.lake.stores.base import check_lake_url
from resources import ApiResource, BudgetResource, LakeResource
from resources.budget import default_budget_folder

HERE = Path(__file__).resolve().parent
log = logging.getLogger("headrace.definitions")


def build(env: Mapping[str, str]) -> dg.Definitions:
    """All that Dagster loads, from the settings in the environment.

    A source that can't be loaded takes down no other: Dagster shows its sentence in its place.

    :raises ConfigError: a setting is wrong, or no source can be loaded, or one can't and
        HEADRACE_STRICT is set; one sentence each.
    """
    settings = Settings.read(env)
    check_lake_url(settings.lake)  # a wrong one is an error now, not one of each run
    loaded = load_all(tuple(map(_from_here, settings.sources)), env)
    if loaded.broken and (settings.strict or not loaded.sources):
        raise ConfigError(loaded.mistakes)
    for each in loaded.broken:
        log.error("The source `%s` is not loaded: %s", each.name, each.reason)
    sources, broken = loaded.sources, [not_loaded(each) for each in loaded.broken]
    jobs = {source.source: source_job(source) for source in sources}
    sweeps = [source_sweeps(source) for source in sources]
    webhook = Webhook.of(settings.alert_url, settings.alert_form, settings.ui_url)
    budget = BudgetResource(where=settings.budget or default_budget_folder())
    return dg.Definitions(
        assets=[
            *(
                source_assets(
                    source,
                    lake_url=settings.lake,
                    snapshots_by_partition=names_a_partition(sys.argv),
                )
                for source in sources
            ),
            *(api_spec(source) for source in sources),
            *filter(None, sweeps),
            *(each.asset for each in broken),
            budget_page([source for source in sources if source.lanes is None]),
        ],
        jobs=[*jobs.values(), *(each.job for each in broken), maintenance, sync_job(sources)],
        schedules=[
            *(source_schedule(source, jobs[source.source]) for source in sources),
            *(each.schedule for each in broken),
            maintenance_schedule,
        ],
        sensors=[lost_runs, *alert_sensors(webhook, fresh_by_policy(sources))],
        executor=chosen_executor(settings.executor, settings.executor_config, HERE),
        resources={
            "lake": LakeResource(url=settings.lake, s3=S3Resource()),
            "api": ApiResource(budget=budget, cache=settings.cache),
        },
    )


def _from_here(folder: str) -> str:
    """A relative path is looked for beside this file, whoever starts it, and from where."""
    return folder if Path.cwd() == HERE else str(HERE / folder)


try:
    defs = build(os.environ)
except ConfigError as error:
    # Without the engine's frames: a wrong setting is the user's, and one sentence is enough.
    raise dg.DagsterInvalidDefinitionError(str(error)) from None
