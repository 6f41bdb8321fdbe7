"""The metadata of one committed partition, in the order in which a person reads them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import dagster as dg

from assets.charts import (
    MOST_PARTITIONS,
    PartitionAxis,
    bytes_by_partition,
    coverage_calendar,
    rows_by_partition,
)
from assets.compat import GENERATION_TAG
from assets.partitions import recorded_partition
from assets.specs import asset_key, column_schema, table_name, table_schema
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.value_text import value_text
from pipeline.errors import HeadraceError, printable
from pipeline.extract.completeness import ProofBasis
from pipeline.lake.index import read_all
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths, manifests_folder
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import PartitionResult
from pipeline.timestamps import as_iso

_CELL_CHARS = 60
_SENTENCE_CHARS = 300
_MOST_COLUMNS = 12


def materialization_of(
    result: PartitionResult,
    source: Source,
    lake: ObjectStore,
    shared: Mapping[str, Any] = MappingProxyType({}),
    charts: Mapping[str, Any] = MappingProxyType({}),
) -> dg.AssetMaterialization:
    """The event of one committed partition; its generation is Dagster's data version.

    :param shared: metadata of the whole run so far. :param charts: pictures, which come first.
    """
    return dg.AssetMaterialization(
        asset_key(source, result.endpoint),
        partition=recorded_partition(source, result.endpoint, result.manifest.partition),
        metadata={**charts, **metadata_of(result, source, lake), **shared},
        tags={GENERATION_TAG: result.manifest.generation},
    )


def tables_of(
    result: PartitionResult, source: Source, lake: ObjectStore
) -> Iterator[dg.AssetMaterialization]:
    """The events of the child tables of one committed partition."""
    manifest = result.manifest
    place = PartitionPaths(manifest.source, manifest.endpoint, manifest.partition)
    for name, table in manifest.tables.items():
        of = f"{result.endpoint}/{name}"
        if of not in source.tables(result.endpoint):  # of a YAML that had it
            continue
        types = {column["name"]: column["type"] for column in table.columns}
        count = "partition_row_count" if source.incremental(result.endpoint) else "row_count"
        metadata: dict[str, Any] = {
            f"dagster/{count}": table.rows,
            "dagster/table_name": table_name(source, of),
            "dagster/uri": lake.url(place.table_folder(name)),
            "dagster/column_schema": table_schema(source, of, types),
            "partition": manifest.partition,
            "rows_of_endpoint": manifest.rows,
            "files": len(table.files),
            "bytes": sum(file.bytes for file in table.files),
            "generation": manifest.generation,
            "outcome": result.outcome,
        }
        if table.filtered_rows:
            metadata["filtered_rows"] = table.filtered_rows
        yield dg.AssetMaterialization(
            asset_key(source, of),
            partition=recorded_partition(source, result.endpoint, manifest.partition),
            metadata=metadata,
            tags={GENERATION_TAG: manifest.generation},
        )


def charts_of(source: Source, endpoint: str, lake: ObjectStore, now: datetime) -> dict[str, Any]:
    """Pictures of the newest partitions of an endpoint, from their manifests.

    Nothing if the store does not respond: a picture must not keep a partition from being recorded.
    """
    try:
        listed = list(lake.list(manifests_folder(source.source, endpoint)))
        read = read_all(lake, source.source, endpoint, listed[-MOST_PARTITIONS:])
    except HeadraceError:
        return {}
    manifests = [each.manifest for each in read.committed.values()]
    counts_missing = source.incremental(endpoint)
    axis = PartitionAxis.of(source.calendar, manifests, now, counts_missing=counts_missing)
    drawn = {
        "rows_by_partition": rows_by_partition(axis),
        "coverage_calendar": coverage_calendar(axis),
        "bytes_by_partition": bytes_by_partition(axis),
    }
    return {name: dg.MetadataValue.md(text) for name, text in drawn.items()}


def metadata_of(
    result: PartitionResult, source: Source, lake: ObjectStore | None = None
) -> dict[str, Any]:
    """The metadata of one partition of one endpoint.

    :param lake: for the partition's address.
    """
    manifest, endpoint = result.manifest, source.endpoints[result.endpoint]
    window, proof, notes = manifest.window, manifest.proof, manifest.notes
    count = "partition_row_count" if source.incremental(result.endpoint) else "row_count"
    metadata: dict[str, Any] = {
        f"dagster/{count}": manifest.rows,
        "dagster/table_name": table_name(source, result.endpoint),
        **({"dagster/uri": lake.url(_folder(manifest))} if lake else {}),
        "proof": proof_in_words(manifest),
        **unended(source, manifest),
        "window_start": as_iso(window.start) if window.start else "no lower bound",
        "window_end": as_iso(window.end),
        "late_rows": manifest.late_rows,
        **_preview(source, result),
        "dagster/column_schema": column_schema(manifest, endpoint),
        "partition": manifest.partition,
        "contiguous": proof.contiguous,
        "proof_rests_on": proof.rests_on or "–",
        "gaps_refetched": proof.gaps_refetched,
        "watermark": manifest.watermark or "",
        "safety_margin_s": window.safety_margin_s,
        "margin_rows": manifest.margin_rows,
        "pages": proof.pages,
        "pages_resumed": manifest.resumed_pages,
        "requests": manifest.requests,
        "throttled_429": manifest.throttled,
        "duration_s": round(result.duration_s, 3),
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        "generation": manifest.generation,
        "outcome": result.outcome,
    }
    if manifest.latest_late_s is not None:
        metadata["latest_late_s"] = manifest.latest_late_s
    if proof.not_modified:
        metadata["not_modified"] = True
    if notes.duplicate_rows:
        metadata["duplicate_rows"] = notes.duplicate_rows
    if notes.older_versions:
        metadata["older_versions_dropped"] = notes.older_versions
    if notes.tail_rows:
        metadata["rows_left_to_the_next_partition"] = notes.tail_rows
    if notes.converted:
        metadata["converted_cells"] = dict(notes.converted)
    if notes.warning:
        metadata["warning"] = notes.warning
    if parents := notes.parents:
        metadata |= {"parents": parents["asked"], "parents_failed": parents["failed"]}
        if parents["failures"]:
            metadata["failures"] = table(parents["failures"])
    return metadata | _bookmarks(manifest, endpoint) | _values(manifest)


def _bookmarks(manifest: Manifest, endpoint: Endpoint) -> dict[str, Any]:
    """Where a partition starts and ends whose cursor is no time."""
    notes, span, metadata = manifest.notes, manifest.window.bookmarks, dict[str, Any]()
    if endpoint.bookmark is not None and notes.bookmark is not None and span is not None:
        metadata["starts_with"] = endpoint.bookmark.in_words(span.start)
        metadata["ends_with"] = endpoint.bookmark.in_words(notes.bookmark)
    if notes.late_by is not None:
        metadata["latest_late_by"] = notes.late_by
    if notes.deletions is not None:
        metadata["deletions"] = notes.deletions
    return metadata


def _values(manifest: Manifest) -> dict[str, Any]:
    """The metadata of partition values: how many, and those that are behind."""
    notes = manifest.notes
    metadata: dict[str, Any] = {} if notes.each is None else {"values": len(notes.each)}
    metadata |= _lanes(notes.values)
    if behind := notes.values.get("behind"):
        metadata["values_behind"] = sum(len(names) for _, names in behind)
        if failures := notes.values.get("failures"):
            metadata["failures"] = table(failures)
    if further := notes.values.get("from"):
        metadata["values_read_from_further_back"] = sum(len(names) for _, names in further)
    return metadata


def _lanes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of lanes: their outcomes, by reason, and each lane without rows."""
    if "lanes" not in values:
        return {}
    entries: dict[str, Any] = {f"lanes_{name}": n for name, n in values["lanes"].items()}
    if values["reasons"]:
        named = [
            {"outcome": outcome, "reason": code, "lanes": n}
            for outcome, code, n in values["reasons"]
        ]
        entries["lanes_by_reason"] = table(named)
    if values["failures"]:
        entries["lanes_without_rows"] = table(
            [_lane(each) for each in values["failures"]], cell_chars=_SENTENCE_CHARS
        )
    return entries


