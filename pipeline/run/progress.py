"""How far the work at a partition has come, as each staged batch of the checkpoint keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.extract.position import ResumePosition, position_from_json

_VERSION: Final = 1


@dataclass(frozen=True)
class ReadingEnd:
    """All pages of the partition came; the commit is all that is left.

    :ivar contiguous: the rows are proved to be complete.
    :ivar notes: for the manifest, JSON values.
    """

    contiguous: bool
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class PartitionProgress:
    """The position behind the rows that are staged, and whether these are all.

    :ivar position: None if nothing was read yet.
    """

    position: ResumePosition | None
    end: ReadingEnd | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "position": self.position.to_json() if self.position else None,
            "end": dict(vars(self.end)) if self.end else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PartitionProgress | None":
        """The inverse; None if another version wrote it: the partition is then read anew."""
        try:
            if data["version"] != _VERSION:
                return None
            end = ReadingEnd(**data["end"]) if data["end"] else None
            if data["position"] is None:
                return cls(None, end)
            position = position_from_json(data["position"])
            return None if position is None else cls(position, end)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
