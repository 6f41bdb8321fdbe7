"""Times in a unit that is too fine: seconds that are read as milliseconds lie in January 1970.

A number of a coarser unit than the declared one is a time a few days after 1970, and of no row is
that seen by itself. Over all rows of a partition it is: a column whose latest time would be one of
our years in a coarser unit is in that unit. The other way round, milliseconds that are read as
seconds lie behind the year 9999, where a decoder refuses them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.types import INSTANT
from pipeline.timestamps import EPOCH

_COARSER: Final = {
    "timestamp[ms]": ((1_000, "timestamp[s]"),),
    "timestamp[us]": ((1_000, "timestamp[ms]"), (1_000_000, "timestamp[s]")),
}
"""By how much an instant grows if its number is of a coarser unit, and that unit's type."""
_FIRST_US: Final = (datetime(2000, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime(2060, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


class EarlyTimes:
    """The latest time of each column whose times have all been early so far."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._columns = [name for name, of in types.items() if of in _COARSER]
        self.latest_us: dict[str, int] = {}

    def note(self, table: pa.Table) -> None:
        """Note the rows of a page. A column that has had a later time is not looked at again."""
        for name in [*self._columns]:
            if name not in table.column_names or table.schema.field(name).type != INSTANT:
                continue
            latest = pc.max(table[name]).value
            if latest is not None:
                self.latest_us[name] = max(latest, self.latest_us.get(name, latest))
                if latest * 1_000 > _LAST_US:
                    self._columns.remove(name)


def coarser_type(declared: str, latest_us: int) -> tuple[str, datetime] | None:
    """The type in which the latest time of a column is one of our years, and that time in it; None
    if it is one as declared.

    :param declared: the type, as the YAML says it.
    :param latest_us: microseconds since 1970.
    """
    for factor, text in _COARSER.get(declared, ()):
        if _FIRST_US <= latest_us * factor <= _LAST_US:
            return text, EPOCH + timedelta(microseconds=latest_us * factor)
    return None
