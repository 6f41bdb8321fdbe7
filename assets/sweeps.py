"""Sweeps: an optional asset for each endpoint that wants one, of the keys that are gone."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets import verdict
from assets.ending import end
from assets.executor import end_with_the_run
from assets.specs import asset_key
from pipeline.client.packing import packed
from pipeline.errors import HeadraceError
from pipeline.extract.chains import Tally
from pipeline.run.staged import Run
from pipeline.run.sweep import Swept, sweep
from pipeline.spec.source import Source
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

    @dg.multi_asset(name=f"{source.source}_sweeps", specs=specs, can_subset=True)
    def extract_keys(
        context: dg.AssetExecutionContext, lake: LakeResource, api: ApiResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        end_with_the_run()
        wanted = [n for n in names if sweep_key(source, n) in context.selected_asset_keys]
        try:
            found = asyncio.run(_sweep(context, source, wanted, lake, api))
        except HeadraceError as error:
            end(context, verdict.of_error(error, context.retry_number + 1))
        for swept in found:
            yield dg.MaterializeResult(
                asset_key=sweep_key(source, swept.endpoint),
                metadata={
                    "keys_seen": swept.keys_seen,
                    "keys_gone": swept.keys_gone,
                    "requests": swept.requests,
                    "swept_at": swept.swept_at.isoformat(),
                },
            )

    return extract_keys


async def _sweep(
    context: dg.AssetExecutionContext,
    source: Source,
    names: list[str],
    lake: LakeResource,
    api: ApiResource,
) -> list[Swept]:
    opened = lake.open()
    async with api.session(source) as client, packed(client, source) as sender:
        run = Run(source, opened, sender, context.run_id, lambda: datetime.now(UTC))
        return [await sweep(run, name, Tally()) for name in names]
