"""What one step of a source does: run the engine, then tell Dagster what came of it.

Sync on purpose: ``asyncio.run`` inside a sync body finishes its clean-up when the run is
terminated. All partitions committed: one ``MaterializeResult`` an asset, with the metadata of each
day. Some failed: the committed ones are logged one by one (events before an exception stay), then
the step fails with a summary, or asks for a retry if one can help; the retry does only what is not
committed yet.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets import metadata
from assets.checks import check_results
from assets.plot import requests_over_time
from assets.progress import line, report
from assets.specs import asset_key
from pipeline.budget import BudgetStats
from pipeline.client import Client
from pipeline.errors import HeadraceError, Permanent
from pipeline.packing import packed
from pipeline.source_run import Outcome, run_source
from pipeline.spec.source import Source
from pipeline.staged import Receipt, Run
from pipeline.store import Lake
from resources import ApiResource, LakeResource

MAX_RETRIES = 3
BACKFILL_TAG = "dagster/backfill"


class Step:
    """One step of one source."""

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
        self._outcome = Outcome()
        self._stats: BudgetStats | None = None
        keys = context.selected_asset_keys
        self._endpoints = [n for n in source.endpoints if asset_key(source, n) in keys]

    def results(self) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """:raises dagster.Failure, dagster.RetryRequested: something is not committed."""
        try:
            lake = self._lake_resource.open()
            asyncio.run(self._run(lake))
        except HeadraceError as error:
            self._record_committed()
            raise self._verdict([str(error)], error) from None
        except BaseException:
            self._record_committed()
            raise
        for note in self._outcome.skipped:
            self._context.log.info(f"skipped {note}")
        if self._outcome.failed:
            self._record_committed()
            self._fail()
        yield from self._materializations(lake)

    async def _run(self, lake: Lake) -> None:
        half_open = self._context.retry_number > 0
        async with (
            self._api.session(self._source, half_open=half_open, share=self._share()) as client,
            packed(client, self._source) as sender,
        ):
            run = Run(self._source, lake, sender, self._run_id(), lambda: datetime.now(UTC))
            began = time.monotonic()
            progress = asyncio.create_task(self._report(client))
            try:
                await run_source(
                    run, self._endpoints, self._context.partition_keys, self._outcome, self._done
                )
            finally:
                progress.cancel()
                self._stats = client.budget.stats
                self._context.log.info(line(self._outcome, client, time.monotonic() - began))

    async def _report(self, client: Client) -> None:
        await report(client, self._outcome, self._context.log.info)

    def _share(self) -> float:
        """A backfill leaves a part of the budget to the scheduled runs."""
        tagged = self._context.has_tag(BACKFILL_TAG) or len(self._context.partition_keys) > 1
        return self._source.limits.backfill_share if tagged else 1.0

    def _run_id(self) -> str:
        """The first run of a chain of re-executions: what one of them committed stays done."""
        return self._context.run.root_run_id or self._context.run_id

    def _done(self, receipt: Receipt) -> None:
        manifest = receipt.manifest
        self._context.log.info(
            f"{receipt.endpoint} {manifest.partition}: {receipt.outcome}, {manifest.rows:,} rows "
            f"in "
            f"{len(manifest.files)} files, {manifest.requests} requests, generation "
            f"{manifest.generation}"
        )

    def _materializations(self, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
        by_endpoint: dict[str, list[Receipt]] = {}
        for receipt in self._outcome.receipts:
            by_endpoint.setdefault(receipt.endpoint, []).append(receipt)
        for name, receipts in by_endpoint.items():
            key = asset_key(self._source, name)
            for receipt in receipts:
                self._context.add_asset_metadata(
                    metadata.of_receipt(receipt) | self._shared_metadata(),
                    asset_key=key,
                    partition_key=receipt.manifest.partition,
                )
            checks = check_results(self._source, lake, name, receipts)
            yield dg.MaterializeResult(asset_key=key, check_results=checks)

    def _record_committed(self) -> None:
        """Events that stay although the step fails."""
        for receipt in self._outcome.receipts:
            self._context.log_event(
                dg.AssetMaterialization(
                    asset_key(self._source, receipt.endpoint),
                    partition=receipt.manifest.partition,
                    metadata=metadata.of_receipt(receipt) | self._shared_metadata(),
                )
            )

    def _shared_metadata(self) -> dict[str, object]:
        """What is of the whole run: the endpoints of a source share one budget."""
        if self._stats is None:
            return {}
        window = self._source.limits.windows[0] if self._source.limits.windows else None
        limit = window.requests / window.per_s if window else 0.0
        plot = requests_over_time(self._stats.sends, self._stats.bin_s, limit)
        return {
            "budget_share_used": round(self._stats.share_used, 4),
            "run_requests": self._stats.requests,
            "run_throttled_429": self._stats.throttled,
            "requests_over_time": dg.MetadataValue.md(plot),
        }

    def _fail(self) -> None:
        outcome = self._outcome
        lines = [f"{f.endpoint} {f.partition}: {f.error}" for f in outcome.failed]
        if outcome.receipts:
            lines.append(f"{len(outcome.receipts)} partitions are committed and recorded.")
        permanent = [f.error for f in outcome.failed if isinstance(f.error, Permanent)]
        raise self._verdict(lines, permanent[0] if permanent else outcome.failed[0].error)

    def _verdict(self, lines: list[str], error: HeadraceError) -> Exception:
        """Retry if anything that failed can be mended by one; else fail for good."""
        wait_s = self._outcome.retry_wait_s
        if wait_s is None and not isinstance(error, Permanent):
            wait_s = getattr(error, "wait_s", 30.0)
        text = "\n".join(lines)
        if wait_s is not None and self._context.retry_number < MAX_RETRIES:
            self._context.log.error(text)
            return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait_s)
        return dg.Failure(description=text, allow_retries=False)
