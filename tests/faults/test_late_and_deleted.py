"""Rows that come late are counted; rows that are deleted are left out of the current state."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.testing import Emulator
from local.services import S3
from pipeline import ratelimit
from pipeline.config import load_source
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.lake.read import current, gone_keys
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from tests.faults.proxy import proxied
from tests.faults.support import DAY, LIMITS, Bench, igdb
from tests.support.clock import at_once
from tests.support.runs import serving

DAY_BEFORE = "2025-12-31"


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize("late_by_s", [600, 3_000])
def test_late_rows_are_counted_with_the_largest_lateness(
    api: Emulator, lake: Lake, late_by_s: int
) -> None:
    """They appear after their day was committed, with a cursor inside it: the margin finds them."""
    bench = Bench(igdb(api, only=["release_dates"], start="2025-12-30"), lake)
    days = ["2025-12-30", DAY_BEFORE]
    midnight = seconds(DAY)
    first = bench.run(days=days)
    assert [receipt.outcome for receipt in first.outcome.results] == ["committed"] * 2
    for lateness_s in (late_by_s, 60):
        api.upsert("release_dates", count=2, updated_at=midnight - lateness_s)
    api.upsert("release_dates", count=1, updated_at=midnight - 3_700)  # beyond the margin
    manifest = bench.run(days=[DAY]).manifest
    assert manifest.late_rows == 4
    assert manifest.latest_late_s == late_by_s
    assert manifest.margin_rows >= 4
    table = current(lake, "igdb", "release_dates", key=["id"], cursor="updated_at")
    assert table.num_rows == len(api.rows("release_dates")) - 1


@pytest.mark.slow
def test_a_row_later_than_the_margin_comes_when_its_day_is_loaded_again(
    api: Emulator, lake: Lake
) -> None:
    bench = Bench(igdb(api, only=["release_dates"], start="2025-12-30"), lake)
    bench.run(days=["2025-12-30", DAY_BEFORE])
    api.upsert("release_dates", count=1, updated_at=seconds(DAY) - 3_700)

    def found() -> int:
        table = current(lake, "igdb", "release_dates", key=["id"], cursor="updated_at")
        return int(table.num_rows)

    manifest = bench.run(days=[DAY]).manifest
    assert manifest.late_rows == 0
    assert found() == len(api.rows("release_dates")) - 1
    bench.run(days=[DAY_BEFORE])
    assert found() == len(api.rows("release_dates"))


def swept(bench: Bench, name: str) -> SweepResult:
    async def main() -> SweepResult:
        memory = ratelimit.open_budget("igdb", LIMITS, "memory")
        async with (
            open_client(bench.source, memory) as client,
            batching(client, bench.source) as sender,
        ):
            run = RunContext(
                bench.source, bench.lake, sender, "sweep", lambda: datetime.now(UTC), sleep=at_once
            )
            return await sweep(run, name, ExtractionProgress())

    return asyncio.run(main())


def alive(lake: Lake, name: str, **options: Any) -> set[int]:
    table = current(lake, "igdb", name, key=["id"], cursor="updated_at", columns=["id"], **options)
    assert len(set(table["id"].to_pylist())) == table.num_rows
    return set(table["id"].to_pylist())


def test_a_sweep_finds_what_was_deleted_and_the_reader_leaves_it_out(
    api: Emulator, lake: Lake
) -> None:
    bench = Bench(igdb(api, only=["collections"]), lake)
    assert bench.run().manifest.files
    rows = api.rows("collections")
    deleted = set(api.delete("collections", count=37))
    found = swept(bench, "collections")
    assert (found.keys_seen, found.keys_gone) == (len(rows) - 37, 37)
    assert swept(bench, "collections").keys_gone == 0, "each is told once"
    assert alive(lake, "collections") == {row["id"] for row in rows} - deleted
    assert alive(lake, "collections", swept=True) == {row["id"] for row in rows}
    table = gone_keys(lake, "igdb", "collections")
    assert table is not None
    assert set(table["id"].to_pylist()) == deleted
    back = sorted(deleted)[0]
    api.upsert("collections", rows=[{"id": back, "name": "again", "updated_at": seconds(DAY) - 9}])
    bench.run()
    assert back in alive(lake, "collections"), "a row that is extracted again has come back"


def test_a_sweep_whose_record_is_written_but_not_confirmed(
    api: Emulator, lake: Lake, s3: S3
) -> None:
    """boto3 sends it again, and conflicts with itself."""
    with proxied(s3.endpoint_url) as proxy:
        client = replace(s3, endpoint_url=proxy.url).client(attempts=3)
        bench = Bench(igdb(api, only=["genres"]), Lake(client, lake.url().rstrip("/")))
        assert bench.run().manifest.files
        gone = set(api.delete("genres", count=3))
        proxy.some("lost", "put", path="_sweeps")
        assert swept(bench, "genres").keys_gone == 3
        assert proxy.broken["put"] == 1
    assert not alive(lake, "genres") & gone


@pytest.mark.parametrize("every", [2, 3])
def test_a_sweep_over_a_sick_api_takes_no_row_for_gone(
    api: Emulator, lake: Lake, every: int
) -> None:
    """An empty page now and then must never read as: deleted."""
    bench = Bench(igdb(api, only=["collections"], page_rows=50), lake)
    assert bench.run().manifest.files
    api.faults({"kind": "empty_page", "path": "/v4/multiquery", "every": every})
    assert swept(bench, "collections").keys_gone == 0


# ---- tombstones


@dataclass
class Notes:
    """An API that tells of deleted rows, by a member of its own."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def put(self, key: int, at: str, deleted: bool = False) -> None:
        self.rows[key] = {"id": key, "at": at, "meta": {"deleted": deleted}, "text": f"note {key}"}

    def app(self) -> Starlette:
        async def notes(request: Request) -> Response:
            low, high = request.query_params.get("from", ""), request.query_params["to"]
            found = [row for row in self.rows.values() if low <= row["at"] < high]
            found.sort(key=lambda row: row["id"])
            start = int(request.query_params["skip"])
            return JSONResponse(found[start : start + int(request.query_params["take"])])

        return Starlette(routes=[Route("/notes", notes)])


