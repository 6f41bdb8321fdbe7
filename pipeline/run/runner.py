"""All partitions of a run, of all endpoints of one source: side by side, each endpoint's days in
order.

One endpoint's failure does not stop the others, nor does a bug of ours. Days are staged a little
ahead, so that the next day's pages are under way while the last day's tail is written; they are
committed in order, and an endpoint stops at its first day that fails.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.errors import HeadraceError, LostRace, Retryable, WindowRefused
from pipeline.extract.page_batch import ExtractionProgress
from pipeline.partitions.window import is_past, newest_snapshot
from pipeline.run.adjacency import check_joined
from pipeline.run.context import PartitionResult, RunContext
from pipeline.run.lost_race import winner
from pipeline.run.partition import stage
from pipeline.run.staged_partition import StagedPartition
from pipeline.runtime import settled

DAYS_AHEAD = 5
"""A day's first page and its count ride ten to a request: five days fill one."""
ENDPOINTS_AT_ONCE = 48


@dataclass(frozen=True)
class PartitionFailed:
    """One partition that could not be done, and why."""

    endpoint: str
    partition: str
    error: HeadraceError


@dataclass
class RunOutcome:
    """What came of a run, filled as it goes."""

    receipts: list[PartitionResult] = field(default_factory=list)
    failed: list[PartitionFailed] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    tallies: dict[tuple[str, str], ExtractionProgress] = field(default_factory=dict)

    @property
    def retry_wait_s(self) -> float | None:
        """Seconds to wait before a try that may mend what failed; None if no retry can."""
        waits = [f.error.wait_s for f in self.failed if isinstance(f.error, Retryable)]
        return max(waits) if waits else None


def wanted_days(
    run: RunContext, endpoints: Sequence[str], partitions: Sequence[str], outcome: RunOutcome
) -> Mapping[str, Sequence[str]]:
    """The days of each endpoint: all for an incremental one, the newest for a snapshot.

    A snapshot of a past day can't be had. Asked for by itself it is left in, and refused later with
    its reason; beside others it is skipped, and the outcome says so.
    """
    days = sorted(partitions)
    incremental = [name for name in endpoints if run.source.incremental(name)]
    wanted: dict[str, Sequence[str]] = dict.fromkeys(incremental, days)
    newest = newest_snapshot(run.calendar, days)
    past = is_past(run.calendar, newest, run.now())
    for name in endpoints:
        if name in wanted:
            continue
        if past and incremental:
            outcome.skipped.append(
                f"{name} {_span(days)}: a snapshot only shows how things are now"
            )
            continue
        if len(days) > 1:
            others = _span([day for day in days if day != newest])
            outcome.skipped.append(
                f"{name} {others}: a snapshot is of the newest day only, {newest}"
            )
        wanted[name] = [newest]
    return wanted


def _span(days: Sequence[str]) -> str:
    """Which days, in a few words."""
    return f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"


async def run_source(
    run: RunContext,
    endpoints: Sequence[str],
    partitions: Sequence[str],
    outcome: RunOutcome,
    done: Callable[[PartitionResult], None] = lambda _: None,
) -> None:
    """Do all partitions; ``outcome`` tells what came of each, also if this is cancelled.

    :param done: called after each commit.
    :raises ExceptionGroup: of what nobody thought of, once everything else is done.
    """
    bugs: list[Exception] = []
    places = asyncio.Semaphore(ENDPOINTS_AT_ONCE)

    async def one(name: str, days: Sequence[str]) -> None:
        async with places:
            try:
                await _endpoint(run, name, days, outcome, done)
            except Exception as error:
                error.add_note(f"while {run.source.source}/{name} was materialized")
                bugs.append(error)

    try:
        wanted = wanted_days(run, endpoints, partitions, outcome)
    except WindowRefused as error:
        outcome.failed.append(PartitionFailed("(all)", partitions[0], error))
        return
    children = {name for name in wanted if run.source.endpoints[name].parents}
    with settled():
        for wave in (wanted.keys() - children, children):  # parents are committed first
            async with asyncio.TaskGroup() as group:
                for name in (name for name in wanted if name in wave):
                    group.create_task(one(name, wanted[name]))
    if bugs:
        raise ExceptionGroup("errors that nobody thought of", bugs)


async def _endpoint(
    run: RunContext,
    name: str,
    days: Sequence[str],
    outcome: RunOutcome,
    done: Callable[[PartitionResult], None],
) -> None:
    waiting = deque(days)
    staging: deque[tuple[str, datetime, asyncio.Task[StagedPartition | PartitionResult]]] = deque()
    wanted = set(days)
    try:
        while waiting or staging:
            while waiting and len(staging) < DAYS_AHEAD:
                day = waiting.popleft()
                tally = outcome.tallies.setdefault((name, day), ExtractionProgress())
                previous_in_run = run.calendar.previous(day) in wanted
                task = asyncio.create_task(
                    stage(run, name, day, tally=tally, previous_in_run=previous_in_run)
                )
                staging.append((day, run.now(), task))
            day, began, task = staging.popleft()
            try:
                receipt = await _receipt(run, name, day, began, task)
            except HeadraceError as error:
                outcome.failed.append(PartitionFailed(name, day, error))
                return
            outcome.receipts.append(receipt)
            done(receipt)
            try:
                await asyncio.to_thread(check_joined, run, receipt.manifest, wanted)
            except HeadraceError as error:
                outcome.failed.append(PartitionFailed(name, day, error))
                return
    finally:
        for _, _, task in staging:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in staging), return_exceptions=True)


async def _receipt(
    run: RunContext,
    name: str,
    day: str,
    began: datetime,
    staging: asyncio.Task[StagedPartition | PartitionResult],
) -> PartitionResult:
    """What came of a day that is being staged, once it is committed.

    :raises LostRace: another run has the partition, and has not committed it in time.
    """
    try:
        staged = await staging
        return staged if isinstance(staged, PartitionResult) else await staged.commit()
    except LostRace:
        won = await winner(run, name, day, since=began)
        if won is None:
            raise
        return PartitionResult(name, won, "lost")
