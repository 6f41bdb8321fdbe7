"""What every reader of an endpoint's pages hands on, and what it tells of itself.

The rows of a page come with the position after it, which a later attempt resumes from.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from pipeline.extract.completeness import ProofBasis
from pipeline.extract.position import ResumePosition
from pipeline.extract.row_digests import Digests


@dataclass
class ExtractionProgress:
    """What a reader has read so far: progress while it runs, proof when it ends.

    :ivar total: rows that the API says there are; None if unknown.
    :ivar values: of a fan-out, how many values have been read; ``of_values``: there are in all.
    :ivar duplicate_rows: rows that came again, equal in all columns, and not by design.
    :ivar reread_keys: digests of keys whose row was read again by design (a page that overlaps,
        another pass), and had changed.
    :ivar tail_rows: rows that lay behind the end when the reading ended, since they grow faster
        than an end can be confirmed.
    :ivar contiguous: the rows are proved to be complete, which rests on ``proof_basis``.
    :ivar doubt: why it is not proved, if one page says so.
    """

    total: int | None = None
    pages: int = 0
    rows: int = 0
    gaps_refetched: int = 0
    duplicate_rows: int = 0
    reread_keys: list[Digests] = field(default_factory=list)
    passes: int = 1
    tail_rows: int = 0
    values: int = 0
    of_values: int = 0
    contiguous: bool = False
    doubt: str | None = None
    proof_basis: ProofBasis = ProofBasis.KEYS


@dataclass(frozen=True)
class PageBatch:
    """Rows that are new, and the position after them that a later attempt resumes from."""

    table: pa.Table
    position: ResumePosition
    arrow_bytes: int


class EndpointReader(Protocol):
    """Reads all pages of an endpoint in one window.

    :ivar progress: may be replaced before the run, to watch it from outside.
    """

    progress: ExtractionProgress

    def run(self, position: ResumePosition | None) -> AsyncGenerator[PageBatch, None]:
        """All rows, each once.

        :param position: where an earlier attempt stopped; None = from the beginning.
        :raises CannotResume: the position can't be resumed from.
        """
        ...
