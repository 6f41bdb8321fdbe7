"""Other runs of the same source: they may take a partition, or commit those beside it meanwhile.

*A lost race.* Of two runs of one partition, the one that lost waits for the manifest of the other.
If that partition is what the loser would have written (same definition, at least the same window;
of a child, from the parents that are there now), then nothing is left to do, and nothing is wrong.

*Neighbours.* A window is made from the watermark that the previous partition has when the attempt
begins. Until the attempt is committed, another run may commit the previous partition up to an
earlier instant, or the next one from a later one on. So each partition is held against its
neighbours *after* its commit: whichever of two commits comes second sees the other. The attempt
after that reads what is missing (`pipeline.partitions.window.falls_short`).
"""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from pipeline.config.source import Source
from pipeline.errors import ReadAnew, cut
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import manifests
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions.window import gap
from pipeline.run.context import RunContext
from pipeline.run.resume import fingerprint, of_this_yaml
from pipeline.run.watermarks import value_gaps
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
        found = await asyncio.to_thread(_would_do, run, endpoint, partition, since)
        if found is not None:
            return found
        await asyncio.sleep(POLL_S)
    return None


def _would_do(run: RunContext, endpoint: str, partition: str, since: datetime) -> Manifest | None:
    source, spec = run.source, run.source.endpoints[endpoint]
    found = run.index.fresh(source.source, endpoint, partition)
    if found is None or not found.extracted_at:
        return None
    if datetime.fromisoformat(found.extracted_at) < since:
        return None
    if spec.parents is not None and not spec.incremental:
        # Made from the same parents, it has their window.
        of = run.index.fresh(source.source, spec.parents.endpoint, partition)
        same = of and found.definition == fingerprint(source, endpoint, of.generation)
        return found if same else None
    needed = min(run.calendar.ends(partition), since.replace(microsecond=0))
    same = of_this_yaml(found.definition, source, endpoint)  # a value that it lacks is new later
    return found if same and found.window.end >= needed else None


def check_joined(run: RunContext, mine: Manifest, in_this_run: Collection[str]) -> None:
    """Hold a partition that was just committed against its neighbours.

    :param in_this_run: partitions that this run commits, in order: the later one of two looks.
    :raises ReadAnew: a neighbour was committed meanwhile, and something lies between the two.
    """
    if mine.endpoint_kind == "snapshot" or not run.source.endpoints[mine.endpoint].incremental:
        return
    calendar, window = run.calendar, mine.window

    def committed(partition: str | None) -> Manifest | None:
        return run.index.fresh(mine.source, mine.endpoint, partition) if partition else None

    after = calendar.next(mine.partition)
    ended_early = window.end < calendar.ends(mine.partition)
    following = after if ended_early and after not in in_this_run else None
    # A baseline joins whatever lies before it.
    before = calendar.previous(mine.partition) if window.start is not None else None
    neighbours = (
        (committed(before), mine),
        (mine, committed(following)),
    )
    for first, second in neighbours:
        if first and second and (between := _between(first, second)):
            raise ReadAnew(
                f"{mine.source}/{mine.endpoint} {mine.partition} is committed, but another run "
                f"has read the partition beside it meanwhile, and neither has all of {between}. "
                "The next attempt reads it"
            )


def gaps(source: Source, lake: ObjectStore, endpoint: str, keys: Collection[str]) -> Iterator[str]:
    """A sentence on each of these partitions that leaves a gap to the previous one.

    A run that was killed after its commit has not looked, nor does whatever carries a commit out.
    Partitions of children begin and end as their parents' do, and are not read again with them if
    a run leaves them out.
    """
    if not source.incremental(endpoint):
        return
    spec = source.endpoints[endpoint]
    children = spec.parents is not None and not spec.incremental
    for first, second in pairwise(manifests(lake, source.source, endpoint, keys)):
        follow_each_other = second.partition == source.calendar.next(first.partition)
        if follow_each_other and (between := _between(first, second)):
            remedy = first if children else second  # its parents have them, or can have them
            yield f"not read in full: {between}: materialize {remedy.partition} again"
        if follow_each_other and (values := value_gaps(first, second)):
            yield (
                f"values that {first.partition} left behind and {second.partition} did not read: "
                f"{cut(', '.join(values), _MOST_SAID)}: materialize {second.partition} again"
            )


def _between(first: Manifest, second: Manifest) -> str | None:
    until = replace(first.window, end=min(first.window.end, first.watermark_at or first.window.end))
    interval = gap(until, second.window)
    return " to ".join(map(as_iso, interval)) if interval else None
