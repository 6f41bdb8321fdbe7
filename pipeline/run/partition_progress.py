"""The progress of a partition, which its checkpoint holds as JSON beside the staged files.

A later attempt resumes from it. Progress in another version of this format can't be resumed: the
partition is then read from its first page.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.extract.completeness import ProofBasis
from pipeline.extract.feed import NO_FEED, FeedNotes
from pipeline.extract.position import ResumePosition, position_from_json

_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class ReadingCounts:
    """What the rows of one reading have shown, over its attempts. A restart begins with none: the
    rows that were read before it are read again.

    :ivar duplicates: rows that came again, equal in all columns, and were dropped.
    :ivar filtered_rows: those that ``where`` did not keep.
    :ivar rows_after_end: those behind the window's end that had not changed meanwhile.
    :ivar converted: by column, how many cells did not come in its type.
    :ivar naive_columns: the columns whose times have no zone, and nothing says which.
    :ivar latest_us: by column of times, its latest one, microseconds since 1970, as far as it was
        looked at.
    :ivar earliest_response_s: when the API made its earliest response, by its own clock, seconds
        since 1970; None: no response said it.
    """

    duplicates: int = 0
    filtered_rows: int = 0
    rows_after_end: int = 0
    converted: Mapping[str, int] = field(default_factory=dict)
    naive_columns: frozenset[str] = frozenset()
    latest_us: Mapping[str, int] = field(default_factory=dict)
    earliest_response_s: int | None = None

    def plus(self, earlier: "ReadingCounts") -> "ReadingCounts":
        """These, and those of the attempts before."""
        instants = [at for at in (self.earliest_response_s, earlier.earliest_response_s) if at]
        return ReadingCounts(
            **{name: getattr(self, name) + getattr(earlier, name) for name in _OF_ROWS},
            converted=Counter(self.converted) + Counter(earlier.converted),
            naive_columns=self.naive_columns | earlier.naive_columns,
            latest_us={
                name: max(of[name] for of in (self.latest_us, earlier.latest_us) if name in of)
                for name in {**self.latest_us, **earlier.latest_us}
            },
            earliest_response_s=min(instants, default=None),
        )

    def to_json(self) -> dict[str, int]:
        """One number by name."""
        return {
            **{key: getattr(self, name) for name, key in _OF_ROWS.items()},
            **{_CONVERTED + name: cells for name, cells in self.converted.items()},
            **{_NAIVE + name: 1 for name in sorted(self.naive_columns)},
            **{_LATEST + name: at for name, at in self.latest_us.items()},
            _EARLIEST_RESPONSE: self.earliest_response_s or 0,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> "ReadingCounts":
        """The inverse; what it does not know is left out."""
        return cls(
            **{name: data.get(key, 0) for name, key in _OF_ROWS.items()},
            converted=_with_prefix(_CONVERTED, data),
            naive_columns=frozenset(_with_prefix(_NAIVE, data)),
            latest_us=_with_prefix(_LATEST, data),
            earliest_response_s=data.get(_EARLIEST_RESPONSE),
        )


_OF_ROWS: Final = {
    "duplicates": "duplicates",
    "filtered_rows": "filtered rows",
    "rows_after_end": "rows_after_end",
}
"""The names of plain numbers in JSON, by their names here."""


@dataclass(frozen=True, kw_only=True)
class PartitionCounts:
    """What a partition has cost so far, over all attempts and readings, and what its rows show.

    :ivar feed_out_of_order: the feed has shown that it does not come newest first.
    :ivar reading: of the reading whose rows are staged.
    """

    pages: int = 0
    gaps_refetched: int = 0
    requests: int = 0
    throttled: int = 0
    retried: int = 0
    feed_out_of_order: bool = False
    reading: ReadingCounts = ReadingCounts()

    def plus(self, earlier: "PartitionCounts") -> "PartitionCounts":
        """These, and those of the attempts before."""
        return PartitionCounts(
            **{name: getattr(self, name) + getattr(earlier, name) for name in _COSTS},
            feed_out_of_order=self.feed_out_of_order or earlier.feed_out_of_order,
            reading=self.reading.plus(earlier.reading),
        )

    def to_json(self) -> dict[str, int]:
        """One number by name, those that are not 0."""
        numbers = {
            **{name: getattr(self, name) for name in _COSTS},
            _OUT_OF_ORDER: int(self.feed_out_of_order),
            **self.reading.to_json(),
        }
        return {name: number for name, number in numbers.items() if number}

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> "PartitionCounts":
        """The inverse; what it does not know is left out."""
        return cls(
            **{name: data.get(name, 0) for name in _COSTS},
            feed_out_of_order=bool(data.get(_OUT_OF_ORDER)),
            reading=ReadingCounts.from_json(data),
        )


_COSTS: Final = ("pages", "gaps_refetched", "requests", "throttled", "retried")
_CONVERTED: Final = "converted "
_NAIVE: Final = "naive "
_LATEST: Final = "latest "
_OUT_OF_ORDER: Final = "feed_out_of_order"
_EARLIEST_RESPONSE: Final = "first_response_s"


def _with_prefix(prefix: str, data: Mapping[str, int]) -> dict[str, int]:
    of_prefix = ((name, number) for name, number in data.items() if name.startswith(prefix))
    return {name.removeprefix(prefix): number for name, number in of_prefix}


@dataclass(frozen=True, kw_only=True)
class ReadingNotes:
    """What the pages of a partition have shown besides their rows, for its checks and its manifest.

    :ivar proof_basis: what the proof rests on; the least that may be said, if nothing is known.
    :ivar unproved: why the rows are not proved to be complete, if a page says so.
    :ivar tail_rows: rows behind the end, as they grow faster than it can be confirmed.
    :ivar bookmark: the change token of the last page.
    :ivar fan_out: how many values were requested, and which failed, as the manifest has it.
    :ivar failed_values: their names, those of groups one by one.
    :ivar not_modified: the API responded with a 304: ``feed`` is that of the previous partition.
    """

    proof_basis: ProofBasis = ProofBasis.COUNT
    unproved: str | None = None
    tail_rows: int = 0
    bookmark: str | None = None
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
