"""Resume positions: how far a reader of pages has come, as a later attempt takes it up.

Each reader has a position of its own, a frozen dataclass. Its JSON names the kind and the version:
a position of another version, or one that can't be read, is None from ``position_from_json``; the
partition is then read from its first page. ``CannotResume`` is raised by a reader that finds out
only while it resumes.

Readers of pages yield a ``PageBatch``: new rows, with the position behind them.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol, Self

import pyarrow as pa

from pipeline.errors import PageTokenDead, RequestRefused
from pipeline.extract.completeness import CountReconciliation, ProofBasis
from pipeline.extract.seen_rows import Digests
from pipeline.pagination.page import (
    Key,
    Keys,
    PageInfo,
    PageRequest,
    key_from_json,
    key_to_json,
)


class CannotResume(Exception):
    """A position can't be resumed from: the partition has to be read from its first page."""


MOST_READINGS: Final = 4
"""Readings of a partition, or of one value, whose page tokens expire."""


def expired_again(error: PageTokenDead, subject: str) -> RequestRefused:
    """The error of a chain whose page tokens have expired in all of its readings.

    :param subject: what was read.
    """
    return RequestRefused(
        f"{error}. The page token expired in {MOST_READINGS} readings of {subject}. Choose one: "
        "1. a larger `paging.limit`: fewer pages, sooner read; 2. `window.max_s`: a chain for each "
        "part of the window (of a first partition and of a sweep only with `window.floor`); 3. a "
        "schedule at which no other endpoints use the same budget",
        error.status,
    )


class ResumePosition(ABC):
    """How far a reader has come.

    :cvar kind: the reader's name in JSON.
    :cvar version: of the JSON. Raise it when a field changes its name or meaning.
    """

    kind: ClassVar[str]
    version: ClassVar[int]

    def to_json(self) -> dict[str, Any]:
        """JSON values, which ``position_from_json`` reads."""
        return {"kind": self.kind, "version": self.version, **self._fields_to_json()}

    @abstractmethod
    def _fields_to_json(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def _from_fields(cls, data: Mapping[str, Any]) -> Self:
        """:raises KeyError, TypeError, ValueError: the fields are not of this version."""

    @classmethod
    def of(cls, position: "ResumePosition | None") -> Self | None:
        """The position as one of this kind; None stays None.

        :raises CannotResume: it is of another reader.
        """
        if position is None or isinstance(position, cls):
            return position
        raise CannotResume(f"the position is of kind `{position.kind}`, expected `{cls.kind}`")


@dataclass(frozen=True)
class Unproved:
    """What speaks against a proof of the pages so far, and does not show on those behind them.

    :ivar reason: why they are not proved to be all, if one of them says so.
    :ivar tail_rows: as in ``ExtractionProgress``.
    """

    reason: str | None = None
    tail_rows: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"doubt": self.reason, "tail_rows": self.tail_rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Unproved":
        return cls(data["doubt"], int(data["tail_rows"]))


ALL_PROVED: Final = Unproved()


@dataclass(frozen=True)
class ContiguousPosition(ResumePosition):
    """The position in pages in the order of a key.

    :ivar covered: all rows up to this key are staged.
    :ivar offset: of the page to go on with, where the API can't seek a key.
    :ivar rows: all that came so far, over all attempts.
    :ivar unproved: of the pages so far.
    :ivar total: on the first page of all; None: it has none.
    """

    kind = "contiguous"
    version = 2

    covered: Key
    offset: int
    rows: int
    unproved: Unproved = ALL_PROVED
    total: int | None = None

    def _fields_to_json(self) -> dict[str, Any]:
        place = {"covered": key_to_json(self.covered), "offset": self.offset, "rows": self.rows}
        total = {} if self.total is None else {"total": self.total}
        return {**place, **self.unproved.to_json(), **total}

    @classmethod
    def _from_fields(cls, data: Mapping[str, Any]) -> Self:
        covered = key_from_json(data["covered"])
        total, unproved = data.get("total"), Unproved.from_json(data)
        return cls(
            covered,
            int(data["offset"]),
            int(data["rows"]),
            unproved,
            None if total is None else int(total),
        )


@dataclass(frozen=True)
class LastPage:
    """The last page of pages by the cursor, as far as a later attempt has to know it.

    :ivar linked: a link named the page after it.
    """

    rows: int
    cursor: str
    first_cursor: str | None
    boundary_keys: tuple[Keys, ...]
    linked: bool

    @classmethod
    def of(cls, info: PageInfo) -> "LastPage | None":
        """None if the page has no cursor."""
        if info.cursor is None:
            return None
        return cls(
            info.rows, info.cursor, info.first_cursor, info.boundary_keys, info.url is not None
        )

    @property
    def info(self) -> PageInfo:
        """As the page's own; of its link only that there was one."""
        return PageInfo(
            self.rows,
            cursor=self.cursor,
            first_cursor=self.first_cursor,
            boundary_keys=self.boundary_keys,
            url="" if self.linked else None,
        )

    def to_json(self) -> dict[str, Any]:
        keys = [[key_to_json(key) for key in keys] for keys in self.boundary_keys]
        return {**vars(self), "boundary_keys": keys}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LastPage":
        keys = (tuple(key_from_json(key) for key in keys) for keys in data["boundary_keys"])
        return cls(**{**data, "boundary_keys": tuple(keys)})


@dataclass(frozen=True)
class SequentialPosition(ResumePosition):
    """The position in chains of pages and numbered pages.

    :ivar index: of the slice of the window that is being read.
    :ivar request: the next page of that slice; None if the slice has ended.
    :ivar counts: what this pass has read, and what the API says that there is.
    :ivar slices: of a capped search, the parts of the window, as they were found.
    :ivar bookmark: the change token that the last page has.
    :ivar unproved: of the pages so far.
    """

    kind = "sequential"
    version = 2

    index: int
    request: PageRequest | None
    last: LastPage | None
    counts: CountReconciliation
    slices: tuple[tuple[str | None, str], ...] = ()
    bookmark: str | None = None
    unproved: Unproved = ALL_PROVED

    def _fields_to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "request": self.request.to_json() if self.request else None,
            "last": self.last.to_json() if self.last else None,
            "counts": self.counts.to_json(),
            **({"slices": self.slices} if self.slices else {}),
            **({"bookmark": self.bookmark} if self.bookmark else {}),
            **self.unproved.to_json(),
        }

    @classmethod
    def _from_fields(cls, data: Mapping[str, Any]) -> Self:
        request, last = data["request"], data["last"]
        return cls(
            int(data["index"]),
            PageRequest.from_json(request) if request else None,
            LastPage.from_json(last) if last else None,
            CountReconciliation.from_json(data["counts"]),
            tuple((start, str(end)) for start, end in data.get("slices", ())),
            data.get("bookmark"),
            Unproved.from_json(data),
        )


