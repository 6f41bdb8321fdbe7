"""Whether a partition may be asked for only if it has changed.

A 304 to the validators of the partition before makes an empty partition, so they are used only
where that loses nothing: the partition before is committed and of the same definition, and this one
has no rows yet. A partition's own validators are never used for itself
(docs/decisions/0011-conditional-requests.md).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pipeline.partitions.window import Window
from pipeline.run.staged_partition import RunContext


def seen_before(
    run: RunContext, endpoint: str, partition: str, window: Window, *, in_this_run: bool
) -> Mapping[str, Any]:
    """What the partition before knows of the feed; empty: read it, whatever has changed.

    :param in_this_run: the partition before is being read anew beside this one.
    """
    spec = run.source.endpoints[endpoint]
    if not spec.conditional or window.kind != "incremental" or in_this_run:
        return {}
    day_before = (run.calendar.day(partition) - timedelta(days=1)).isoformat()
    before = run.index.get(run.source.source, endpoint, day_before)
    if before is None or before.definition != run.source.definition(endpoint):
        return {}
    mine = run.index.get(run.source.source, endpoint, partition)
    if mine is not None and mine.rows:
        return {}
    notes = before.notes
    validators = {"validators": notes.validators} if notes.validators else {}
    return {**validators, "feed_from": notes.feed_from}
