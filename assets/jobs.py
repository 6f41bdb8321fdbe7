"""The job of a source, which its schedule runs."""

import dagster as dg

from assets.asset_checks import EACH_RUN
from assets.compat import AssetJob
from assets.specs import asset_key
from pipeline.config.source import Source

MAX_RUN_RETRIES = 2


def job_name(source: Source) -> str:
    """``{source}_daily``, for partitions of a day."""
    return f"{source.source}_{source.partitions.frequency}"


def source_job(source: Source) -> AssetJob:
    """All endpoints of a source, by partition. The daemon retries a run whose process dies."""
    names = [each for name in source.endpoints for each in (name, *source.tables(name))]
    assets = dg.AssetSelection.assets(*(asset_key(source, name) for name in names))
    checks = [dg.AssetCheckKey(asset_key(source, name), EACH_RUN) for name in source.endpoints]
    return dg.define_asset_job(
        job_name(source),
        selection=assets.without_checks() | dg.AssetSelection.checks(*checks),
        description=f"All endpoints of {source.description or source.source}, "
        f"one {source.partitions.noun} or a range",
        tags={"dagster/max_retries": str(MAX_RUN_RETRIES), "headrace/source": source.source},
    )