@dataclass(frozen=True)
class FailedValue:
    """A partition value (a parent, a group of parents, a lane) whose rows could not be read.

    :ivar outcome: of a lane, what its error means: ``none`` and ``denied`` are no failures.
    :ivar retryable: a later attempt may read it.
    """

    value: str
    kind: str
    reason: str
    outcome: str = "failed"
    retryable: bool = False

    @property
    def has_failed(self) -> bool:
        return self.outcome in ("failed", "throttled")

    def to_json(self) -> dict[str, Any]:
        """As manifests list it, where each value is a parent."""
        members: dict[str, Any] = {"parent": self.value, "kind": self.kind, "reason": self.reason}
        if self.outcome != "failed":
            members["outcome"] = self.outcome
        return members | ({"retryable": True} if self.retryable else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FailedValue":
        return cls(
            data["parent"],
            data["kind"],
            data["reason"],
            data.get("outcome", "failed"),
            data.get("retryable", False),
        )


@dataclass(frozen=True)
class FanOutPosition(ResumePosition):
    """The positions in the pages of each value of a list.

    :ivar next: index of the first value that is not begun.
    :ivar open: the values that are begun and have not ended, by their index, with how far each has
        come; None = nothing of it is handed on.
    :ivar failed: values that were passed over.
    :ivar proved: the rows of all values that have ended are proved.
    :ivar proof_basis: what the proof of these rests on.
    :ivar with_rows: how many of these had rows.
    :ivar has_stale_rows: rows are staged of values that could not be read, as they were before.
    :ivar cut_off: of the values that failed after rows of theirs were handed on, by their index,
        the position behind these.
    :ivar unproved: of the values that have ended.
    :ivar rows_of: of the values in ``open`` and ``cut_off``, by their index, how many rows of their
        latest reading are handed on.
    :ivar rows_again: as in ``ExtractionProgress``; ``reread`` as ``reread_values`` there.
    """

    kind = "fan_out"
    version = 2

    next: int = 0
    open: tuple[tuple[int, ResumePosition | None], ...] = ()
    failed: tuple[FailedValue, ...] = ()
    proved: bool = True
    proof_basis: ProofBasis = ProofBasis.ONE_PAGE
    with_rows: int = 0
    has_stale_rows: bool = False
    cut_off: tuple[tuple[int, ResumePosition], ...] = ()
    unproved: Unproved = ALL_PROVED
    rows_of: tuple[tuple[int, int], ...] = ()
    rows_again: int = 0
    reread: tuple[int, ...] = ()

    def _fields_to_json(self) -> dict[str, Any]:
        return {
            "next": self.next,
            "with_rows": self.with_rows,
            "kept": self.has_stale_rows,
            "open": [[index, at.to_json() if at else None] for index, at in self.open],
            "failed": [failed.to_json() for failed in self.failed],
            "proved": self.proved,
            "proof_basis": self.proof_basis.value,
            **({"cut_off": [[n, at.to_json()] for n, at in self.cut_off]} if self.cut_off else {}),
            **({"rows_of": self.rows_of} if self.rows_of else {}),
            **({"rows_again": self.rows_again} if self.rows_again else {}),
            **({"reread": self.reread} if self.reread else {}),
            **self.unproved.to_json(),
        }

    @classmethod
    def _from_fields(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            int(data["next"]),
            tuple((int(index), _of_value(at)) for index, at in data["open"]),
            tuple(map(FailedValue.from_json, data["failed"])),
            bool(data["proved"]),
            ProofBasis(data["proof_basis"]),
            int(data["with_rows"]),
            bool(data["kept"]),
            tuple((int(index), _begun(at)) for index, at in data.get("cut_off", ())),
            Unproved.from_json(data),
            tuple((int(index), int(rows)) for index, rows in data.get("rows_of", ())),
            int(data.get("rows_again", 0)),
            tuple(map(int, data.get("reread", ()))),
        )


_KINDS: Final[Mapping[str, type[ResumePosition]]] = {
    cls.kind: cls for cls in (ContiguousPosition, SequentialPosition, FanOutPosition)
}


def position_from_json(data: Mapping[str, Any]) -> ResumePosition | None:
    """A position; None if another version wrote it, or it can't be read."""
    try:
        cls = _KINDS[data["kind"]]
        return cls._from_fields(data) if data["version"] == cls.version else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _of_value(data: Mapping[str, Any] | None) -> ResumePosition | None:
    """:raises ValueError: the value's position is of another version, and so is the whole."""
    return None if data is None else _begun(data)


def _begun(data: Mapping[str, Any]) -> ResumePosition:
    """:raises ValueError: as ``_of_value``."""
    position = position_from_json(data)
    if position is None:
        raise ValueError("the position of a value is of another version")
    return position


@dataclass
class ExtractionProgress:
    """The pages and rows that a reader has read so far: progress while it runs, proof when it ends.

    :ivar total: rows that the API says there are; None if unknown.
    :ivar values: of a fan-out, how many values have been read; ``of_values``: there are in all;
        ``failed_values``: how many of those read have failed; ``value_noun``: what they are.
    :ivar rows_again: of a fan-out, rows that were handed on, over all attempts, of values whose
        reading began anew since: they come again.
    :ivar duplicate_rows: rows that came again, equal in all columns, and not by design.
    :ivar reread_keys: digests of keys whose row was read again by design (a page that overlaps,
        another pass), and had changed.
    :ivar reread_values: of a fan-out, over all attempts, the indices of values of which rows were
        handed on, and whose reading began anew.
    :ivar tail_rows: rows that lay behind the end when the reading ended, since they grow faster
        than an end can be confirmed.
    :ivar contiguous: the rows are proved to be complete, which rests on ``proof_basis``.
    :ivar unproved: why it is not proved, if one page says so.
    :ivar bookmark: the change token of the last page.
    """

    total: int | None = None
    pages: int = 0
    rows: int = 0
    rows_again: int = 0
    gaps_refetched: int = 0
    duplicate_rows: int = 0
    reread_keys: list[Digests] = field(default_factory=list)
    reread_values: set[int] = field(default_factory=set)
    passes: int = 1
    tail_rows: int = 0
    values: int = 0
    of_values: int = 0
    failed_values: int = 0
    value_noun: str = "values"
    contiguous: bool = False
    unproved: str | None = None
    proof_basis: ProofBasis = ProofBasis.KEYS
    bookmark: str | None = None

    def restart(self) -> None:
        """Begin a reading from the first page: of those before it, only what they cost counts."""
        anew = ExtractionProgress(pages=self.pages, gaps_refetched=self.gaps_refetched)
        vars(self).update(vars(anew))

    @property
    def unproved_so_far(self) -> Unproved:
        return Unproved(self.unproved, self.tail_rows)

    def resume_from(self, unproved: Unproved) -> None:
        """Take over why the pages that an earlier attempt has staged are not proved."""
        self.unproved, self.tail_rows = unproved.reason, unproved.tail_rows


@dataclass(frozen=True)
class PageBatch:
    """Rows that are new, and the position after them that a later attempt resumes from."""

    table: pa.Table
    position: ResumePosition
    arrow_bytes: int


class EndpointReader(Protocol):
    """Reads all pages of an endpoint in one window.

    :ivar progress: of its pages, filled while it reads them.
    """

    progress: ExtractionProgress

    def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """All rows, each once.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: the position can't be resumed from.
        """
        ...
