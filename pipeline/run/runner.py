"""A run: all partitions of all endpoints of one source. Endpoints go side by side, the partitions
of each of them in order.

One endpoint's failure does not stop the others, nor does a bug of ours. Partitions are staged a
little ahead, so that pages of the next one are under way while the tail of the last one is written;
they are committed in order, and an endpoint stops at its first partition that fails.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.errors import (
    ApiUnavailable,
    HeadraceError,
    LostRace,
    Retryable,
    Unreachable,
    WindowRefused,
    WrongFormat,
)
from pipeline.extract.position import ExtractionProgress
from pipeline.extract.value_failures import policy_of
from pipeline.partitions.window import is_past, newest_snapshot
from pipeline.run.context import ALREADY_COMMITTED, PartitionResult, RunContext
from pipeline.run.other_runs import check_joined, winner
from pipeline.run.partition import stage
from pipeline.run.resume import AlreadyCommitted
from pipeline.run.staged_partition import StagedPartition
from pipeline.runtime import settled

STAGED_AHEAD = 5
"""Partitions of an endpoint. Five fill a batch request of ten: a first page and a count of each."""
ENDPOINTS_AT_ONCE = 48


@dataclass(frozen=True)
class PartitionFailed:
    """A partition that could not be done, and why."""

    endpoint: str
    partition: str
    error: HeadraceError


@dataclass
class RunOutcome:
    """The outcome of a run, filled as it goes.

    :ivar wanted: the partitions of each endpoint that are to be done, in order.
    :ivar progress: in reading the pages of each partition, by its endpoint and key.
    """

    wanted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    results: list[PartitionResult] = field(default_factory=list)
    failed: list[PartitionFailed] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    progress: dict[tuple[str, str], ExtractionProgress] = field(default_factory=dict)

    @property
    def retry_wait_s(self) -> float | None:
        """Seconds to wait before a retry that may mend what failed; None if no retry can."""
        waits = [f.error.wait_s for f in self.failed if isinstance(f.error, Retryable)]
        return max(waits) if waits else None


def wanted_partitions(
    run: RunContext, endpoints: Sequence[str], partitions: Sequence[str], outcome: RunOutcome
) -> Mapping[str, Sequence[str]]:
    """The partitions of each endpoint: all for an incremental one, the newest for a snapshot.

    A snapshot of a past partition can't be had. Requested by itself it is left in, and refused
    later with its reason; beside others it is skipped, and the outcome says so.
    """
    keys = sorted(partitions)
    incremental = [name for name in endpoints if run.source.incremental(name)]
    by_endpoint: dict[str, Sequence[str]] = dict.fromkeys(incremental, keys)
    newest = newest_snapshot(run.calendar, keys)
    past = is_past(run.calendar, newest, run.now())
    for name in endpoints:
        if name in by_endpoint:
            continue
        if past and incremental:
            outcome.skipped.append(
                f"{name} {_span(keys)}: a snapshot only shows how things are now"
            )
            continue
        if len(keys) > 1:
            noun = run.calendar.scheme.noun
            others = _span([key for key in keys if key != newest])
            outcome.skipped.append(
                f"{name} {others}: a snapshot is of the newest {noun} only, {newest}"
            )
        by_endpoint[name] = [newest]
    return by_endpoint


def _span(keys: Sequence[str]) -> str:
    """Which partitions, in a few words."""
    return f"on {keys[0]}" if len(keys) == 1 else f"from {keys[0]} to {keys[-1]}"


async def run_source(
    run: RunContext,
    endpoints: Sequence[str],
    partitions: Sequence[str],
    outcome: RunOutcome,
    on_result: Callable[[PartitionResult], None] = lambda _: None,
) -> None:
    """Materialize all partitions; ``outcome`` has what came of each, also if this is cancelled.

    :param on_result: called after each commit.
    :raises ExceptionGroup: of unexpected errors, once everything else is done.
    """
    bugs: list[Exception] = []
    permits = asyncio.Semaphore(ENDPOINTS_AT_ONCE)

    async def endpoint(name: str, keys: Sequence[str]) -> None:
        async with permits:
            try:
                await _endpoint(run, name, keys, outcome, on_result)
            except Exception as error:
                error.add_note(f"while {run.source.source}/{name} was materialized")
                bugs.append(error)

    try:
        by_endpoint = outcome.wanted = wanted_partitions(run, endpoints, partitions, outcome)
    except WindowRefused as error:
        outcome.failed.append(PartitionFailed("(all)", partitions[0], error))
        return
    depths = {name: run.source.depth(name) for name in by_endpoint}
    with settled():
        for depth in sorted({*depths.values()}):  # others' values come from the rows of the first
            async with asyncio.TaskGroup() as group:
                for name in (name for name in by_endpoint if depths[name] == depth):
                    group.create_task(endpoint(name, by_endpoint[name]))
    if bugs:
        raise ExceptionGroup("unexpected errors", bugs)


async def _endpoint(
    run: RunContext,
    name: str,
    keys: Sequence[str],
    outcome: RunOutcome,
    on_result: Callable[[PartitionResult], None],
) -> None:
    """All partitions of one endpoint, in order, up to the first one that fails."""
    to_stage, own_keys = deque(keys), set(keys)
    staging: deque[tuple[str, datetime, asyncio.Task[StagedPartition]]] = deque()
    ahead = _staged_ahead(run, name)
    try:
        while to_stage or staging:
            while to_stage and len(staging) < ahead:
                key = to_stage.popleft()
                progress = outcome.progress.setdefault((name, key), ExtractionProgress())
                task = asyncio.create_task(
                    stage(
                        run,
                        name,
                        key,
                        progress=progress,
                        previous_in_run=ahead > 1 and run.calendar.previous(key) in own_keys,
                        next_in_run=run.calendar.next(key) in own_keys,
                    )
                )
                staging.append((key, run.now(), task))
            key, began, task = staging.popleft()
            try:
                result = await _result(run, name, key, began, task)
                outcome.results.append(result)
                on_result(result)
                await asyncio.to_thread(check_joined, run, result.manifest, own_keys)
            except (Unreachable, WrongFormat) as error:
                reason = await asyncio.to_thread(_retryable_if_known, run, name, error)
                outcome.failed.append(PartitionFailed(name, key, reason))
                return
            except HeadraceError as error:
                outcome.failed.append(PartitionFailed(name, key, error))
                return
    finally:
        for _, _, task in staging:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in staging), return_exceptions=True)


def _retryable_if_known(run: RunContext, name: str, error: HeadraceError) -> HeadraceError:
    """An API that has brought rows in an earlier run is down, or shows a page that says so."""
    try:
        has_brought_rows = run.index.latest(run.source.source, name) is not None
    except HeadraceError:  # of the lake: the API's own error is the one to see
        has_brought_rows = False
    if not has_brought_rows:
        return error
    return ApiUnavailable(str(error), wait_s=run.source.breaker.open_s)


def _staged_ahead(run: RunContext, name: str) -> int:
    """The partitions to stage at once: one, where the next has to know which values of this one
    failed, or at which bookmark it ended.
    """
    spec = run.source.endpoints[name]
    if spec.bookmark is not None:
        return 1
    return 1 if spec.incremental and policy_of(spec).max_failed_share else STAGED_AHEAD


async def _result(
    run: RunContext,
    name: str,
    partition: str,
    began: datetime,
    staging: asyncio.Task[StagedPartition],
) -> PartitionResult:
    """The result of a partition that is being staged, once it is committed.

    :raises LostRace: another run has the partition, and has not committed it in time.
    """
    try:
        return await (await staging).commit()
    except AlreadyCommitted as done:
        return PartitionResult(name, done.manifest, ALREADY_COMMITTED)
    except LostRace:
        committed = await winner(run, name, partition, since=began)
        if committed is None:
            raise
        return PartitionResult(name, committed, "lost")
