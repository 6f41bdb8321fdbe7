"""Two runs of one partition: the one that lost waits for the other's manifest.

If the winner's partition is what the loser would have written (same definition, at least the same
window), then there is nothing left to do, and nothing to complain about.
"""

import asyncio
from datetime import datetime

from pipeline.lake.manifest import Manifest
from pipeline.lake.readback import manifest_of
from pipeline.run.parents import definition_of
from pipeline.run.staged import Run
from pipeline.window import Window

POLL_S = 0.5
PATIENCE_S = 60.0


async def winner(
    run: Run, endpoint: str, partition: str, *, since: datetime, patience_s: float = PATIENCE_S
) -> Manifest | None:
    """The manifest that another run commits in place of ours; None if none comes in time.

    :param since: when our own try began: an older manifest is no winner.
    """
    for _ in range(max(1, round(patience_s / POLL_S))):
        found = await asyncio.to_thread(_as_good, run, endpoint, partition, since)
        if found is not None:
            return found
        await asyncio.sleep(POLL_S)
    return None


def _as_good(run: Run, endpoint: str, partition: str, since: datetime) -> Manifest | None:
    def committed(name: str) -> Manifest | None:
        return manifest_of(run.lake, run.source.source, name, partition)

    found, children = committed(endpoint), run.source.endpoints[endpoint].parents
    if found is None or not found.extracted_at:
        return None
    parent = committed(children.endpoint) if children else None
    definition = definition_of(run, endpoint, parent.generation if parent else None)
    newer = datetime.fromisoformat(found.extracted_at) >= since
    day_ends = run.calendar.ends(run.calendar.day(partition))
    needed = min(day_ends, since.replace(microsecond=0))
    # Children have the window of their parents, which are in the definition.
    wide = parent is not None or Window.from_json(found.window).end >= needed
    return found if newer and wide and found.definition == definition else None
