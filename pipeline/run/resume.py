"""Where an attempt at a partition starts: its window, and what an earlier attempt left behind.

What is staged is resumed only if its rows and those to come are of one kind, by their
``fingerprint``: the YAML, and the parents. A child's rows are of one generation of its parent's
partition: staged beside rows of another one, some would be there twice, and some not at all.
"""

from dataclasses import dataclass
from datetime import datetime

from pipeline.config.source import Source
from pipeline.lake.attempt import Attempt, open_attempt
from pipeline.lake.manifest import Manifest
from pipeline.partitions.window import Window, falls_short, incremental, snapshot
from pipeline.run.context import RunContext
from pipeline.run.parents import ParentSelection, parents_of


class AlreadyCommitted(Exception):
    """The partition is committed, by this run or by an earlier attempt that had decided to.

    :ivar manifest: the committed one.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.partition)
        self.manifest = manifest


@dataclass(frozen=True)
class OpenedPartition:
    """A partition that this run may stage now.

    :ivar parents: of a child: the rows that its requests are made from.
    """

    attempt: Attempt
    window: Window
    parents: ParentSelection | None


def open_partition(
    run: RunContext, endpoint: str, partition: str, *, previous_in_run: bool
) -> OpenedPartition:
    """Take the partition for this run, with what an earlier attempt has staged.

    :param previous_in_run: the previous partition is part of this run, and is committed first.
    :raises AlreadyCommitted: nothing is left to do.
    :raises WindowRefused: the partition can't be requested.
    :raises LostRace: another run has it.
    """
    source, children = run.source, run.source.endpoints[endpoint].parents
    parents = parents_of(run, children, partition) if children else None
    window = parents.window if parents else _window(run, endpoint, partition, previous_in_run)
    wanted = fingerprint(source, endpoint, parents.generation if parents else "")
    committed = run.index.get(source.source, endpoint, partition)
    if (
        committed is not None
        and (committed.run_id, committed.definition) == (run.run_id, wanted)
        and not falls_short(committed.window, window)
    ):
        raise AlreadyCommitted(committed)
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
        if attempt.committed is None:
            if falls_short(attempt.window, window):
                attempt.start_over(window)
            return OpenedPartition(attempt, attempt.window, parents)
        # An earlier attempt had decided its commit; that will do, unless time has gone on since.
        decided = attempt.committed.window
        goes_on = decided.end < window.end and window.kind != "snapshot"
        if not goes_on and not falls_short(decided, window):
            raise AlreadyCommitted(attempt.committed)


def _window(run: RunContext, endpoint: str, partition: str, previous_in_run: bool) -> Window:
    """The window now; whole seconds, since cursors are."""
    now = run.now().replace(microsecond=0)
    calendar = run.calendar
    if not run.source.endpoints[endpoint].incremental:
        return snapshot(calendar, partition, now=now)
    calendar.check(partition)
    before: datetime | None = None
    previous = calendar.previous(partition)
    if previous is not None and not previous_in_run:
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


def fingerprint(source: Source, endpoint: str, parents: str = "") -> str:
    """A digest: rows that were staged under another one are not resumed.

    :param parents: of a child: the generation of the parent's partition.
    """
    yaml = source.definition(endpoint)
    return f"{yaml}-{parents}" if parents else yaml


def of_this_yaml(found: str, source: Source, endpoint: str) -> bool:
    """Whether a definition is of the YAML as it is now, whatever the parents were."""
    return found.partition("-")[0] == source.definition(endpoint)
