"""Whether a committed day joins the days beside it, which other runs may have read meanwhile.

A window is made from the watermark that the day before has when the try begins. Until the try is
committed, another run may commit the day before up to an earlier instant, or the day after from a
later one on. So each day looks at its neighbours *after* its commit: whichever of two commits comes
second sees the other. The try after that reads what is missing
(`pipeline.partitions.window.falls_short`).
"""

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from itertools import pairwise

from pipeline.config.source import Source
from pipeline.errors import ReadAnew
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import manifests
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions.window import gap
from pipeline.run.staged_partition import RunContext
from pipeline.timestamps import as_iso


def check_joined(run: RunContext, mine: Manifest, in_this_run: Collection[str]) -> None:
    """Hold a day that was just committed against the days beside it.

    :param in_this_run: days that this run commits, in order: the later one of two looks.
    :raises ReadAnew: a day beside this one was committed, and something lies between the two.
    """
    if mine.endpoint_kind == "snapshot" or not run.source.endpoints[mine.endpoint].incremental:
        return
    day, window = run.calendar.day(mine.partition), mine.window

    def beside(days: int) -> Manifest | None:
        partition = (day + timedelta(days=days)).isoformat()
        if days > 0 and (partition in in_this_run or window.end >= run.calendar.ends(day)):
            return None
        if days < 0 and window.start is None:  # a baseline joins whatever lies before it
            return None
        return run.index.fresh(mine.source, mine.endpoint, partition)

    for first, second in ((beside(-1), mine), (mine, beside(1))):
        if first and second and (between := _between(first, second)):
            raise ReadAnew(
                f"{mine.source}/{mine.endpoint} {mine.partition} is committed, but another run "
                f"has read the day beside it meanwhile, and neither has all of {between}: the "
                "next try reads it"
            )


def gaps(source: Source, lake: ObjectStore, endpoint: str, days: Collection[str]) -> Iterator[str]:
    """A sentence on each of these days that doesn't begin where the day before it was read up to.

    A run that was killed after its commit has not looked, nor does who carries a commit out. Days
    of children begin and end as their parents' do, and are not read again with them if a run
    leaves them out.
    """
    if not source.incremental(endpoint):
        return
    children = source.endpoints[endpoint].parents is not None
    for first, second in pairwise(manifests(lake, source.source, endpoint, days)):
        next_day = date.fromisoformat(first.partition) + timedelta(days=1)
        if second.partition == next_day.isoformat() and (between := _between(first, second)):
            again = first if children else second  # whose parents have them, or can have them
            yield f"not read in full: {between}: materialize {again.partition} again"


def _between(first: Manifest, second: Manifest) -> str | None:
    found = gap(first.window, second.window)
    return " to ".join(map(as_iso, found)) if found else None
