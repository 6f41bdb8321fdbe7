"""Partitions of a source as Dagster's: from its ``start`` to the one that is running now.

The running one is a partition too (``end_offset=1``): a day can be materialized before it has
ended, and the next day then starts where it stopped.
"""

import dagster as dg

from pipeline.config.source import Source


def partitions_of(source: Source) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of all endpoints of a source, as its scheme cuts them."""
    calendar = source.calendar
    return dg.TimeWindowPartitionsDefinition(
        start=calendar.first,
        fmt=calendar.scheme.key_format,
        cron_schedule=calendar.scheme.cron,
        timezone=source.timezone,
        end_offset=1,
    )
