"""Of a partition, what the checkpoint has besides its staged files: JSON, as a later attempt reads
it. What another version wrote is not resumed: the partition is then read from its first page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.extract.completeness import ProofBasis
from pipeline.extract.feed import NO_FEED, FeedNotes
from pipeline.extract.position import ResumePosition, position_from_json

_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class ReadingNotes:
    """What the pages of a partition have shown besides their rows, for its checks and its manifest.

    :ivar proof_basis: what the proof rests on; the least that may be said, if nothing is known.
    :ivar unproved: why the rows are not proved to be complete, if a page says so.
    :ivar tail_rows: rows behind the end, as they grow faster than it can be confirmed.
    :ivar bookmark: the change token of the last page.
    :ivar naive_columns: the columns whose times have no zone, and nothing says which.
    :ivar fan_out: how many values were requested, and which failed, as the manifest has it.
    :ivar failed_values: their names, those of groups one by one.
    :ivar not_modified: the API responded with a 304: ``feed`` is that of the previous partition.
    """

    proof_basis: ProofBasis = ProofBasis.COUNT
    unproved: str | None = None
    tail_rows: int = 0
    bookmark: str | None = None
    naive_columns: tuple[str, ...] = ()
    fan_out: Mapping[str, Any] = field(default_factory=dict)
    failed_values: tuple[str, ...] = ()
    feed: FeedNotes = NO_FEED
    not_modified: bool = False

    def to_json(self) -> dict[str, Any]:
        notes = {
            "rests_on": self.proof_basis.value,
            "unproved": self.unproved,
            "tail_rows": self.tail_rows or None,
            "bookmark": self.bookmark,
            "naive_columns": list(self.naive_columns) or None,
            "fan_out": dict(self.fan_out) or None,
            "failed_values": list(self.failed_values) or None,
            "not_modified": self.not_modified or None,
            **self.feed.to_json(),
        }
        return {name: value for name, value in notes.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ReadingNotes":
        """The inverse. :raises TypeError, ValueError: another version wrote it."""
        return cls(
            proof_basis=ProofBasis(data.get("rests_on", ProofBasis.COUNT)),
            unproved=data.get("unproved"),
            tail_rows=int(data.get("tail_rows", 0)),
            bookmark=data.get("bookmark"),
            naive_columns=tuple(data.get("naive_columns", ())),
            fan_out=data.get("fan_out", {}),
            failed_values=tuple(data.get("failed_values", ())),
            feed=FeedNotes.from_json(data),
            not_modified=bool(data.get("not_modified")),
        )


@dataclass(frozen=True)
class ReadingEnd:
    """All pages of the partition came; the commit is all that is left.

    :ivar contiguous: the rows are proved to be complete.
    """

    contiguous: bool
    notes: ReadingNotes

    def to_json(self) -> dict[str, Any]:
        return {"contiguous": self.contiguous, "notes": self.notes.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ReadingEnd":
        return cls(data["contiguous"], ReadingNotes.from_json(data["notes"]))


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
            "end": self.end.to_json() if self.end else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PartitionProgress | None":
        """The inverse; None if another version wrote it: the partition is then read anew."""
        try:
            if data["version"] != _VERSION:
                return None
            end = ReadingEnd.from_json(data["end"]) if data["end"] else None
            if data["position"] is None:
                return cls(None, end)
            position = position_from_json(data["position"])
            return None if position is None else cls(position, end)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
