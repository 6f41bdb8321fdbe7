"""The events by which Dagster learns of the partitions that a step has committed, each of them
once; and the metadata of each.

A ``MaterializeResult`` stands for *all* partitions of a run. It is used where an endpoint has done
all of them, since assets downstream in the same run wait for it. Where it has not (a snapshot in a
range, a step that fails or is retried), each partition is logged by itself; such events stay
although the step fails, or the run ends before the next attempt.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.asset_checks import check_results
from assets.compat import WITHOUT_MATERIALIZATION, log_check
from assets.specs import asset_key, column_schema
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.errors import printable
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import PartitionResult
from pipeline.timestamps import as_iso

_CELL_CHARS = 60
_MARKDOWN = re.compile(r"[\\|<>&`\[\]!]")
_ESCAPES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "`": "'"}


class MaterializationRecorder:
    """Records what came of partitions with Dagster.

    :ivar shared: metadata of the whole run, which each partition gets as well.
    """

    def __init__(self, context: dg.AssetExecutionContext, source: Source) -> None:
        self._context = context
        self._source = source
        self._recorded = _recorded_by_earlier_attempts(context)
        self.shared: Mapping[str, Any] = {}

    def results(
        self, lake: ObjectStore, committed: Sequence[PartitionResult]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """The results that a step yields if it succeeds."""
        for name, done in _by_endpoint(committed).items():
            key = asset_key(self._source, name)
            checks = check_results(self._context, self._source, lake, name, done)
            self._warn(name, checks)
            if not self._all_partitions(done):
                self.log(done)
                yield from checks
            elif self._unrecorded(done) == done:
                for result in done:
                    self._context.add_asset_metadata(
                        self._metadata(result),
                        asset_key=key,
                        partition_key=result.manifest.partition,
                    )
                yield dg.MaterializeResult(asset_key=key, check_results=checks)
            else:
                self.log(done)
                yield dg.MaterializeResult(
                    asset_key=key, check_results=checks, metadata=WITHOUT_MATERIALIZATION
                )

    def log(self, committed: Sequence[PartitionResult]) -> None:
        """Log a materialization of each partition that has none yet."""
        for result in self._unrecorded(committed):
            key, partition = self._key(result)
            self._recorded.add((key, partition))
            self._context.log_event(
                dg.AssetMaterialization(key, partition=partition, metadata=self._metadata(result))
            )

    def log_checks(self, lake: ObjectStore, committed: Sequence[PartitionResult]) -> None:
        """Log the checks of what is committed, in a step that fails for good."""
        for name, done in _by_endpoint(committed).items():
            checks = check_results(self._context, self._source, lake, name, done)
            self._warn(name, checks)
            for result in checks:
                log_check(self._context, result)

    def _warn(self, name: str, checks: Sequence[dg.AssetCheckResult]) -> None:
        """Dagster itself logs the name of a check that fails, at the level DEBUG, and no reason."""
        for check in checks:
            if not check.passed:
                self._context.log.warning(f"{name}: {check.check_name}: {check.description}")

    def _all_partitions(self, committed: Sequence[PartitionResult]) -> bool:
        done = {result.manifest.partition for result in committed}
        return done == set(self._context.partition_keys)

    def _unrecorded(self, committed: Sequence[PartitionResult]) -> list[PartitionResult]:
        return [result for result in committed if self._key(result) not in self._recorded]

    def _key(self, result: PartitionResult) -> tuple[dg.AssetKey, str]:
        return asset_key(self._source, result.endpoint), result.manifest.partition

    def _metadata(self, result: PartitionResult) -> dict[str, Any]:
        endpoint = self._source.endpoints[result.endpoint]
        return {**metadata_of(result, endpoint), **self.shared}


def _by_endpoint(committed: Sequence[PartitionResult]) -> dict[str, list[PartitionResult]]:
    by_endpoint: dict[str, list[PartitionResult]] = {}
    for result in committed:
        by_endpoint.setdefault(result.endpoint, []).append(result)
    return by_endpoint


def _recorded_by_earlier_attempts(
    context: dg.AssetExecutionContext,
) -> set[tuple[dg.AssetKey, str]]:
    if context.retry_number == 0:
        return set()
    entries = context.instance.all_logs(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    recorded = set()
    for entry in entries:
        event = entry.dagster_event
        if event is not None and event.partition is not None and event.asset_key is not None:
            recorded.add((event.asset_key, event.partition))
    return recorded


def metadata_of(result: PartitionResult, endpoint: Endpoint) -> dict[str, Any]:
    """The metadata of one partition of one endpoint, in the order in which it is shown."""
    manifest, table = result.manifest, markdown_table(result.preview)
    window, proof, notes = manifest.window, manifest.proof, manifest.notes
    metadata: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/column_schema": column_schema(manifest, endpoint),
        **({"preview": dg.MetadataValue.md(table)} if table else {}),
        "contiguous": proof.contiguous,
        "proof_rests_on": proof.rests_on or "–",
        "gaps_refetched": proof.gaps_refetched,
        "window_start": as_iso(window.start) if window.start else "no lower bound",
        "window_end": as_iso(window.end),
        "watermark": manifest.watermark or "",
        "safety_margin_s": window.safety_margin_s,
        "late_rows": manifest.late_rows,
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
    if notes.converted:
        metadata["converted_cells"] = dict(notes.converted)
    if notes.filtered_rows is not None:
        metadata["filtered_rows"] = notes.filtered_rows
    if notes.warning:
        metadata["doubt"] = notes.warning
    if parents := notes.parents:
        metadata |= {"parents_asked": parents["asked"], "parents_failed": parents["failed"]}
        if failures := markdown_table(parents["failures"]):
            metadata["failures"] = dg.MetadataValue.md(failures)
    if notes.each is not None:
        metadata["values"] = len(notes.each)
    if behind := notes.values.get("behind"):
        metadata["values_behind"] = sum(len(names) for _, names in behind)
        if failures := markdown_table(notes.values.get("failures", ())):
            metadata["failures"] = dg.MetadataValue.md(failures)
    if further := notes.values.get("from"):
        metadata["values_read_from_further_back"] = sum(len(names) for _, names in further)
    return metadata


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few rows as a Markdown table, long values shortened; of no rows, an empty text."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(map(_cell, names)) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    """A value as text and nothing else: an API's may be an image, a link, a control character."""
    text = printable(" ".join(str("" if value is None else value).split()))
    text = text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
    return _MARKDOWN.sub(lambda letter: _ESCAPES.get(letter[0], f"\\{letter[0]}"), text)
