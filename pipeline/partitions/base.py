"""The base of every partition scheme, and the registry of the kinds.

A scheme cuts time into intervals that follow each other, and gives each a key. What it needs is
five statements; all else (the partition before and after, the newest, ranges, Dagster's partitions
and schedules, the window, the folder in the lake) follows from them.
"""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from pipeline.kinds import Kinds

_TICK = timedelta(microseconds=1)


class PartitionScheme(BaseModel, ABC):
    """How time is cut into partitions: the model of ``partitions: {kind: …}`` in a source's YAML.

    A whole kind, for partitions of an hour:

        from datetime import datetime, timedelta
        from typing import ClassVar, Literal

        from pipeline.partitions.base import SCHEMES, PartitionScheme

        @SCHEMES.register("hours")
        class Hours(PartitionScheme):
            kind: Literal["hours"] = "hours"
            noun: ClassVar[str] = "hour"
            frequency: ClassVar[str] = "hourly"
            key_format: ClassVar[str] = "%Y-%m-%d-%H"
            cron: ClassVar[str] = "0 * * * *"

            def floor(self, local: datetime) -> datetime:
                return local.replace(minute=0, second=0, microsecond=0)

            def after(self, begin: datetime) -> datetime:
                return begin + timedelta(hours=1)

            def schedule_cron(self, hour: int, minute: int) -> str:
                return f"{minute} * * * *"

    All datetimes of a scheme are wall-clock times of the source's time zone, without a zone of
    their own: a ``Calendar`` makes instants of them. Where clocks are set back, an interval that is
    shorter than a day comes twice: such a scheme is for sources in UTC.

    :cvar noun: what one partition is called in sentences.
    :cvar frequency: the last word of the job's name: ``{source}_daily``.
    :cvar key_format: the key of a partition, by ``strftime`` of its begin. Keys sort as texts in
        the order of time, since the lake lists them so, and have no slash, since ``dt={key}`` is a
        folder there.
    :cvar cron: when partitions begin, for Dagster's definition of them.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    kind: str
    noun: ClassVar[str]
    frequency: ClassVar[str]
    key_format: ClassVar[str]
    cron: ClassVar[str]

    @abstractmethod
    def floor(self, local: datetime) -> datetime:
        """The begin of the partition that a time lies in."""

    @abstractmethod
    def after(self, begin: datetime) -> datetime:
        """The begin of the next partition, which is also the end of this one."""

    @abstractmethod
    def schedule_cron(self, hour: int, minute: int) -> str:
        """When the source's schedule runs, by ``schedule: {hour, minute}`` of its YAML: a cron of
        five fields, with one number up to 27 for a day of the month, one for a day of the week.
        """

    def before(self, begin: datetime) -> datetime:
        """The begin of the previous partition."""
        return self.floor(begin - _TICK)

    def key(self, begin: datetime) -> str:
        """The key of the partition that begins then."""
        return begin.strftime(self.key_format)

    def parse(self, key: str) -> datetime:
        """The begin of the partition that has this key.

        :raises ValueError: no partition has it, or it is written in another way.
        """
        begin = datetime.strptime(key, self.key_format)  # noqa: DTZ007 - a wall-clock time
        if self.key(begin) != key or self.floor(begin) != begin:
            raise ValueError(key)
        return begin


SCHEMES: Kinds[PartitionScheme] = Kinds("partitions", PartitionScheme)  # type: ignore[type-abstract]
"""All kinds of partition schemes."""


FOLDER_COLUMN = "dt"
"""What partitions' folders are named by: ``dt={key}``. Engines make a column of it (Hive)."""


def is_folder_column(name: str) -> bool:
    """Whether an engine would take a column for the one of the folders: most overlook case."""
    return name.casefold() == FOLDER_COLUMN


def is_key_of_any(text: str) -> bool:
    """Whether a text is written as a partition's key of some kind is. Readers of a lake, who have
    no source at hand, refuse what can't be one."""
    for _, scheme in SCHEMES:
        try:
            begin = datetime.strptime(text, scheme.key_format)  # noqa: DTZ007
        except ValueError:
            continue
        if begin.strftime(scheme.key_format) == text:
            return True
    return False