NOTES = {
    "source": "notes",
    "base_url": "${NOTES}",
    "start": DAY_BEFORE,
    "safety_margin_s": 60,
    "endpoints": {
        "notes": {
            "request": {
                "params": {"from": "{start}", "to": "{end}", "skip": "{offset}", "take": "{limit}"}
            },
            "paging": {"kind": "offset", "limit": 10},
            "key": ["id"],
            "cursor": "at",
            "deleted": "meta.deleted",
            "columns": {"id": "int64", "at": "timestamp[iso]", "text": "string"},
        }
    },
}


@pytest.fixture
def notes() -> Iterator[tuple[Notes, str]]:
    one = Notes()
    with serving(one.app()) as url:
        yield one, url


def test_tombstones_are_rows_and_the_reader_leaves_them_out(
    notes: tuple[Notes, str], lake: Lake, tmp_path: Path
) -> None:
    api, url = notes
    (tmp_path / "notes.yaml").write_text(yaml.safe_dump(NOTES))
    source = load_source(tmp_path / "notes.yaml", {"NOTES": url})
    for key in range(1, 31):
        api.put(key, f"2025-12-31T10:00:{key:02}Z")
    bench = Bench(source, lake)
    assert bench.run(days=[DAY_BEFORE]).manifest.rows == 30
    for key in (3, 4, 5):
        api.put(key, f"2026-01-01T10:00:{key:02}Z", deleted=True)
    assert bench.run(days=[DAY]).manifest.rows == 3

    def ids(**options: Any) -> set[int]:
        table = current(lake, "notes", "notes", key=["id"], cursor="at", **options)
        return set(table["id"].to_pylist())

    assert ids() == set(range(1, 31)) - {3, 4, 5}
    assert ids(deleted=True) == set(range(1, 31))
    api.put(4, "2026-01-02T10:00:00Z")
    later = Bench(source, lake, now=lambda: bench.now() + timedelta(days=1))
    assert later.run(days=["2026-01-02"]).manifest.rows == 1
    assert ids() == set(range(1, 31)) - {3, 5}