def _lane(failure: Mapping[str, Any]) -> dict[str, Any]:
    account, _, region = str(failure["parent"]).partition("/")
    outcome = failure.get("outcome", "failed")
    lane = {"account": account, "region": region, "outcome": outcome}
    return {**lane, "reason": failure["kind"], "sentence": failure["reason"]}


def proof_in_words(manifest: Manifest) -> str:
    """The worth of the proof of completeness, in a person's words."""
    proof = manifest.proof
    if not proof.contiguous:
        return "not proved complete: see the check `integrity`"
    if proof.not_modified:
        return "nothing has changed since the previous partition, says the API (304)"
    if proof.rests_on is None:
        return "complete"
    return f"complete by {proof.rests_on}: {ProofBasis(proof.rests_on).claim}"


def unended(source: Source, manifest: Manifest) -> dict[str, str]:
    """Until when a partition is complete that was read before it had ended; else nothing."""
    incremental = source.incremental(manifest.endpoint)
    if not incremental or manifest.window.end >= source.calendar.ends(manifest.partition):
        return {}
    noun = source.partitions.noun
    until = as_iso(manifest.window.end)
    return {"complete_until": f"{until}; the {noun} had not ended: materialize it again afterwards"}


def table(
    rows: Sequence[Mapping[str, Any]], *, cell_chars: int = _CELL_CHARS
) -> dg.TableMetadataValue:
    """A few rows as plain text: the columns that have values, the first ones, long ones shortened.

    What an API writes is never read as Markdown, neither in a cell nor in a column's name.
    """
    names = _names_with_values(rows)[:_MOST_COLUMNS]
    return dg.MetadataValue.table(
        [
            dg.TableRecord({name: _cell(row.get(name), cell_chars) for name in names})
            for row in rows
        ],
        schema=dg.TableSchema([dg.TableColumn(name) for name in names]),
    )


def _names_with_values(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    # Not within `table`: where a comprehension shares its variable with a generator, CPython 3.13.0
    # crashes when the function's locals are read, as Dagster does when it makes a column.
    return [name for name in rows[0] if any(row.get(name) is not None for row in rows)]


def _preview(source: Source, result: PartitionResult) -> dict[str, dg.TableMetadataValue]:
    shown = source.previews(result.endpoint) and result.preview
    return {"preview": table(result.preview)} if shown else {}


def _cell(value: object, most: int) -> str:
    text = printable(" ".join(value_text(value).split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def _folder(manifest: Manifest) -> str:
    return PartitionPaths(manifest.source, manifest.endpoint, manifest.partition).folder
