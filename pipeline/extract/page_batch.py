"""What every way of reading an endpoint's pages hands on, and what it tells of itself.

The rows of a page come with the position after it, which is what a later try starts from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.extract.completeness import BY_KEYS


@dataclass
class ExtractionProgress:
    """What an extraction has seen so far: progress while it runs, proof when it ends."""

    total: int | None = None
    pages: int = 0
    rows: int = 0
    gaps_refetched: int = 0
    repeated_rows: int = 0
    passes: int = 1
    contiguous: bool = False
    rests_on: str = BY_KEYS


@dataclass(frozen=True)
class PageBatch:
    """Rows that are new, and the position after them (JSON) that a later try starts from."""

    table: pa.Table
    position: Mapping[str, Any]
    arrow_bytes: int
