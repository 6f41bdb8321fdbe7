"""Deletions: an optional asset for each endpoint with ``sweep``, of the keys that are gone.

A sweep reads all keys of an endpoint, and records those that are in the lake and no longer in the
source.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.executors import end_with_the_run, run_in_step
from assets.failures import CRASH_RETRIES, end, report_of_error
from assets.heartbeat import heartbeat
from assets.progress import LINE_EVERY_S
from assets.specs import asset_key
from pipeline.config.source import Source
from pipeline.errors import HeadraceError
from pipeline.extract.position import ExtractionProgress
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from resources import ApiResource, LakeResource


def sweep_key(source: Source, endpoint: str) -> dg.AssetKey:
    """``{source}/{endpoint}_gone``."""
    return dg.AssetKey([source.source, f"{endpoint}_gone"])


def source_sweeps(source: Source) -> dg.AssetsDefinition | None:
    """The sweeps of a source; None if none of its endpoints wants one."""
    names = [name for name, endpoint in source.endpoints.items() if endpoint.sweep]
    if not names:
        return None
    specs = [
        dg.AssetSpec(
            sweep_key(source, name),
            deps=[asset_key(source, name)],
            group_name=f"{source.source}_sweeps",
            description=f"Keys of `{name}` that are in the lake, and gone from the API.",
            kinds={"parquet", "s3"},
            skippable=True,
        )
        for name in names
    ]

    @dg.multi_asset(
        name=f"{source.source}_sweeps",
        specs=specs,
        can_subset=True,
        retry_policy=CRASH_RETRIES,
        pool=source.source,  # as the extraction has: a limit for the machine's sake holds for both
    )
    def extract_keys(
        context: dg.AssetExecutionContext, lake: LakeResource, api: ApiResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        end_with_the_run()
        for name in names:
            key = sweep_key(source, name)
            if key not in context.selected_asset_keys or _is_done(context, key):
                continue
            with heartbeat(context):
                try:
                    swept = run_in_step(_sweep(context, source, name, lake, api))
                except HeadraceError as error:
                    end(context, report_of_error(error, context.retry_number + 1))
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "keys_seen": swept.keys_seen,
                    "keys_gone": swept.keys_gone,
                    "keys_back": swept.keys_back,
                    "requests": swept.requests,
                    "swept_at": swept.swept_at.isoformat(),
                },
            )

    return extract_keys


def _is_done(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    """Whether an earlier attempt of this run has done it."""
    latest = context.instance.get_latest_materialization_event(key)
    return latest is not None and latest.run_id == context.run.run_id


async def _sweep(
    context: dg.AssetExecutionContext,
    source: Source,
    name: str,
    lake: LakeResource,
    api: ApiResource,
) -> SweepResult:
    opened, progress = lake.open(), ExtractionProgress()
    async with api.open(source, [name], half_open=context.retry_number > 0) as session:
        run = RunContext(
            source, opened, session.sender, context.run.run_id, lambda: datetime.now(UTC)
        )
        reporting = asyncio.create_task(_report(context, name, progress))
        try:
            return await sweep(run, name, progress)
        finally:
            reporting.cancel()


async def _report(
    context: dg.AssetExecutionContext, name: str, progress: ExtractionProgress
) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        of = f" of {progress.total:,}" if progress.total else ""
        context.log.info(f"{name}: {progress.rows:,}{of} keys read")
