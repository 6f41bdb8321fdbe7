"""Other runs of the same source: they may take a partition, or commit those beside it meanwhile.

*A lost race.* Of two runs of one partition, one loses: while it reads, and it then waits for the
manifest of the other; or at its commit, which finds that manifest. If that partition is what the
loser would have written (same YAML, at least the same window; of a child, from the parents that are
there now), then nothing is left to do, and nothing is wrong (``misfit``).

*Neighbours.* A window is made from the watermark that the previous partition has when the attempt
begins. Until the attempt is committed, another run may commit the previous partition up to an
earlier instant, or the next one from a later one on. So each partition is held against its
neighbours *after* its commit: whichever of two commits comes second sees the other. The attempt
after that reads what is missing (`pipeline.partitions.window.falls_short`).
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from pipeline.config.source import Source
from pipeline.errors import ReadAnew, WindowRefused, cut
from pipeline.lake.manifest import Manifest
from pipeline.partitions.window import Window, falls_short, gap
from pipeline.run.bookmarks import unread_between
from pipeline.run.context import RunContext
from pipeline.run.resume import fingerprint, of_this_yaml
from pipeline.run.values import value_gaps
from pipeline.timestamps import as_iso

POLL_S = 0.5
PATIENCE_S = 60.0
_MOST_SAID = 300


async def winner(
    run: RunContext,
    endpoint: str,
    partition: str,
    *,
    since: datetime,
    patience_s: float = PATIENCE_S,
) -> Manifest | None:
    """The manifest that another run commits in place of ours; None if none comes in time.

    :param since: when our own attempt began: an older manifest is no winner.
    """
    for _ in range(max(1, round(patience_s / POLL_S))):
        manifest = await asyncio.to_thread(_winner_now, run, endpoint, partition, since)
        if manifest is not None:
            return manifest
        await asyncio.sleep(POLL_S)
    return None


def _winner_now(run: RunContext, endpoint: str, partition: str, since: datetime) -> Manifest | None:
    manifest = run.index.fresh(run.source.source, endpoint, partition)
    if manifest is None or not manifest.extracted_at:
        return None
    if datetime.fromisoformat(manifest.extracted_at) < since:
        return None
    least_end = min(run.calendar.ends(partition), since.replace(microsecond=0))
    wanted = Window(manifest.window.kind, None, least_end, 0.0, complete=True)
    return manifest if misfit(run, manifest, wanted) is None else None


def misfit(run: RunContext, theirs: Manifest, wanted: Window) -> str | None:
    """Why a partition that another run has committed is not what this run would have written; None
    if it is.

    A value that it lacks is no reason: to the next partition that one is new.

    :param wanted: read at least so far; children have the window of their parents.
    """
    source, spec = run.source, run.source.endpoints[theirs.endpoint]
    if not of_this_yaml(theirs.definition, source, theirs.endpoint):
        return "with another YAML of this endpoint"
    if spec.parents is not None and not spec.incremental:
        above = spec.parents.endpoint
        parents = run.index.fresh(source.source, above, theirs.partition)
        generation = parents.generation if parents else ""
        same = theirs.definition == fingerprint(source, theirs.endpoint, generation)
        return None if same else f"from other rows of `{above}` than those that are committed now"
    read = theirs.window
    has_ended = wanted.complete or wanted.end >= run.calendar.ends(theirs.partition)
    if not falls_short(read, replace(wanted, complete=has_ended)):
        return None
    if read.start and wanted.start and wanted.start < read.start:
        begins = f"{as_iso(read.start)} on, and this run has read it from {as_iso(wanted.start)} on"
        return f"from {begins}"
    return f"up to {as_iso(read.end)}, and this run has read it up to {as_iso(wanted.end)}"


def check_joined(run: RunContext, mine: Manifest, in_this_run: Collection[str]) -> None:
    """Hold a partition that was just committed against its neighbours.

    A neighbour is read fresh only where another run can have committed it meanwhile so that it
    leaves something out (`_as_known` says where).

    :param in_this_run: partitions that this run commits, in order: the later one of two looks.
    :raises ReadAnew: something lies between the two, which the next attempt reads.
    :raises WindowRefused: something does, and only the later one of the two can read it.
    """
    if mine.endpoint_kind == "snapshot" or not run.source.endpoints[mine.endpoint].incremental:
        return
    calendar, window = run.calendar, mine.window
    # A baseline joins whatever lies before it.
    before = calendar.previous(mine.partition) if window.start is not None else None
    first = _as_known(run, mine, before) if before else None
    if before and first is None:
        first = run.index.fresh(mine.source, mine.endpoint, before)
    after = calendar.next(mine.partition)
    ended_early = _complete_until(mine) < calendar.ends(mine.partition)
    second = None
    if ended_early and after not in in_this_run:
        second = run.index.fresh(mine.source, mine.endpoint, after)
    label = f"{mine.source}/{mine.endpoint} {mine.partition}"
    if first and (between := _between(run.source, first, mine)):
        raise ReadAnew(
            f"{label} is committed. {first.partition} was committed meanwhile, and ends before "
            f"{mine.partition} begins: neither has the rows of {between}. The next attempt reads "
            "them"
        )
    if second and (between := _between(run.source, mine, second)):
        if window.end < calendar.ends(mine.partition):
            raise ReadAnew(
                f"{label} is committed. Another run committed {second.partition} meanwhile, and "
                f"neither has the rows of {between}. The next attempt reads them"
            )
        # Read again, this one would end as it did.
        raise WindowRefused(
            f"{label} is committed up to {_end_in_words(run.source, mine)}, and "
            f"{second.partition}, which another run has committed, begins later: neither has the "
            f"rows of {between}. Materialize `{second.partition}` again: it then begins where "
            f"`{mine.partition}` ends"
        )


def _as_known(run: RunContext, mine: Manifest, previous: str) -> Manifest | None:
    """The previous partition as this run knows it, if no other run can have cut it short since.

    Whoever reads it up to an earlier instant than its end has begun before that end, and so before
    a manifest that reaches it was committed: such a commit, which is on top of what was there when
    its attempt began, is lost. Of values and children it is not the begin of the attempt that
    says how far each is read.
    """
    if run.source.endpoints[mine.endpoint].fans_out:
        return None
    manifest = run.index.get(mine.source, mine.endpoint, previous)
    if manifest is None or _complete_until(manifest) < run.calendar.ends(previous):
        return None
    return manifest


def gaps(source: Source, endpoint: str, committed: Sequence[Manifest]) -> Iterator[str]:
    """A sentence on each of these partitions, in order, that leaves a gap to the previous one.

    A run that was killed after its commit has not looked, nor does whatever carries a commit out.
    Partitions of children begin and end as their parents' do, and are not read again with them if
    a run leaves them out.
    """
    if not source.incremental(endpoint):
        return
    spec = source.endpoints[endpoint]
    children = spec.parents is not None and not spec.incremental
    for first, second in pairwise(committed):
        follow_each_other = second.partition == source.calendar.next(first.partition)
        if follow_each_other and (between := _between(source, first, second)):
            remedy = first if children else second  # its parents have them, or can have them
            yield f"not read in full: {between}: materialize {remedy.partition} again"
        if follow_each_other and (values := value_gaps(first, second)):
            yield (
                f"values that {first.partition} left behind and {second.partition} did not read: "
                f"{cut(', '.join(values), _MOST_SAID)}: materialize {second.partition} again"
            )


def _between(source: Source, first: Manifest, second: Manifest) -> str | None:
    if bookmark := source.endpoints[first.endpoint].bookmark:
        return unread_between(bookmark, first, second)
    interval = gap(replace(first.window, end=_complete_until(first)), second.window)
    return " to ".join(map(as_iso, interval)) if interval else None


def _end_in_words(source: Source, manifest: Manifest) -> str:
    """Where a partition ends: the bookmark, or the instant up to which it is complete."""
    cursor, bookmark = source.endpoints[manifest.endpoint].bookmark, manifest.notes.bookmark
    if cursor is not None and bookmark is not None:
        return cursor.in_words(bookmark)
    return f"{as_iso(_complete_until(manifest))} (the `Date` of the API's responses)"


def _complete_until(manifest: Manifest) -> datetime:
    """The watermark: the API's own clock may be behind the window's end."""
    return min(manifest.window.end, manifest.watermark_at or manifest.window.end)
