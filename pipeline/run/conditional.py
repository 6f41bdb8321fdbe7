"""Whether a partition may be requested only if the feed has changed.

A 304 to the validators of the previous partition makes an empty partition, so they are used only
where that loses nothing: the previous one is committed and of the same definition, and this one
has no rows yet. A partition's own validators are never used for itself
(docs/decisions/0011-conditional-requests.md).
"""

from collections.abc import Mapping
from typing import Any

from pipeline.partitions.window import Window
from pipeline.run.context import RunContext


def validators_of_previous(
    run: RunContext, endpoint: str, partition: str, window: Window, *, previous_in_run: bool
) -> Mapping[str, Any]:
    """The validators of the previous partition; empty: read it, whatever has changed.

    :param previous_in_run: the previous partition is being read anew beside this one.
    """
    spec = run.source.endpoints[endpoint]
    if not spec.conditional or window.kind != "incremental" or previous_in_run:
        return {}
    source, index, previous = run.source.source, run.index, run.calendar.previous(partition)
    before = index.get(source, endpoint, previous) if previous else None
    if before is None or before.definition != run.source.definition(endpoint):
        return {}
    mine = run.index.get(run.source.source, endpoint, partition)
    if mine is not None and mine.rows:
        return {}
    notes = before.notes
    validators = {"validators": notes.validators} if notes.validators else {}
    return {**validators, "feed_from": notes.feed_from}
