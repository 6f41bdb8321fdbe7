"""The composition root: sources and resources to Dagster's ``Definitions``."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from pipeline.runtime import loading

with loading():
    from assets import (
        Webhook,
        alert_sensors,
        check_metrics,
        chosen_executor,
        lost_runs,
        maintenance,
        maintenance_schedule,
        not_loaded,
        resolved,
        source_definitions,
        sync_job,
    )
    from pipeline.config import LoadedSources, load_all
    from pipeline.config.settings import Settings
    from pipeline.errors import ConfigError
    from pipeline.lake.stores.base import check_lake_url
    from resources import deployment_resources

HERE = Path(__file__).resolve().parent
log = logging.getLogger("headrace.definitions")


def build(env: Mapping[str, str]) -> dg.Definitions:
    """All that Dagster loads, from the settings in the environment.

    A source that can't be loaded, or that Dagster refuses, takes down no other: Dagster shows its
    sentence in its place.

    :raises ConfigError: a setting is wrong, or no source can be loaded, or one can't and
        HEADRACE_STRICT is set; one sentence each.
    """
    settings = Settings.read(env)
    check_lake_url(settings.lake)  # a wrong one is an error now, not one of each run
    check_metrics(settings.metrics)
    executor = chosen_executor(settings.executor, settings.executor_config, HERE)
    webhook = Webhook.of(settings.alert_url, settings.alert_form, settings.ui_url)

    def definitions_of(loaded: LoadedSources) -> dg.Definitions:
        return dg.Definitions.merge(
            source_definitions(
                loaded.sources,
                lake_url=settings.lake,
                budget=settings.budget,
                broken=[not_loaded(each) for each in loaded.broken],
            ),
            dg.Definitions(
                jobs=[maintenance, sync_job(loaded.sources)],
                schedules=[maintenance_schedule],
                sensors=[lost_runs, *alert_sensors(webhook)],
                executor=executor,
                resources=deployment_resources(settings),
            ),
        )

    loaded = load_all(tuple(map(_from_here, settings.sources)), env)
    loaded, definitions = resolved(loaded, definitions_of)
    if loaded.broken and (settings.strict or not loaded.sources):
        raise ConfigError(loaded.mistakes)
    for each in loaded.broken:
        log.error("The source `%s` is not loaded: %s", each.name, each.reason)
    return definitions


def _from_here(folder: str) -> str:
    """A relative path is looked for beside this file, whoever starts it, and from where."""
    return folder if Path.cwd() == HERE else str(HERE / folder)


try:
    with loading():
        defs = build(os.environ)
except ConfigError as error:
    # Without the engine's frames: a wrong setting is the user's, and one sentence is enough.
    raise dg.DagsterInvalidDefinitionError(str(error)) from None
