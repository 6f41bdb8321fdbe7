"""Which events tell Dagster of the partitions that a step has committed: each of them once.

A ``MaterializeResult`` stands for *all* partitions of a run. It is used where an endpoint has done
all of them, since what is downstream in the same run waits for it. Where it has not (a snapshot in
a range, a step that fails), each partition is logged by itself; such events stay although the step
fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets import metadata
from assets.checks import check_results
from assets.specs import asset_key
from pipeline.lake.store import Lake
from pipeline.run.staged import Receipt
from pipeline.spec.source import Source


class Recorder:
    """Tells Dagster of receipts.

    :param shared: metadata that is of the whole run.
    """

    def __init__(self, context: dg.AssetExecutionContext, source: Source) -> None:
        self._context = context
        self._source = source
        self._recorded = _recorded_by_earlier_tries(context)
        self.shared: Mapping[str, Any] = {}

    def results(
        self, lake: Lake, receipts: Sequence[Receipt]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Of a step that succeeds."""
        by_endpoint: dict[str, list[Receipt]] = {}
        for receipt in receipts:
            by_endpoint.setdefault(receipt.endpoint, []).append(receipt)
        for name, done in by_endpoint.items():
            key, checks = (
                asset_key(self._source, name),
                check_results(self._source, lake, name, done),
            )
            if self._all_partitions(key, done):
                for receipt in done:
                    self._context.add_asset_metadata(
                        self._metadata(receipt),
                        asset_key=key,
                        partition_key=receipt.manifest.partition,
                    )
                yield dg.MaterializeResult(asset_key=key, check_results=checks)
            else:
                self.log(done)
                yield from checks

    def log(self, receipts: Sequence[Receipt]) -> None:
        """Events of their own, for those that have none yet."""
        for receipt in receipts:
            key, partition = asset_key(self._source, receipt.endpoint), receipt.manifest.partition
            if (key, partition) in self._recorded:
                continue
            self._recorded.add((key, partition))
            self._context.log_event(
                dg.AssetMaterialization(key, partition=partition, metadata=self._metadata(receipt))
            )

    def _all_partitions(self, key: dg.AssetKey, receipts: Sequence[Receipt]) -> bool:
        done = {receipt.manifest.partition for receipt in receipts}
        fresh = all((key, partition) not in self._recorded for partition in done)
        return fresh and done == set(self._context.partition_keys)

    def _metadata(self, receipt: Receipt) -> dict[str, Any]:
        return {**metadata.of_receipt(receipt), **self.shared}


def _recorded_by_earlier_tries(
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
