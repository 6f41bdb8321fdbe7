"""The events by which Dagster learns of the partitions that a step has committed, each of them
once; and the metadata of each.

A ``MaterializeResult`` stands for *all* partitions of a run. It is used where an endpoint has done
all of them, since assets downstream in the same run wait for it. Where it has not (a snapshot in a
range, a step that fails or is retried), each partition is logged by itself; such events stay
although the step fails, or the run ends before the next attempt.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.asset_checks import check_results
from assets.compat import WITHOUT_MATERIALIZATION, log_check
from assets.specs import asset_key, column_schema
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.lake.s3 import Lake
from pipeline.run.context import PartitionResult

_CELL_CHARS = 60


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
        self, lake: Lake, receipts: Sequence[PartitionResult]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """The results that a step yields if it succeeds."""
        for name, done in _by_endpoint(receipts).items():
            key = asset_key(self._source, name)
            checks = check_results(self._context, self._source, lake, name, done)
            self._warn(name, checks)
            if not self._all_partitions(done):
                self.log(done)
                yield from checks
            elif self._unrecorded(done) == done:
                for receipt in done:
                    self._context.add_asset_metadata(
                        self._metadata(receipt),
                        asset_key=key,
                        partition_key=receipt.manifest.partition,
                    )
                yield dg.MaterializeResult(asset_key=key, check_results=checks)
            else:
                self.log(done)
                yield dg.MaterializeResult(
                    asset_key=key, check_results=checks, metadata=WITHOUT_MATERIALIZATION
                )

    def log(self, receipts: Sequence[PartitionResult]) -> None:
        """Log a materialization of each partition that has none yet."""
        for receipt in self._unrecorded(receipts):
            key, partition = self._key(receipt)
            self._recorded.add((key, partition))
            self._context.log_event(
                dg.AssetMaterialization(key, partition=partition, metadata=self._metadata(receipt))
            )

    def log_checks(self, lake: Lake, receipts: Sequence[PartitionResult]) -> None:
        """Log the checks of what is committed, in a step that fails for good."""
        for name, done in _by_endpoint(receipts).items():
            checks = check_results(self._context, self._source, lake, name, done)
            self._warn(name, checks)
            for result in checks:
                log_check(self._context, result)

    def _warn(self, name: str, checks: Sequence[dg.AssetCheckResult]) -> None:
        """Dagster itself logs the name of a check that fails, at the level DEBUG, and no reason."""
        for check in checks:
            if not check.passed:
                self._context.log.warning(f"{name}: {check.check_name}: {check.description}")

    def _all_partitions(self, receipts: Sequence[PartitionResult]) -> bool:
        done = {receipt.manifest.partition for receipt in receipts}
        return done == set(self._context.partition_keys)

    def _unrecorded(self, receipts: Sequence[PartitionResult]) -> list[PartitionResult]:
        return [receipt for receipt in receipts if self._key(receipt) not in self._recorded]

    def _key(self, receipt: PartitionResult) -> tuple[dg.AssetKey, str]:
        return asset_key(self._source, receipt.endpoint), receipt.manifest.partition

    def _metadata(self, receipt: PartitionResult) -> dict[str, Any]:
        endpoint = self._source.endpoints[receipt.endpoint]
        return {**metadata_of(receipt, endpoint), **self.shared}


def _by_endpoint(receipts: Sequence[PartitionResult]) -> dict[str, list[PartitionResult]]:
    found: dict[str, list[PartitionResult]] = {}
    for receipt in receipts:
        found.setdefault(receipt.endpoint, []).append(receipt)
    return found


def _recorded_by_earlier_attempts(
    context: dg.AssetExecutionContext,
) -> set[tuple[dg.AssetKey, str]]:
    if context.retry_number == 0:
        return set()
    entries = context.instance.all_logs(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    found = set()
    for entry in entries:
        event = entry.dagster_event
        if event is not None and event.partition is not None and event.asset_key is not None:
            found.add((event.asset_key, event.partition))
    return found


def metadata_of(receipt: PartitionResult, endpoint: Endpoint) -> dict[str, Any]:
    """The metadata of one partition of one endpoint, in the order in which it is shown."""
    manifest, table = receipt.manifest, markdown_table(receipt.preview)
    window, proof = manifest.window, manifest.proof
    found: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/column_schema": column_schema(manifest, endpoint),
        **({"preview": dg.MetadataValue.md(table)} if table else {}),
        "contiguous": bool(proof.get("contiguous")),
        "proof_rests_on": proof.get("rests_on", "–"),
        "gaps_refetched": proof.get("gaps_refetched", 0),
        "window_start": window["start"] or "no lower bound",
        "window_end": window["end"],
        "watermark": manifest.watermark or "",
        "safety_margin_s": window["safety_margin_s"],
        "late_rows": manifest.late_rows,
        "margin_rows": manifest.margin_rows,
        "pages": proof.get("pages", 0),
        "pages_resumed": manifest.resumed_pages,
        "requests": manifest.requests,
        "throttled_429": manifest.throttled,
        "duration_s": round(receipt.duration_s, 3),
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        "generation": manifest.generation,
        "outcome": receipt.outcome,
    }
    if manifest.latest_late_s is not None:
        found["latest_late_s"] = manifest.latest_late_s
    if proof.get("not_modified"):
        found["not_modified"] = True
    if "converted" in manifest.extra:
        found["converted_cells"] = dict(manifest.extra["converted"])
    if "doubt" in manifest.extra:
        found["doubt"] = manifest.extra["doubt"]
    parents = manifest.extra.get("parents")
    if parents:
        found |= {"parents_asked": parents["asked"], "parents_failed": parents["failed"]}
        if failures := markdown_table(parents["failures"]):
            found["failures"] = dg.MetadataValue.md(failures)
    return found


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few rows as a Markdown table, long values shortened; of no rows, an empty text."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
