"""The spec of an endpoint's asset: key, group, tags, columns, lineage; also before a run."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from assets.partitions import partitions_of
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Freshness, Source
from pipeline.decode.types import parse_type, type_text
from pipeline.lake.manifest import Manifest

_DAY_MINUTES = 24 * 60


def asset_key(source: Source, endpoint: str) -> dg.AssetKey:
    """``{source}/{endpoint}``; of a child table ``{source}/{endpoint}/{table}``."""
    return dg.AssetKey([source.source, *endpoint.split("/")])


def endpoints_of(source: Source, keys: Collection[dg.AssetKey]) -> list[str]:
    """The endpoints that have to be read to materialize these assets. A child table is filled from
    the rows of its endpoint."""
    return [
        name
        for name in source.endpoints
        if any(asset_key(source, each) in keys for each in (name, *source.tables(name)))
    ]


def api_key(source: Source) -> dg.AssetKey:
    """``{source}/api``: the API itself, at the root of the graph."""
    return dg.AssetKey([source.source, "_api" if "api" in source.endpoints else "api"])


def api_spec(source: Source) -> dg.AssetSpec:
    """The API as an asset that Dagster does not materialize."""
    return dg.AssetSpec(
        api_key(source),
        group_name=source.source,
        description=source.description or f"The API at {source.shown_url}",
        kinds={"aws" if source.lanes else "rest"},
        owners=source.owners,
        tags=dict(source.tags),
        metadata={"dagster/uri": source.shown_url},
    )


def asset_spec(
    source: Source, name: str, *, lake_url: str | None = None, by_partition: bool = False
) -> dg.AssetSpec:
    """An endpoint as an asset.

    :param lake_url: where the lake is, to show where the files are.
    :param by_partition: a snapshot has partitions too.
    """
    endpoint = source.endpoints[name]
    kind = "incremental" if source.incremental(name) else "snapshot"
    return dg.AssetSpec(
        asset_key(source, name),
        deps=_upstream(source, name),
        group_name=source.source,
        description=endpoint.description or _description(source, name),
        kinds={"parquet", "s3"},
        owners=source.owners,
        tags={**source.tags, "headrace/kind": kind},
        metadata=_metadata(source, name, lake_url),
        partitions_def=partitions_of(source) if kind == "incremental" or by_partition else None,
        freshness_policy=freshness_policy(source),
        skippable=True,
    )


def table_spec(source: Source, name: str, spec: dg.AssetSpec, lake_url: str | None) -> dg.AssetSpec:
    """A child table as an asset, which a run materializes with its endpoint.

    :param name: ``endpoint/table``. :param spec: of the endpoint.
    """
    endpoint, _, table = name.partition("/")
    config = source.endpoints[endpoint].tables[table]
    typed = {n: type_text(parse_type(column.type).arrow) for n, column in config.columns.items()}
    metadata: dict[str, Any] = {
        "dagster/column_schema": table_schema(source, name, typed),
        "dagster/table_name": table_name(source, name),
        "key": ", ".join(config.key),
        "rows": f"`{config.rows}` of {endpoint}",
    }
    if lake_url is not None:
        folder = f"{lake_url.rstrip('/')}/{source.source}/{endpoint}"
        metadata["dagster/uri"] = f"{folder}/dt=*/_tables/{table}/"
    return spec.replace_attributes(
        key=asset_key(source, name),
        deps=[asset_key(source, endpoint)],
        description=config.description
        or f"{table.replace('_', ' ').capitalize()} of {endpoint.replace('_', ' ')}: the rows at "
        f"`{config.rows}` of each, committed with it.",
        metadata=metadata,
    )


def table_schema(source: Source, name: str, types: Mapping[str, str]) -> dg.TableSchema:
    """The columns of a child table, with what the YAML says of them."""
    endpoint, _, table = name.partition("/")
    config = source.endpoints[endpoint].tables[table]
    specs = {n: config.columns.get(n) for n in types}
    return dg.TableSchema(
        [
            dg.TableColumn(
                column,
                types[column],
                description=spec.description if spec else None,
                constraints=dg.TableColumnConstraints(
                    nullable=column not in config.key and (spec is None or spec.nullable),
                    unique=config.key == (column,),
                ),
            )
            for column, spec in specs.items()
        ]
    )


def freshness_policy(source: Source) -> dg.FreshnessPolicy | None:
    """When the assets of a source are out of date; None if they never are.

    Either some time after a tick of the schedule that no materialization has followed, or a fixed
    time after the last materialization. A source without ``freshness`` in its YAML has a policy
    only if its schedule is on by default: otherwise it is run by hand, and never late.
    """
    freshness, when = source.freshness, source.schedule
    if freshness is None and not when.running:
        return None
    freshness = freshness or Freshness()
    if freshness.within_s is not None:
        return dg.FreshnessPolicy.time_window(timedelta(seconds=freshness.within_s))
    scheme = source.calendar.scheme
    late = timedelta(seconds=freshness.late_s)
    days_later, minutes = divmod(
        when.hour * 60 + when.minute + int(freshness.late_s // 60), _DAY_MINUTES
    )
    deadline = _days_later(scheme.schedule_cron(*divmod(minutes, 60)), days_later)
    # From the deadline back to the tick, in seconds that pass: where the clock is set back between
    # the two, more of them than the clock shows. Dagster takes no more than from tick to tick.
    begin = scheme.floor(datetime.combine(source.start, time.min))
    to_tick = min(
        late + clock_shift(source.timezone, datetime.now(UTC).year), scheme.after(begin) - begin
    )
    return dg.FreshnessPolicy.cron(deadline, to_tick, source.timezone)


def _days_later(cron: str, days: int) -> str:
    """Ticks so many days after those of a cron, whose days are numbers or ``*``.

    >>> _days_later("30 1 * * 6", 1)
    '30 1 * * 0'
    """
    minute, hour, of_month, month, of_week = cron.split()
    if of_month != "*":
        of_month = str(int(of_month) + days)
    if of_week != "*":
        of_week = str((int(of_week) + days) % 7)
    return " ".join((minute, hour, of_month, month, of_week))


@lru_cache
def clock_shift(timezone: str, year: int) -> timedelta:
    """By how much the clocks of a time zone are shifted in the course of two years; none in UTC."""
    zone, first = ZoneInfo(timezone), datetime(year, 1, 1, tzinfo=UTC)
    offsets = [(first + timedelta(days=n)).astimezone(zone).utcoffset() for n in range(731)]
    of_days = [offset for offset in offsets if offset is not None]
    return max(of_days) - min(of_days)


def table_name(source: Source, endpoint: str) -> str:
    """The name of an endpoint's table, or of a child table, as an engine would call it."""
    return f"{source.source}.{endpoint.replace('/', '_')}"


