"""The bookmark of a partition: where its reading ended, in the API's own terms. Pure.

An API that can't be asked for a time says where a reader has come: by an increasing number in its
rows, or by a change token. Each partition starts with the bookmark of the one before it, and
records its own in its manifest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.timestamps import as_iso


@dataclass(frozen=True)
class Bookmark:
    """Where the reading of a partition ended.

    :ivar kind: of bookmarks, as the YAML's ``cursor`` names it.
    :ivar of: the column, the member or the header that it was read from: a bookmark of another one
        means something else.
    :ivar value: a number, or the API's text; None: nothing was there yet.
    :ivar at: when it was read.
    """

    kind: str
    of: str
    value: int | str | None = field(repr=False)
    at: datetime

    def reaches(self, start: "Bookmark") -> bool:
        """Whether a partition that ends here leaves out nothing before one that starts there.

        Numbers are compared. Of two tokens that differ, the one that was read later reaches
        further: the partition was read once more.
        """
        mine, other = self.value, start.value
        if mine == other or other is None:
            return True
        if isinstance(mine, int) and isinstance(other, int):
            return mine >= other
        return mine is not None and self.at >= start.at

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": as_iso(self.at)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Bookmark":
        at = datetime.fromisoformat(data["at"])
        return cls(str(data["kind"]), str(data["of"]), data["value"], at)


@dataclass(frozen=True)
class BookmarkSpan:
    """What a partition is read for, by the bookmarks of its neighbours.

    :ivar start: the bookmark of the newest partition before; None: the first one, which reads all.
    :ivar partition: the partition whose bookmark that is.
    :ivar until: the bookmark that the next committed partition started with: a number beyond it is
        a row of that one. One without a value is the beginning: all rows are of that one.
    :ivar expired: the API does not know ``start`` any more: all is read, and what is gone is
        recorded as deleted.
    :ivar reread_at: when the reading of all began, if ``start`` has expired: of a row that came to
        the lake later, that reading says nothing. None: an earlier version wrote this.
    """

    start: Bookmark | None = None
    partition: str | None = None
    until: Bookmark | None = None
    expired: bool = False
    reread_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start.to_json() if self.start else None,
            "partition": self.partition,
            "until": self.until.to_json() if self.until else None,
            "expired": self.expired,
            **({"reread_at": self.reread_at.isoformat()} if self.reread_at else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BookmarkSpan":
        start, until = data["start"], data["until"]
        return cls(
            Bookmark.from_json(start) if start else None,
            data["partition"],
            Bookmark.from_json(until) if until else None,
            bool(data["expired"]),
            datetime.fromisoformat(at) if (at := data.get("reread_at")) else None,
        )
