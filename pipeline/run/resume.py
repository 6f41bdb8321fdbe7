"""How a try at a partition begins: with its window, and with what an earlier try left behind."""

from datetime import datetime, timedelta

from pipeline.lake.attempt import Attempt, open_attempt
from pipeline.lake.manifest import Manifest
from pipeline.partitions.window import Window, falls_short, incremental, snapshot
from pipeline.run.fingerprint import fingerprint
from pipeline.run.parents import ParentSelection, parents_of
from pipeline.run.staged_partition import RunContext


def open_partition(
    run: RunContext, endpoint: str, partition: str, in_this_run: bool
) -> tuple[Attempt, ParentSelection | None] | Manifest:
    """A try at the partition; or its manifest, if this run has committed it already."""
    source, children = run.source, run.source.endpoints[endpoint].parents
    parents = parents_of(run, children, partition) if children else None
    window = parents.window if parents else _window(run, endpoint, partition, in_this_run)
    wanted = fingerprint(source, endpoint, parents.generation if parents else "")
    found = run.index.get(source.source, endpoint, partition)
    if (
        found is not None
        and (found.run_id, found.definition) == (run.run_id, wanted)
        and not falls_short(found.window, window)
    ):
        return found
    while True:
        attempt = open_attempt(
            run.lake,
            source.source,
            endpoint,
            partition,
            definition=wanted,
            window=window,
            run_id=run.run_id,
            index=run.index,
        )
        carried_out = attempt.committed
        if carried_out is None:
            if falls_short(attempt.window, window):
                attempt.start_over(window)
            return attempt, parents
        # An earlier try had decided its commit; that will do, unless the day has gone on since.
        decided = carried_out.window
        goes_on = decided.end < window.end and window.kind != "snapshot"
        if not goes_on and not falls_short(decided, window):
            return carried_out


def _window(run: RunContext, endpoint: str, partition: str, in_this_run: bool) -> Window:
    """The window now; whole seconds, since cursors are."""
    now = run.now().replace(microsecond=0)
    calendar = run.calendar
    if not run.source.endpoints[endpoint].incremental:
        return snapshot(calendar, partition, now=now)
    day = calendar.day(partition)
    before: datetime | None = None
    if day > calendar.start and not in_this_run:
        previous = (day - timedelta(days=1)).isoformat()
        found = run.index.get(run.source.source, endpoint, previous)
        before = found.watermark_at if found else None
    return incremental(
        calendar,
        partition,
        now=now,
        safety_margin_s=run.source.margin_s(endpoint),
        watermark_before=before,
        step_s=run.source.endpoints[endpoint].window.resolution_s,
    )
