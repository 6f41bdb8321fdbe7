"""The asset of a source, a subsettable multi-asset: all endpoints in one step, process and budget.

A Dagster process costs seconds before it does anything, and one process can use a whole quota.
"""

import warnings
from collections.abc import Iterator, Mapping

import dagster as dg

from assets.asset_checks import check_specs, checks_alone
from assets.compat import BackfillPolicy, kept_connections
from assets.executors import end_with_the_run
from assets.failures import CRASH_RETRIES
from assets.heartbeat import heartbeat
from assets.settings_digests import TAG, other_settings, settings_tag
from assets.specs import asset_spec, table_spec
from assets.step import Step
from pipeline.config.source import Source
from resources import ApiResource, LakeResource


def source_assets(
    source: Source,
    *,
    lake_url: str | None = None,
    snapshots_by_partition: bool = False,
    settings: Mapping[str, str] | None = None,
) -> dg.AssetsDefinition:
    """The assets ``{source}/{endpoint}`` with their checks.

    :param lake_url: where the lake is, for Dagster to show.
    :param snapshots_by_partition: a command names the partition of a snapshot, which has none for
        Dagster otherwise.
    """
    names = list(source.endpoints)
    with warnings.catch_warnings():  # two of them for each endpoint would hide all others
        warnings.simplefilter("ignore", dg.BetaWarning)
        specs = [
            asset_spec(source, name, lake_url=lake_url, by_partition=snapshots_by_partition)
            for name in names
        ]
        tables = [
            table_spec(source, table, spec, lake_url)
            for name, spec in zip(names, specs, strict=True)
            for table in source.tables(name)
        ]

    @dg.multi_asset(
        name=f"{source.source}_extract",  # with an end of its own: `meta`, `type` are Dagster's
        specs=[*specs, *tables],
        check_specs=[check for name in names for check in check_specs(source, name)],
        can_subset=True,
        backfill_policy=BackfillPolicy(source.partitions_per_run),
        retry_policy=CRASH_RETRIES,
        op_tags={
            "headrace/source": source.source,
            TAG: settings_tag(source, settings or {}),
        },
        pool=source.source,
    )
    def extract(
        context: dg.AssetExecutionContext, lake: LakeResource, api: ApiResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        end_with_the_run()
        with kept_connections(context.instance), heartbeat(context):
            if warning := other_settings(context):
                context.log.warning(warning)
            if context.selected_asset_keys:
                yield from Step(context, source, lake, api).results()
            yield from checks_alone(context, source, lake)

    return extract
