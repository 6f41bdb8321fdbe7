"""The step of a source: run the engine, then record its results with Dagster.

Sync on purpose: an event loop inside a sync body finishes its clean-up when the run is terminated.

Each partition is recorded when it is committed, by a thread (``event_writer``), and so are the
lines of the log: the loop that reads does not wait for Dagster's storage. If some partitions
failed, the step fails, with a summary and the checks of what is committed, or asks for a retry if
one can help: the next attempt does only what is not committed yet, and records nothing twice.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn

import dagster as dg

from assets.compat import resumed_run_id
from assets.counters import counting
from assets.event_writer import EventWriter, LogLine
from assets.executors import run_in_step
from assets.failures import FailureReport, end, fail, reasons, report_of_error, report_of_step
from assets.materializations import MaterializationRecorder
from assets.partitions import requested_partitions
from assets.progress import (
    RunMetadata,
    line,
    log_progress,
    too_fast,
)
from assets.specs import endpoints_of
from pipeline.config.source import Source
from pipeline.errors import HeadraceError, counted
from pipeline.lake import budget_record
from pipeline.lake.manifest import Manifest
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import PartitionResult, RunContext
from pipeline.run.runner import RunOutcome, run_source
from resources import ApiResource, LakeResource
from resources.api import RequestReport

BACKFILL_TAG = "dagster/backfill"


class Step:
    """A step of a source."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        source: Source,
        lake: LakeResource,
        api: ApiResource,
    ) -> None:
        self._context = context
        self._source = source
        self._lake_resource = lake
        self._api = api
        self._outcome = RunOutcome()
        self._metadata = RunMetadata(source.limits)
        self._writer = EventWriter(context)
        self._recorder = MaterializationRecorder(context, source, self._writer)
        self._attempts = context.retry_number + 1
        self._endpoints = endpoints_of(source, context.selected_asset_keys)
        self._partitions = requested_partitions(
            context,
            source,
            partitioned=any(source.incremental(name) for name in self._endpoints),
            now=datetime.now(UTC),
        )
        self._read_s = 0.0
        self._count: Callable[[Manifest], None] = lambda _: None

    def results(self) -> Iterator[dg.MaterializeResult[None]]:
        """Do all that is selected, and record it with Dagster.

        :raises dagster.Failure, dagster.RetryRequested: something is not committed.
        """
        if not self._partitions:  # Dagster takes a reversed range for one without partitions
            span = self._context.partition_key_range
            fail(
                f"There is no partition from `{span.start}` to `{span.end}`: "
                "the earlier one comes first"
            )
        try:
            lake = self._lake_resource.open()
            run_in_step(self._run(lake))
            self._end_if_failed(lake)
            self._close_writer()
        except HeadraceError as error:
            self._end(report_of_error(error, self._attempts))
        except (dg.Failure, dg.RetryRequested):
            raise
        except BaseException:
            with suppress(Exception):  # the step's own exception is the one to see
                self._writer.close()
            for reason in reasons(self._source.source, self._outcome.failed, self._partitions):
                self._context.log.error(reason)  # Dagster shows the exception alone
            raise
        yield from self._recorder.results()

    def _close_writer(self) -> None:
        """Record what is not recorded yet, and say how long that took."""
        began = time.monotonic()
        self._writer.close()
        took_s = time.monotonic() - began
        self._context.log.info(
            f"read in {self._read_s:.1f} s, then recorded with Dagster for {took_s:.1f} s"
        )

    def _end_if_failed(self, lake: ObjectStore) -> None:
        for note in self._outcome.skipped:
            self._info(f"skipped {note}")
        if self._outcome.failed:
            report = report_of_step(
                self._source.source, self._outcome, self._attempts, self._partitions
            )
            if report.retry_in_s is None:
                self._recorder.record_all_checks(lake)
            self._end(report)

    def _end(self, report: FailureReport) -> NoReturn:
        """Record what is committed, then end: a run may be ended while it waits for a retry."""
        try:
            self._writer.close()
        except Exception as error:  # also the storage's: it must not hide the step's own failure
            self._context.log.warning(
                f"Not all of what is committed could be recorded; the job `sync` does it: {error}"
            )
        end(self._context, report)

    def _info(self, text: str) -> None:
        self._writer.put(LogLine(text))

    def _warn(self, text: str) -> None:
        self._writer.put(LogLine(text, logging.WARNING))

    async def _run(self, lake: ObjectStore) -> None:
        half_open = self._attempts > 1
        async with self._api.open(
            self._source, self._endpoints, half_open=half_open, share=self._share()
        ) as api:
            run = RunContext(
                self._source,
                lake,
                api.sender,
                resumed_run_id(self._context.instance, self._context.run),
                lambda: datetime.now(UTC),
                values=dict(api.values),
                lanes=api.lanes,
                attempt=self._attempts,
            )
            if self._source.lanes is None:
                await asyncio.to_thread(self._note_budget, lake)
            began = time.monotonic()
            progress = asyncio.create_task(self._log_progress(api.report))
            try:
                await self._read(lake, api.report, run)
            finally:
                progress.cancel()
                passed_s = self._read_s = time.monotonic() - began
                self._info(line(self._outcome, api.report, passed_s, limited=self._limited))
                if warning := too_fast(api.report.stats, limited=self._limited):
                    self._warn(warning)

    def _note_budget(self, lake: ObjectStore) -> None:
        """Warn of other budgets of the API key that runs of this lake use. No reason to fail."""
        with suppress(HeadraceError):
            use = self._api.budget.use(self._source, datetime.now(UTC))
            if use and (text := budget_record.warning(use, budget_record.note_use(lake, use))):
                self._warn(text)
                self._metadata.other_budgets = text

    async def _read(self, lake: ObjectStore, report: RequestReport, run: RunContext) -> None:
        """All partitions, with counters for whoever watches."""
        name, metrics = self._source.source, self._api.metrics
        with counting(metrics, name, lambda: report.stats) as self._count:
            await run_source(
                run,
                self._endpoints,
                self._partitions,
                self._outcome,
                lambda result: self._done(lake, report, result),
            )

    async def _log_progress(self, report: RequestReport) -> None:
        timeline = self._metadata.timeline
        await log_progress(report, self._outcome, self._info, timeline, limited=self._limited)

    @property
    def _limited(self) -> bool:
        return bool(self._source.limits.windows)

    def _share(self) -> float:
        """A backfill leaves a part of the budget to the scheduled runs."""
        tagged = BACKFILL_TAG in self._context.run.tags or len(self._partitions) > 1
        return self._source.limits.backfill_share if tagged else 1.0

    def _done(self, lake: ObjectStore, report: RequestReport, result: PartitionResult) -> None:
        manifest = result.manifest
        late = f" ({manifest.late_rows:,} late)" if manifest.late_rows else ""
        self._info(
            f"{result.endpoint} {manifest.partition}: {result.outcome}, "
            f"{counted(manifest.rows, 'row')}{late} in {counted(len(manifest.files), 'file')}, "
            f"generation {manifest.generation}"
        )
        for name, table in manifest.tables.items():
            self._info(f"{result.endpoint}/{name}: {counted(table.rows, 'row')} with them")
        if result.outcome == "committed":
            self._count(manifest)
        if warning := manifest.notes.warning:
            self._warn(f"{result.endpoint} {manifest.partition}: {warning}")
        last = manifest.partition == self._outcome.wanted[result.endpoint][-1]
        self._recorder.record(lake, result, self._metadata.of(report), last=last)
