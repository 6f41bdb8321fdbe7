"""The partitions of a source, as Dagster's: from its ``start`` to the current one.

The current partition counts, too (``end_offset=1``). It can be materialized before it has ended,
and the next one then starts where it stopped.

For Dagster a snapshot has no partitions: a past state can't be read any more, so that a backfill
could never complete. In the lake, snapshots are stored by partition all the same.
"""

from datetime import datetime
from functools import lru_cache

import dagster as dg

from pipeline.config.source import Source

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def partitions_of(source: Source) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of all endpoints of a source, as its scheme cuts them."""
    calendar = source.calendar
    scheme = calendar.scheme
    return _partitions(calendar.first, scheme.key_format, scheme.cron, source.timezone)


@lru_cache
def _partitions(
    first: str, key_format: str, cron: str, timezone: str
) -> dg.TimeWindowPartitionsDefinition:
    """One object for all endpoints of all sources whose partitions are the same."""
    return dg.TimeWindowPartitionsDefinition(
        start=first,
        fmt=key_format,
        cron_schedule=cron,
        timezone=timezone,
        end_offset=1,
    )


def requested_partitions(
    context: dg.AssetExecutionContext, source: Source, *, partitioned: bool, now: datetime
) -> list[str]:
    """The partitions that a run was asked for. A run of snapshots alone may name none: then it is
    the current one.

    :param partitioned: an asset with partitions is among the selected ones.
    """
    if partitioned:
        return list(context.partition_keys)
    tags, calendar = context.run.tags, source.calendar
    if key := tags.get(PARTITION_TAG):
        return [key]
    first, last = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    if first and last:
        return calendar.between(first, last)
    return [calendar.of(now)]


def recorded_partition(source: Source, endpoint: str, partition: str) -> str | None:
    """The partition of an event; None for a snapshot."""
    return partition if source.incremental(endpoint) else None
