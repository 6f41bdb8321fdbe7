"""Late rows: counted against the partition before, whatever the type of the cursor."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from pipeline.lake.s3 import Lake
from pipeline.run.late import late_rows
from tests.lake.support import DAYS, INSTANT, at, put, rows


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (INSTANT, lambda t: t),
        (pa.int64(), lambda t: int(t.timestamp())),
        (pa.string(), lambda t: t.isoformat().replace("+00:00", "Z")),
        (pa.timestamp("s"), lambda t: t.replace(tzinfo=None)),
    ],
)
def test_late_rows(lake: Lake, kind: pa.DataType, value: Any) -> None:
    boundary = at("2026-01-02")

    def before(hours: float) -> Any:
        return value(boundary - timedelta(hours=hours))

    previous = put(
        lake, DAYS[0], rows({"id": 1, "at": before(1)}, {"id": 2, "at": before(5)}, at=kind)
    )
    new = put(
        lake,
        DAYS[1],
        rows({"id": 1, "at": before(1)}, {"id": 2, "at": before(2)}, at=kind),
        rows({"id": 3, "at": before(3)}, {"id": 4, "at": before(0)}, {"id": 5}, at=kind),
    )
    arguments: Any = {
        "key": ["id"],
        "cursor": "at",
        "boundary": boundary,
    }
    assert late_rows(lake, new.files, lambda: previous, **arguments) == ((3, 2, 3 * 3600), None)
    assert late_rows(lake, new.files, lambda: None, **arguments) == ((3, 0, None), None)
    assert late_rows(lake, previous.files, lambda: previous, **arguments) == ((2, 0, None), None)
    empty = put(lake, "2025-12-31")
    assert late_rows(lake, previous.files, lambda: empty, **arguments) == ((2, 2, 5 * 3600), None)
    assert late_rows(lake, [], lambda: previous, **arguments) == ((0, 0, None), None)


@pytest.mark.parametrize(
    "before",
    [
        {"sku": 1, "at": at("2026-01-01")},
        {"id": 1, "changed": at("2026-01-01")},
        {"id": "one", "at": at("2026-01-01")},
        {"id": [1], "at": at("2026-01-01")},
    ],
    ids=["another key", "another cursor", "a key of text", "a key of lists"],
)
def test_with_rows_of_another_key_or_cursor_nothing_is_late(
    lake: Lake, before: Mapping[str, Any]
) -> None:
    stamp = pa.array([at("2026-02-01")], INSTANT)
    table = pa.Table.from_pylist([dict(before)]).append_column("_extracted_at", stamp)
    previous = put(lake, DAYS[0], table)
    new = put(lake, DAYS[1], rows({"id": 1, "at": at("2026-01-01")}))
    arguments: Any = {
        "key": ["id"],
        "cursor": "at",
        "boundary": at("2026-01-02"),
    }
    assert late_rows(lake, new.files, lambda: previous, **arguments) == ((1, 0, None), None)
