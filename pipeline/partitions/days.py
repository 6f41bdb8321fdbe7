"""Partitions of a day: midnight to midnight in the source's time zone, 23 to 25 hours."""

from datetime import datetime, time, timedelta
from typing import ClassVar, Literal

from pipeline.partitions.base import SCHEMES, PartitionScheme


@SCHEMES.register("days")
class DayScheme(PartitionScheme):
    """A partition a day, ``YYYY-MM-DD``."""

    kind: Literal["days"] = "days"
    noun: ClassVar[str] = "day"
    frequency: ClassVar[str] = "daily"
    key_format: ClassVar[str] = "%Y-%m-%d"
    cron: ClassVar[str] = "0 0 * * *"

    def floor(self, local: datetime) -> datetime:
        return datetime.combine(local.date(), time.min)

    def after(self, begin: datetime) -> datetime:
        return begin + timedelta(days=1)

    def schedule_cron(self, hour: int, minute: int) -> str:
        return f"{minute} {hour} * * *"