def _upstream(source: Source, name: str) -> list[dg.AssetKey]:
    """The assets that an endpoint depends on: the endpoints whose rows its requests are made from,
    or the API if there are none; and those that the YAML lists under ``deps``."""
    first = [asset_key(source, above) for above in source.upstream(name)] or [api_key(source)]
    return [*first, *(dg.AssetKey(key.split("/")) for key in source.endpoints[name].deps)]


def _metadata(source: Source, name: str, lake_url: str | None) -> dict[str, Any]:
    endpoint = source.endpoints[name]
    metadata: dict[str, Any] = {
        "dagster/column_schema": declared_schema(endpoint),
        "dagster/table_name": table_name(source, name),
        "key": ", ".join(endpoint.key),
        "cursor": _cursor(endpoint),
        "safety_margin_s": source.margin_s(name),
    }
    if lake_url is not None:
        metadata["dagster/uri"] = f"{lake_url.rstrip('/')}/{source.source}/{name}/"
    if source.origin is not None:
        file = _absolute(source.origin.file)
        reference = dg.LocalFileCodeReference(
            file_path=file, line_number=source.origin.lines[name], label="the YAML"
        )
        metadata["dagster/code_references"] = dg.CodeReferencesMetadataValue(
            code_references=[reference]
        )
    return metadata


def _cursor(endpoint: Endpoint) -> str:
    if endpoint.bookmark is not None:
        return f"{endpoint.bookmark.noun} ({endpoint.bookmark.of})"
    return endpoint.cursor or "none: read whole"


@lru_cache(maxsize=1024)
def _absolute(file: str) -> str:
    return str(Path(file).resolve())


def column_schema(manifest: Manifest, endpoint: Endpoint) -> dg.TableSchema:
    """The columns as they landed, with what the YAML says of them."""
    return dg.TableSchema([column(endpoint, c["name"], c["type"]) for c in manifest.columns])


def declared_schema(endpoint: Endpoint) -> dg.TableSchema:
    """The columns that the YAML names: all that is known before the first materialization."""
    typed = {name: parse_type(spec.type).arrow for name, spec in endpoint.columns.items()}
    return dg.TableSchema([column(endpoint, name, type_text(t)) for name, t in typed.items()])


def column(endpoint: Endpoint, name: str, type_name: str) -> dg.TableColumn:
    """A column of the asset. Columns of the key are never null."""
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


def _description(source: Source, name: str) -> str:
    """The description of an endpoint whose YAML has none."""
    endpoint, noun = source.endpoints[name], source.partitions.noun
    title = f"{name.replace('_', ' ').capitalize()} of {source.description or source.source}"
    if endpoint.parents:
        of = endpoint.parents.endpoint.replace("_", " ")
        return f"{title}: those of the {of} that the same partition has."
    if endpoint.bookmark is not None:
        return f"{title}: what came since the {noun} before, by the {endpoint.bookmark.noun}."
    if endpoint.incremental:
        return f"{title}: the rows whose `{endpoint.cursor}` lies in the {noun}."
    return f"{title}: all rows, as they are when the run reads them."
