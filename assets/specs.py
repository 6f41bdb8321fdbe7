"""What Dagster shows of an endpoint before it has run: key, group, tags, columns, checks."""

import dagster as dg

from assets.metadata import declared_schema
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source

CHECKS = {
    "integrity": (
        "Read back before the commit: no two rows of a partition have the same key, no key is "
        "null, every row lies in the window; and no row can lie between two pages"
    ),
    "schema": "The columns and their types are those of the partition before",
    "margin": "The latest of the late rows lies well inside the safety margin",
    "coverage": "Every day from the first to the latest committed one is committed",
}
"""A check costs Dagster some 50 ms a run, and a source may have 70 endpoints: few, but telling."""


def asset_key(source: Source, endpoint: str) -> dg.AssetKey:
    """``{source}/{endpoint}``."""
    return dg.AssetKey([source.source, endpoint])


def asset_spec(source: Source, name: str) -> dg.AssetSpec:
    """One endpoint as an asset."""
    endpoint = source.endpoints[name]
    kind = "incremental" if endpoint.incremental else "snapshot"
    return dg.AssetSpec(
        asset_key(source, name),
        group_name=source.source,
        description=endpoint.description or _description(source, name, endpoint),
        kinds={"parquet", "s3"},
        tags={"headrace/kind": kind},
        metadata={
            "dagster/column_schema": declared_schema(endpoint),
            "key": ", ".join(endpoint.key),
            "cursor": endpoint.cursor or "none: read whole",
            "safety_margin_s": source.margin_s(name),
        },
        skippable=True,
    )


def check_specs(source: Source, name: str) -> list[dg.AssetCheckSpec]:
    """The checks of one endpoint; they run in the step that materializes it."""
    return [
        dg.AssetCheckSpec(check, asset=asset_key(source, name), description=text)
        for check, text in CHECKS.items()
        if check != "margin" or source.endpoints[name].incremental
    ]


def _description(source: Source, name: str, endpoint: Endpoint) -> str:
    if endpoint.incremental:
        return f"`{name}` of {source.description or source.source}, by day of `{endpoint.cursor}`."
    return f"`{name}` of {source.description or source.source}, the whole collection each day."
