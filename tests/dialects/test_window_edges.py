"""The edges of a window, as APIs keep to them: over a socket, into S3."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Source
from pipeline.errors import ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from tests.extract.test_short_pages import DAY, NOW, Shop
from tests.support.runs import Row, outcome_of

pytestmark = pytest.mark.slow

Params = dict[str, str]
AT = f"{DAY}T07:00:00Z"


def endpoint(params: str, paging: str, *more: str, columns: str = "") -> str:
    lines = [
        f"request: {{params: {{{params}}}}}",
        f"paging: {{limit: 5, {paging}}}",
        "rows: data",
        "key: [id]",
        f'columns: {{id: int64, at: "timestamp[iso]"{columns}}}',
        *more,
    ]
    return "\n".join(["  orders:", *(f"    {line}" for line in lines)])


WINDOW = 'since: "{start}", until: "{end}"'


def manifest_of(lake: Lake, source: Source, day: str = DAY) -> Manifest:
    outcome, _ = outcome_of(source, lake, "orders", [day], NOW)
    if outcome.failed:
        raise outcome.failed[0].error
    return outcome.results[0].manifest


def ids(lake: Lake, manifest: Manifest) -> list[int]:
    rows = key_rows(lake, manifest.files, ["id"]) if manifest.files else None
    return sorted(rows["id"].to_pylist()) if rows else []


@pytest.mark.parametrize("margin_s", [0, 3600])
@pytest.mark.parametrize("cut", ["slices: 7", "slices: 1"])
def test_the_last_second_of_a_slice_and_a_day_is_asked_for(
    lake: Lake, tmp_path: Path, cut: str, margin_s: int
) -> None:
    rows: list[Row] = [
        {"id": n, "at": f"{DAY}T{n // 60:02}:{n % 60:02}:{s}Z"}
        for n, s in ((n, "59.500") for n in range(4, 1440, 5))
    ]
    rows += [{"id": 9_000, "at": f"{DAY}T23:59:59.500Z"}, {"id": 9_001, "at": f"{DAY}T12:00:00Z"}]
    at = {row["id"]: datetime.fromisoformat(row["at"]) for row in rows}

    def answer(params: Params, number: int) -> Any:
        low = datetime.fromisoformat(params.get("since", "1970-01-01T00:00:00Z"))
        high = datetime.fromisoformat(params["until"])
        found = [row for row in rows if low <= at[row["id"]] <= high]
        return {"data": found, "next": None, "total": len(found)}

    text = endpoint(
        WINDOW + ', token: "{token}"',
        f"kind: token, next: next, total: total, {cut}",
        "window: {end: inclusive, max_s: 3600}" if "7" not in cut else "window: {end: inclusive}",
        "cursor: at",
        f"safety_margin_s: {margin_s}",
    )
    with Shop(answer).source(tmp_path, text) as source:
        first = manifest_of(lake, source)
        second = manifest_of(lake, source, "2026-03-03")
    assert set(ids(lake, first)) | set(ids(lake, second)) == at.keys()
    assert first.proof.contiguous


@pytest.mark.parametrize(("late", "refused"), [(1, False), (9, False), (60, True), (100, True)])
def test_a_few_rows_that_have_changed_since_the_index_found_them_are_dropped(
    lake: Lake, tmp_path: Path, late: int, refused: bool
) -> None:
    def answer(params: Params, number: int) -> Any:
        at = [AT] * (100 - late) + ["2026-03-03T11:59:59Z"] * late
        return {"data": [{"id": n, "at": at[n]} for n in range(100)], "total": 100}

    text = endpoint(WINDOW, "kind: none", "cursor: at").replace("limit: 5, ", "")
    with Shop(answer).source(tmp_path, text) as source:
        if refused:
            with pytest.raises(ContractBroken, match="The API seems to ignore the filter"):
                manifest_of(lake, source)
            return
        manifest = manifest_of(lake, source)
    assert ids(lake, manifest) == list(range(100 - late))
