"""The way of one partition of one endpoint, from its window to rows on S3 that are ready to commit.

======= ============================ ==============================================================
open    ``resume.open_partition``    its window, and where this attempt starts
request an ``EndpointReader``        which page next, as the source's ``paging`` says
fetch   ``PageFetcher``              the response of that page
decode  ``Decoder``                  bytes to Arrow
check   ``page_checks``,             its rows in order and in the window
        ``window_checks``
join    the ``EndpointReader``       the page joined to the one before it, the end confirmed
write   ``RowBuffer``,               rows to row groups to Parquet files
        ``PartitionWriter``
stage   ``Attempt``                  files on S3, unseen, with a checkpoint to resume from
commit  ``StagedPartition.commit``   read back, verified, and shown all at once
======= ============================ ==============================================================

``stage`` does all of it but the commit, so that the next partition may be staged meanwhile.
Blocking work (Parquet, S3) runs in worker threads; the loop only waits.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from pipeline.errors import ContractBroken, PageTokenDead, RateLimited, RequestRefused
from pipeline.extract.confirmation import pause_of
from pipeline.extract.fan_out import FanOut, FanOutReader
from pipeline.extract.feed import NO_FEED, FeedNotes, Feeds
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.outages import KnownPages
from pipeline.extract.pages import rows_that_meet
from pipeline.extract.plan import reader_of
from pipeline.extract.position import (
    MOST_READINGS,
    CannotResume,
    EndpointReader,
    ExtractionProgress,
    FanOutPosition,
    PageBatch,
    ResumePosition,
    expired_again,
)
from pipeline.extract.value_failures import FailurePolicy, policy_of
from pipeline.messages import RequestCounts
from pipeline.run.child_tables import decoder_with_tables
from pipeline.run.context import RunContext
from pipeline.run.partition_progress import (
    PartitionCounts,
    PartitionProgress,
    ReadingCounts,
    ReadingEnd,
    ReadingNotes,
)
from pipeline.run.resume import (
    OpenedPartition,
    came_newest_first,
    open_partition,
    pages_with_rows,
)
from pipeline.run.staged_partition import StagedPartition
from pipeline.run.stale_rows import keeper_of
from pipeline.run.values import requested_values
from pipeline.run.writer import PartitionWriter, RowBuffer

log = logging.getLogger("headrace.run")


class _TooManyRows(ContractBroken):
    """More rows came than ``max_rows``."""


async def stage(
    run: RunContext,
    endpoint: str,
    partition: str,
    *,
    progress: ExtractionProgress,
    previous_in_run: bool = False,
    next_in_run: bool = False,
) -> StagedPartition:
    """Bring all rows of a partition to S3, from where an earlier attempt stopped.

    :param progress: filled while pages come.
    :param previous_in_run: the previous partition is part of this run, and is committed first.
    :param next_in_run: the next partition is part of this run, and is staged after the commit.
    :raises AlreadyCommitted: nothing is left to do.
    :raises WindowRefused: the partition can't be requested.
    :raises ContractBroken, RequestRefused, AuthError, ApiUnavailable, LakeRefused, LakeUnavailable:
        see ``errors``; what was staged stays for the next attempt.
    """
    began = time.monotonic()
    opened = await asyncio.to_thread(
        open_partition,
        run,
        endpoint,
        partition,
        previous_in_run=previous_in_run,
        next_in_run=next_in_run,
    )
    return await _Stager(run, endpoint, partition, opened, progress).run(began)


class _Stager:
    """Reads the pages of one partition and stages its batches.

    The reading resumes behind the rows that an earlier attempt has staged. If it can't, it restarts
    from the first page. The staged rows are discarded only when that first page has come: if it is
    refused, too, they stay for the next attempt. The reasons for a restart:

    ==========================  =================================================================
    rows of another version     the checkpoint can't be read, or the endpoint is not ``resumable``
    the position is refused     by the reader (``CannotResume``); or by the API before any page
                                came, since the position is all that differs (the same)
    a page token has expired    in the middle of its chain: up to ``MOST_READINGS`` readings, or
                                one more if only a refusal shows it (``_may_be_stale``)
    the bookmark has expired    a page token that is refused at the first page: all is read, and
                                the commit finds what is gone (``_forget_bookmark``)
    ==========================  =================================================================
    """

    def __init__(
        self,
        run: RunContext,
        endpoint: str,
        partition: str,
        opened: OpenedPartition,
        progress: ExtractionProgress,
    ) -> None:
        self._opened, attempt = opened, opened.attempt
        self._notes = ReadingNotes()
        self._filtered_rows = 0
        self._pages_at_begin: int | None = None  # of this reading; None: it is resumed
        self._run, self._endpoint, self._partition = run, endpoint, partition
        self._attempt, self._progress = attempt, progress
        self._window = attempt.window
        self._spec = run.source.endpoints[endpoint]
        self._sent = RequestCounts()
        self._earlier = PartitionCounts.from_json(attempt.counters)
        self._decoder = decoder_with_tables(run, endpoint, attempt.schema, opened.schema)
        self._fetcher = self._new_fetcher()
        self._feeds = Feeds.of(self._spec, newest_first=self._came_newest_first())
        self._resumed_pages = self._earlier.pages
        self._resumed_rows = attempt.staged_rows + self._earlier.reading.filtered_rows
        self._writer = PartitionWriter(attempt, self._decoder, self._spec)
        self._values = requested_values(run, endpoint, opened.values, self._window)

    @property
    def _label(self) -> str:
        """The partition by its name, for messages."""
        return f"{self._run.source.source}/{self._endpoint} {self._partition}"

    def _new_fetcher(self) -> PageFetcher:
        return PageFetcher(
            self._run.sender,
            self._run.source,
            self._endpoint,
            self._window,
            self._decoder,
            self._sent,
            began=self._run.now(),
        )

    async def run(self, began: float) -> StagedPartition:
        data = self._attempt.progress
        stored = PartitionProgress(None) if data is None else PartitionProgress.from_json(data)
        position = stored.position if stored else None
        if stored is None:
            await self._restart(CannotResume("another version of Headrace staged its rows"))
        elif stored.end is not None:
            self._progress.contiguous = stored.end.contiguous
            self._notes = stored.end.notes
            if isinstance(position, FanOutPosition):
                self._progress.reread_values = {*position.reread}
        elif self._window.rereads_all if position is None else not self._resumable:
            await self._restart()
        else:
            if position is None:
                self._fetcher.ask_if_changed(self._opened.previous_feed.validators)
            await self._resume_or_restart(position)
        return StagedPartition(
            run=self._run,
            endpoint=self._endpoint,
            partition=self._partition,
            window=self._window,
            attempt=self._attempt,
            selection=self._opened.values,
            values=self._values,
            contiguous=self._progress.contiguous,
            counts=self._counts(),
            schema=self._writer.schema_of(self._decoder.schema),
            preview=self._writer.preview if self._run.source.previews(self._endpoint) else (),
            resumed_pages=self._resumed_pages,
            notes=self._notes,
            began=began,
            reread_values=frozenset(self._progress.reread_values),
            reread_keys=np.concatenate([np.zeros(0, np.uint64), *self._progress.reread_keys]),
        )

    async def _resume_or_restart(self, position: ResumePosition | None) -> None:
        try:
            await self._read_pages(position)
        except CannotResume as error:
            await self._restart(error.__cause__ or error)
        except PageTokenDead as error:
            await self._restart(error, readings=MOST_READINGS - 1)
        except (RequestRefused, ContractBroken) as error:
            if not self._may_be_stale(position, error):
                raise
            await self._restart(error)

    async def _restart(
        self, reason: BaseException | None = None, *, readings: int = MOST_READINGS
    ) -> None:
        """Read from the first page, and again while page tokens expire before the end.

        :param readings: so many at most.
        :raises RequestRefused: the tokens of all of them have expired.
        """
        for _ in range(readings):
            if isinstance(reason, PageTokenDead) and self._bookmark_is_dead:
                self._forget_bookmark()
            elif reason is not None:
                log.warning(
                    "%s: cannot resume, restarting from the first page: %s", self._label, reason
                )
            try:
                return await self._read_from_first_page()
            except PageTokenDead as error:
                reason = error
        assert isinstance(reason, PageTokenDead), "no other error begins the next reading"
        raise expired_again(reason, "this partition")

    async def _read_from_first_page(self) -> None:
        """Read all pages in place of what is staged: of what came so far, only its cost counts."""
        out_of_order = self._earlier.feed_out_of_order or self._is_out_of_order
        self._earlier = replace(
            self._earlier, reading=ReadingCounts(), feed_out_of_order=out_of_order
        )
        self._resumed_pages = self._resumed_rows = self._filtered_rows = 0
        self._progress.restart()
        self._window = self._window.reread(datetime.now(UTC))
        self._fetcher = self._new_fetcher()
        self._feeds = Feeds.of(self._spec, newest_first=self._came_newest_first())
        await self._read_pages(None, in_place_of_staged=True)

    async def _discard_staged_after_first_page(
        self, pages: AsyncGenerator[PageBatch, None]
    ) -> AsyncGenerator[PageBatch, None]:
        async with aclosing(pages):
            first = await anext(pages, None)
            await asyncio.to_thread(self._attempt.start_over, self._window)
            if first is not None:
                yield first
                async for batch in pages:
                    yield batch

    @property
    def _bookmark_is_dead(self) -> bool:
        """Whether the chain that has just failed began with the bookmark, and had no page."""
        span = self._window.bookmarks
        began_there = self._pages_at_begin == self._progress.pages
        return began_there and span is not None and span.start is not None and not span.expired

    def _forget_bookmark(self) -> None:
        span, cursor = self._window.bookmarks, self._spec.bookmark
        if span is None or cursor is None:
            return
        log.warning(
            "%s: the API no longer knows the %s of %s. All rows are read again, and keys that did "
            "not come are recorded as deleted",
            self._label,
            cursor.noun,
            span.partition,
        )
        self._window = replace(self._window, bookmarks=replace(span, expired=True))

    @property
    def _resumable(self) -> bool:
        """False for a feed of values too: how far back it reached is known of one attempt only."""
        return self._spec.resumable and not (self._spec.feed and self._opened.values is not None)

    def _may_be_stale(self, position: ResumePosition | None, error: Exception) -> bool:
        """Whether the API may have refused the position that was resumed from, rather than any
        request for these rows.

        Tokens die with the server's state, and links expire. If no page has come in this attempt,
        the position is all that its request has beside that of the very first page. A dead position
        that was kept would fail every later attempt.
        """
        if position is None:
            dies = self._spec.paging.token_dies
            return dies and self._progress.pages > 0 and isinstance(error, RequestRefused)
        if isinstance(position, FanOutPosition) and self._failures.lists:
            # Of the earlier attempt: they may be well by now, unless they were read again already.
            return bool(position.failed) and not self._failures.rereads
        return self._progress.pages == 0

    async def _read_pages(
        self, position: ResumePosition | None, *, in_place_of_staged: bool = False
    ) -> None:
        self._pages_at_begin = self._progress.pages if position is None else None
        known = KnownPages(
            self._fetcher,
            [*pages_with_rows(self._run, self._endpoint, self._window if position else None)],
            attempt=self._run.attempt,
        )
        reader = self._new_reader(known)
        pages = reader.run(position)
        if in_place_of_staged:
            pages = self._discard_staged_after_first_page(pages)
        buffer = RowBuffer(self._spec.batch_rows, position, self._run.buffered)
        with closing(buffer):
            try:
                await self._write_all(pages, buffer, reader, known)
            except _TooManyRows:
                # Resumed, they would be too many in every attempt to come.
                if self._attempt.files:
                    await asyncio.to_thread(self._attempt.start_over)
                raise

    async def _write_all(
        self,
        pages: AsyncGenerator[PageBatch, None],
        buffer: RowBuffer,
        reader: EndpointReader,
        known: KnownPages,
    ) -> None:
        """Write the pages, and behind the last one what they have shown."""
        async with self._writer.open():
            try:
                await self._write(pages, buffer)
            except RateLimited:
                # However small the quota, the next attempt has less to do than this one.
                if buffer.rows and self._spec.resumable:
                    await self._writer.end(buffer, self._counts())
                raise
            if known.unproved is not None:
                self._progress.unproved, self._progress.contiguous = known.unproved, False
            self._warn_of_clock()
            self._notes = self._notes_of(reader)
            if self._progress.rows:
                self._run.windows_with_rows[self._endpoint] = self._window
            if buffer.rows:
                end = ReadingEnd(self._progress.contiguous, self._notes)
                await self._writer.end(buffer, self._counts(), end)

    async def _write(self, pages: AsyncGenerator[PageBatch, None], buffer: RowBuffer) -> None:
        """Write the pages as they come; the last batch is left in ``buffer``."""
        async with aclosing(pages) as batches:
            async for batch in batches:
                buffer.add(self._with_rows_that_meet(batch))
                self._check_max_rows()
                await asyncio.sleep(0)  # pages that are there already must not hold the loop up
                if buffer.is_full:
                    await self._writer.end(buffer, self._counts())
                elif buffer.is_group:
                    await self._writer.group(buffer, self._counts())
                else:
                    await self._writer.keep_up(self._run.buffered)

    def _check_max_rows(self) -> None:
        """:raises _TooManyRows: more rows came than the YAML allows, over all attempts."""
        most, progress = self._spec.max_rows, self._progress
        rows = self._resumed_rows + progress.rows - progress.rows_again
        if most is not None and rows > most:
            raise _TooManyRows(
                f"{self._label}: more than {most:,} rows came, the most that `max_rows` "
                "allows. Check: 1. that the pages come to an end; 2. that the API honours the "
                "filter; 3. `max_rows`"
            )

    def _with_rows_that_meet(self, batch: PageBatch) -> PageBatch:
        """The rows that meet ``where``, once each; the others are counted."""
        spec = self._spec
        if not spec.where or not batch.table.num_rows:
            return batch
        table = rows_that_meet(batch.table, spec.where, spec.columns)
        if (excess := batch.table.num_rows - table.num_rows) == 0:
            return batch
        self._filtered_rows += excess
        return replace(batch, table=table, arrow_bytes=table.nbytes)

    def _notes_of(self, reader: EndpointReader) -> ReadingNotes:
        """What the pages have shown, once all came."""
        progress, not_modified = self._progress, self._fetcher.not_modified
        fan_out = reader if isinstance(reader, FanOutReader) else None
        return ReadingNotes(
            proof_basis=progress.proof_basis,
            unproved=progress.unproved,
            tail_rows=progress.tail_rows,
            bookmark=progress.bookmark,
            fan_out=fan_out.summary() if fan_out else {},
            failed_values=tuple(sorted(fan_out.failed_members)) if fan_out else (),
            feed=self._opened.previous_feed if not_modified else self._feed_notes(),
            not_modified=not_modified,
        )

    @property
    def _is_out_of_order(self) -> bool:
        """Whether the feed of this reading has shown that it does not come newest first."""
        return self._feeds is not None and self._feeds.out_of_order

    def _feed_notes(self) -> FeedNotes:
        return self._feeds.notes() if self._feeds else NO_FEED

    def _warn_of_clock(self) -> None:
        sentence = self._fetcher.clock_warning
        if sentence and "clock" not in self._run.warned:
            self._run.warned.add("clock")
            log.warning("%s: %s", self._run.source.source, sentence)

    @property
    def _failures(self) -> FailurePolicy:
        """The failure policy of values."""
        policy = policy_of(self._spec)
        return policy.when_followed() if self._opened.is_followed else policy

    def _new_reader(self, known: KnownPages) -> EndpointReader:
        return reader_of(
            self._spec,
            self._fetcher,
            self._window,
            self._run.ahead,
            fan_out=self._fan_out(),
            pause=pause_of(self._run.sleep),
            known=known,
            feeds=self._feeds,
            progress=self._progress,
        )

    def _fan_out(self) -> FanOut:
        lanes = self._run.lanes if self._spec.each and self._spec.each.in_lanes else None
        keep = keeper_of(self._run, self._endpoint, self._partition)
        return FanOut(self._values, self._failures, lanes or nullcontext(), keep)

    def _came_newest_first(self) -> bool | None:
        """Whether the feed is known to come newest first; None: nothing is known."""
        if self._earlier.feed_out_of_order:
            return False
        return came_newest_first(self._run, self._endpoint)

    def _counts(self) -> PartitionCounts:
        """Of this partition so far, earlier attempts included."""
        progress, fetcher, sent = self._progress, self._fetcher, self._sent
        at = fetcher.earliest_response_at
        return PartitionCounts(
            pages=progress.pages,
            gaps_refetched=progress.gaps_refetched,
            requests=sent.requests,
            throttled=sent.throttled,
            retried=sent.retried,
            feed_out_of_order=self._is_out_of_order,
            reading=ReadingCounts(
                duplicates=progress.duplicate_rows,
                filtered_rows=self._filtered_rows,
                rows_after_end=fetcher.rows_after_end,
                converted=dict(fetcher.converted),
                naive_columns=fetcher.naive_columns,
                latest_us=dict(fetcher.early_times.latest_us),
                earliest_response_s=int(at.timestamp()) if at else None,
            ),
        ).plus(self._earlier)
