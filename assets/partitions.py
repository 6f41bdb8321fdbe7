"""Days of a source as Dagster partitions: from its ``start`` to today, in its time zone.

Today is a partition too (``end_offset=1``): a day can be materialized before it has ended, and the
next day then starts where it stopped.
"""

import dagster as dg

from pipeline.config.source import Source


def daily(source: Source) -> dg.DailyPartitionsDefinition:
    """The partitions of all endpoints of a source."""
    return dg.DailyPartitionsDefinition(
        start_date=source.start.isoformat(), timezone=source.timezone, end_offset=1
    )
