"""What Dagster shows of an endpoint, before it has run too: key, group, tags, columns."""

import dagster as dg

from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.types import parse_type, type_text
from pipeline.lake.manifest import Manifest


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
            "key": ", ".join(endpoint.key) or "none: rows are not told apart",
            "cursor": endpoint.cursor or "none: read whole",
            "safety_margin_s": source.margin_s(name),
        },
        skippable=True,
    )


def column_schema(manifest: Manifest, endpoint: Endpoint) -> dg.TableSchema:
    """The columns as they landed, with what the YAML says of them."""
    return dg.TableSchema([column(endpoint, c["name"], c["type"]) for c in manifest.columns])


def declared_schema(endpoint: Endpoint) -> dg.TableSchema:
    """The columns that the YAML names: all that is known before the first materialization."""
    typed = {name: parse_type(spec.type).arrow for name, spec in endpoint.columns.items()}
    return dg.TableSchema([column(endpoint, name, type_text(t)) for name, t in typed.items()])


def column(endpoint: Endpoint, name: str, type_name: str) -> dg.TableColumn:
    """One column. Those of the key are never null."""
    spec = endpoint.columns.get(name)
    return dg.TableColumn(
        name,
        type_name,
        description=spec.description if spec else None,
        constraints=dg.TableColumnConstraints(
            nullable=name not in endpoint.key and (spec is None or spec.nullable),
            unique=endpoint.key == (name,),
        ),
    )


def _description(source: Source, name: str, endpoint: Endpoint) -> str:
    of = source.description or source.source
    if endpoint.incremental:
        return f"`{name}` of {of}, by {source.partitions.noun} of `{endpoint.cursor}`."
    return f"`{name}` of {of}, the whole collection each {source.partitions.noun}."
