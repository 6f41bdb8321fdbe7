"""The job of a source, which its schedule runs."""

import dagster as dg

from assets.compat import AssetJob
from pipeline.config.source import Source

MAX_RUN_RETRIES = 2


def job_name(source: Source) -> str:
    """``{source}_daily``, for partitions of a day."""
    return f"{source.source}_{source.partitions.frequency}"


def source_job(source: Source) -> AssetJob:
    """All endpoints of a source, by partition. The daemon retries a run whose process dies."""
    return dg.define_asset_job(
        job_name(source),
        selection=dg.AssetSelection.groups(source.source),
        description=f"All endpoints of {source.description or source.source}, "
        f"one {source.partitions.noun} or a range",
        tags={"dagster/max_retries": str(MAX_RUN_RETRIES), "headrace/source": source.source},
    )
