"""Whether a partition may be requested only if the feed has changed.

A 304 to the validators of the previous partition makes an empty partition, so they are used only
where that loses nothing: the previous one is committed and of the same definition, and this one
has no rows yet. A partition's own validators are never used for itself
(docs/decisions/0011-conditional-requests.md).
"""

from collections.abc import Mapping
from typing import Any

from pipeline.lake.manifest_queries import manifest_of
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
    previous = run.calendar.previous(partition)
    before = manifest_of(run.lake, run.source.source, endpoint, previous) if previous else None
    if before is None or before.definition != run.source.definition(endpoint):
        return {}
    mine = manifest_of(run.lake, run.source.source, endpoint, partition)
    if mine is not None and mine.rows:
        return {}
    names = ("validators", "feed_from")
    return {n: before.extra[n] for n in names if n in before.extra}
