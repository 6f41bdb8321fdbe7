"""Whether the lake holds what the API holds: the latest version of every row, none missing.

Times in unix seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NEVER = 0
"""Stands for a cursor without a value: some APIs have rows that never got one."""


@dataclass(frozen=True)
class Comparison:
    api_rows: int
    missing: int
    outdated: int

    def __str__(self) -> str:
        return (
            f"{self.api_rows:,} rows in the API: {self.missing} missing in the lake, "
            f"{self.outdated} there in an older version only."
        )


def latest_in_lake(files: Iterable[Path], key: str, cursor: str) -> dict[int, int]:
    """For each key the latest cursor value found in any of the files."""
    latest: dict[int, int] = {}
    for file in files:
        columns = pq.read_table(file, columns=[key, cursor])
        seconds = pc.cast(pc.cast(columns[cursor], pa.timestamp("s", "UTC")), pa.int64())
        for row_key, moment in zip(columns[key].to_pylist(), seconds.to_pylist(), strict=True):
            latest[row_key] = max(moment or NEVER, latest.get(row_key, NEVER))
    return latest


def compare(
    api_rows: Iterable[Mapping[str, Any]], latest: Mapping[int, int], key: str, cursor: str
) -> Comparison:
    missing = outdated = total = 0
    for row in api_rows:
        total += 1
        found = latest.get(row[key])
        if found is None:
            missing += 1
        elif found < (row.get(cursor) or NEVER):
            outdated += 1
    return Comparison(total, missing, outdated)
