"""Two runs of one partition: the one that lost waits for the other's manifest.

If the winner's partition is what the loser would have written (same definition, at least the same
window; of a child, from the parents that are there now), then there is nothing left to do, and
nothing to complain about.
"""

import asyncio
from datetime import datetime

from pipeline.lake.manifest import Manifest
from pipeline.run.fingerprint import fingerprint
from pipeline.run.staged_partition import RunContext

POLL_S = 0.5
PATIENCE_S = 60.0


async def winner(
    run: RunContext,
    endpoint: str,
    partition: str,
    *,
    since: datetime,
    patience_s: float = PATIENCE_S,
) -> Manifest | None:
    """The manifest that another run commits in place of ours; None if none comes in time.

    :param since: when our own try began: an older manifest is no winner.
    """
    for _ in range(max(1, round(patience_s / POLL_S))):
        found = await asyncio.to_thread(_would_do, run, endpoint, partition, since)
        if found is not None:
            return found
        await asyncio.sleep(POLL_S)
    return None


def _would_do(run: RunContext, endpoint: str, partition: str, since: datetime) -> Manifest | None:
    source, children = run.source, run.source.endpoints[endpoint].parents
    found = run.index.fresh(source.source, endpoint, partition)
    if found is None or not found.extracted_at:
        return None
    if datetime.fromisoformat(found.extracted_at) < since:
        return None
    if children is not None:  # made from the same parents, it has their window
        of = run.index.fresh(source.source, children.endpoint, partition)
        same = of and found.definition == fingerprint(source, endpoint, of.generation)
        return found if same else None
    day_ends = run.calendar.ends(run.calendar.day(partition))
    needed = min(day_ends, since.replace(microsecond=0))
    same = found.definition == fingerprint(source, endpoint)
    return found if same and found.window.end >= needed else None
