"""Records with Dagster what a step has committed: each partition once, as soon as it is committed.

A materialization is logged as an event of its own. Such an event stays if the step fails later, or
if the run ends before the next attempt. At its end the step also yields a result for each asset,
since assets downstream in the same run wait for one; these results record no materialization. The
checks of an endpoint are recorded when its last partition is done.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import dagster as dg

from assets.asset_checks import CHECKS, check_results, integrity
from assets.compat import (
    GENERATION_TAG,
    WITHOUT_MATERIALIZATION,
    is_only_step,
    last_passed,
    silence_missing_outputs,
)
from assets.event_writer import CheckResults, Event, EventWriter, LogLine
from assets.metadata import charts_of, materialization_of, tables_of
from assets.partitions import recorded_partition
from assets.specs import asset_key, endpoints_of
from pipeline.config.source import Source
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import ALREADY_COMMITTED, PartitionResult

_Recorded = tuple[dg.AssetKey, str | None, str]
"""An asset, a partition, and its generation. The generation is needed since an attempt may replace
a partition that an earlier attempt has committed, for example if it has ended meanwhile."""


class MaterializationRecorder:
    """Records what came of partitions with Dagster, from a thread of its own."""

    def __init__(
        self, context: dg.AssetExecutionContext, source: Source, writer: EventWriter
    ) -> None:
        self._context = context
        self._source = source
        self._writer = writer
        self._recorded, self._checked_before = _recorded_by_earlier_attempts(context)
        self._checked: set[dg.AssetKey] = set()
        self._done: dict[str, list[PartitionResult]] = {}

    def record(
        self, lake: ObjectStore, result: PartitionResult, shared: Mapping[str, Any], *, last: bool
    ) -> None:
        """Record a partition that has just been committed; with the checks, if it is the last.

        :param shared: metadata of the whole run so far.
        """
        self._done.setdefault(result.endpoint, []).append(result)
        key = asset_key(self._source, result.endpoint)
        partition = recorded_partition(self._source, result.endpoint, result.manifest.partition)
        recorded = (key, partition, result.manifest.generation)
        if recorded not in self._recorded:
            self._recorded.add(recorded)
            for table in tables_of(result, self._source, lake):  # first: see `sync`
                self._writer.put(table)
            if last:
                self._writer.put(lambda: self._with_charts(lake, result, shared))
            else:
                self._writer.put(materialization_of(result, self._source, lake, shared))
        if last:
            self.record_checks(lake, result.endpoint)

    def record_checks(self, lake: ObjectStore, endpoint: str) -> None:
        """Record the checks of an endpoint's committed partitions, unless this run has already."""
        key, results = asset_key(self._source, endpoint), list(self._done[endpoint])
        as_before = all(each.outcome == ALREADY_COMMITTED for each in results)
        if key in self._checked or (as_before and key in self._checked_before):
            return
        self._checked.add(key)
        self._writer.put(lambda: self._checks_of(lake, endpoint, results))

    def record_all_checks(self, lake: ObjectStore) -> None:
        """Record the checks of every endpoint that has committed something, finished or not: for a
        step that fails for good."""
        for endpoint in self._done:
            self.record_checks(lake, endpoint)

    def results(self) -> Iterator[dg.MaterializeResult[None]]:
        """The results that a step yields if it succeeds."""
        silence_missing_outputs(self._context)
        if is_only_step(self._context):  # nothing waits for a result, and each is one more event
            return
        selected = self._context.selected_asset_keys
        names = [each for name in self._done for each in (name, *self._source.tables(name))]
        for key in (asset_key(self._source, name) for name in names):
            if key in selected:  # of a table alone its endpoint is read, and not selected
                yield dg.MaterializeResult(asset_key=key, metadata=WITHOUT_MATERIALIZATION)

    def _with_charts(
        self, lake: ObjectStore, result: PartitionResult, shared: Mapping[str, Any]
    ) -> Sequence[Event]:
        """The newest materialization is the one that the asset's page shows."""
        charts = charts_of(self._source, result.endpoint, lake, datetime.now(UTC))
        return [materialization_of(result, self._source, lake, shared, charts)]

    def _checks_of(
        self, lake: ObjectStore, endpoint: str, results: Sequence[PartitionResult]
    ) -> Sequence[Event]:
        checks = check_results(
            self._context, self._source, lake, endpoint, results, passed=self._passed_before
        )
        # Dagster itself logs the name of one that fails, and no reason. Of an endpoint whose checks
        # are left out of the run nothing is recorded, but the log says what does not hold.
        of_log = checks or [integrity(self._source, endpoint, results)]
        texts = [f"{endpoint}: {c.check_name}: {c.description}" for c in of_log if not c.passed]
        lines = [LogLine(text, logging.WARNING) for text in texts]
        return [*lines, *([CheckResults(checks)] if checks else [])]

    @cached_property
    def _passed_before(self) -> Collection[dg.AssetCheckKey]:
        """The checks that passed the last time, before this run, in one query."""
        selected = {*self._context.selected_asset_check_keys}
        names = endpoints_of(self._source, self._context.selected_asset_keys)
        keys = [asset_key(self._source, name) for name in names]
        others = [dg.AssetCheckKey(key, name) for key in keys for name in CHECKS]
        return last_passed(self._context.instance, [c for c in others if c not in selected])


def _recorded_by_earlier_attempts(
    context: dg.AssetExecutionContext,
) -> tuple[set[_Recorded], set[dg.AssetKey]]:
    """The generations, and the assets whose checks, this run has recorded already."""
    recorded: set[_Recorded] = set()
    checked: set[dg.AssetKey] = set()
    if context.retry_number == 0:
        return recorded, checked
    kinds = {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    }
    for entry in context.instance.all_logs(context.run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            checked.add(event.asset_check_evaluation_data.asset_key)
        elif event.asset_key is not None:
            tags = event.step_materialization_data.materialization.tags or {}
            recorded.add((event.asset_key, event.partition, tags.get(GENERATION_TAG, "")))
    return recorded, checked
