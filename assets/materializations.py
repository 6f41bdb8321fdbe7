"""Which events tell Dagster of the partitions that a step has committed: each of them once.

A ``MaterializeResult`` stands for *all* partitions of a run. It is used where an endpoint has done
all of them, since what is downstream in the same run waits for it. Where it has not (a snapshot in
a range, a step that fails or is tried again), each partition is logged by itself; such events stay
although the step fails, or the run ends before the next try.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets import metadata
from assets.asset_checks import check_results
from assets.specs import asset_key
from pipeline.config.source import Source
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.staged_partition import PartitionResult

_WITHOUT_EVENT = "__source_asset_observation__"
"""Metadata of a result for which Dagster records no materialization, as an earlier try has, while
what is downstream goes on. Dagster has it for bodies that log events themselves; a version that no
longer knew it would record twice."""


class MaterializationRecorder:
    """Tells Dagster of receipts.

    :ivar shared: metadata of the whole run, which each partition gets as well.
    """

    def __init__(self, context: dg.AssetExecutionContext, source: Source) -> None:
        self._context = context
        self._source = source
        self._told = _told_by_earlier_tries(context)
        self.shared: Mapping[str, Any] = {}

    def results(
        self, lake: ObjectStore, receipts: Sequence[PartitionResult]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """What a step that succeeds yields."""
        for name, done in _by_endpoint(receipts).items():
            key = asset_key(self._source, name)
            checks = check_results(self._context, self._source, lake, name, done)
            self._say(name, checks)
            if not self._all_partitions(done):
                self.log(done)
                yield from checks
            elif self._untold(done) == done:
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
                    asset_key=key, check_results=checks, metadata={_WITHOUT_EVENT: True}
                )

    def log(self, receipts: Sequence[PartitionResult]) -> None:
        """Log a materialization of each partition that has none yet."""
        for receipt in self._untold(receipts):
            key, partition = self._key(receipt)
            self._told.add((key, partition))
            self._context.log_event(
                dg.AssetMaterialization(key, partition=partition, metadata=self._metadata(receipt))
            )

    def log_checks(self, lake: ObjectStore, receipts: Sequence[PartitionResult]) -> None:
        """Log the checks of what is committed, in a step that fails for good."""
        step = self._context.get_step_execution_context()
        for name, done in _by_endpoint(receipts).items():
            checks = check_results(self._context, self._source, lake, name, done)
            self._say(name, checks)
            for result in checks:
                self._context.log_event(result.to_asset_check_evaluation(step))

    def _say(self, name: str, checks: Sequence[dg.AssetCheckResult]) -> None:
        """Dagster itself logs the name of a check that fails, at the level DEBUG, and no reason."""
        for check in checks:
            if not check.passed:
                self._context.log.warning(f"{name}: {check.check_name}: {check.description}")

    def _all_partitions(self, receipts: Sequence[PartitionResult]) -> bool:
        done = {receipt.manifest.partition for receipt in receipts}
        return done == set(self._context.partition_keys)

    def _untold(self, receipts: Sequence[PartitionResult]) -> list[PartitionResult]:
        return [receipt for receipt in receipts if self._key(receipt) not in self._told]

    def _key(self, receipt: PartitionResult) -> tuple[dg.AssetKey, str]:
        return asset_key(self._source, receipt.endpoint), receipt.manifest.partition

    def _metadata(self, receipt: PartitionResult) -> dict[str, Any]:
        endpoint = self._source.endpoints[receipt.endpoint]
        return {**metadata.of_receipt(receipt, endpoint), **self.shared}


def _by_endpoint(receipts: Sequence[PartitionResult]) -> dict[str, list[PartitionResult]]:
    found: dict[str, list[PartitionResult]] = {}
    for receipt in receipts:
        found.setdefault(receipt.endpoint, []).append(receipt)
    return found


def _told_by_earlier_tries(
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
