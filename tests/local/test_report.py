"""What the demo prints, from plain values."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.event_writer import LINE_BREAK
from local.compare import compare, latest_in_lake
from local.dagster_cli import shown
from local.manifests import Committed, split_lake
from local.report import pace, table

MANIFEST: dict[str, Any] = {
    "version": 1,
    "source": "igdb",
    "endpoint": "games",
    "partition": "2026-11-20",
    "window": {
        "start": "2026-11-19T23:00:00+00:00",
        "end": "2026-11-21T00:00:00+00:00",
        "safety_margin_s": 3600,
    },
    "rows": 1234,
    "late_rows": 7,
    "files": [{"path": "igdb/games/dt=2026-11-20/part-0-g.parquet", "rows": 1234, "bytes": 2048}],
    "proof": {"contiguous": True, "pages": 3, "gaps_refetched": 0},
    "requests": 4,
    "throttled": 0,
}  # fmt: skip


def test_the_table_shows_what_the_manifest_says() -> None:
    lines = table([Committed.from_manifest(MANIFEST)]).splitlines()
    assert lines[2].split() == [
        "games", "2026-11-20", "11-19", "23:00", "…", "11-21", "00:00",
        "1,234", "7", "1", "2", "4", "0", "yes",
    ]  # fmt: skip


def test_partitions_without_rows_are_counted_and_not_shown() -> None:
    empty = {**MANIFEST, "partition": "2026-11-21", "rows": 0, "files": []}
    shown = table([Committed.from_manifest(MANIFEST), Committed.from_manifest(empty)])
    assert not [line for line in shown.splitlines() if line.startswith("games      2026-11-21")]
    assert shown.endswith("1 more are committed without rows: empty is known, not guessed.")


def test_a_baseline_has_no_start_and_an_unproved_partition_stands_out() -> None:
    manifest = {
        **MANIFEST,
        "window": {**MANIFEST["window"], "start": None},
        "proof": {"contiguous": False},
    }
    line = table([Committed.from_manifest(manifest)]).splitlines()[2]
    assert "— … 11-21 00:00" in line
    assert line.endswith("NO")


def test_the_pace_is_measured_between_the_first_and_the_last_arrival() -> None:
    stats = {
        "accepted": 41,
        "throttled": 0,
        "first_monotonic_s": 100.0,
        "last_monotonic_s": 110.0,
        "max_in_window": 4,
    }
    assert pace(stats, 4) == (
        "The API saw 41 requests, 0 answered 429: 4.00 a second of the 4 allowed (100 %), "
        "at most 4 in any second."
    )


@pytest.mark.parametrize("accepted", [0, 1])
def test_too_few_requests_have_no_pace(accepted: int) -> None:
    stats = {
        "accepted": accepted,
        "throttled": 0,
        "first_monotonic_s": None,
        "last_monotonic_s": None,
    }
    assert pace(stats, 4) == f"The API saw {accepted} requests, 0 answered 429."


def test_the_screen_gets_what_the_assets_say_and_not_dagsters_own_events() -> None:
    run = "b4c805ff-39bf-4dcf-bda1-1938d0ef5b33"
    head = "2026-11-22 02:15:02 +0000 - dagster"
    said = f"{head} - INFO - __ASSET_JOB - {run} - igdb - 500 of 20,000 rows - and more"
    event = f"{head} - DEBUG - __ASSET_JOB - {run} - 11127 - igdb - STEP_START - Started"
    assert shown(said) == "    500 of 20,000 rows - and more"
    assert shown(event) is None
    assert shown("Traceback (most recent call last):") is None
    _first, *further = LINE_BREAK.join(["the first line", "20 of 20 rows"]).splitlines()
    assert [shown(line) for line in further] == ["    20 of 20 rows"]


def test_the_lake_is_a_bucket_and_a_prefix() -> None:
    assert split_lake("s3://lake/a/b/") == ("lake", "a/b")


def test_the_latest_version_in_the_lake_is_what_counts(tmp_path: Path) -> None:
    moment = pa.timestamp("us", "UTC")
    files: dict[str, dict[int, int | None]] = {"a": {1: 10, 2: 20, 3: None}, "b": {1: 15}}
    for name, seconds in files.items():
        micros = [None if second is None else second * 1_000_000 for second in seconds.values()]
        columns = {"id": list(seconds), "updated_at": pa.array(micros, moment)}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    latest = latest_in_lake(tmp_path.glob("*.parquet"), "id", "updated_at")
    assert latest == {1: 15, 2: 20, 3: 0}
    api = [
        {"id": 1, "updated_at": 15},
        {"id": 2, "updated_at": 21},
        {"id": 3},
        {"id": 4, "updated_at": 1},
    ]
    found = compare(api, latest, "id", "updated_at")
    assert (found.api_rows, found.missing, found.outdated) == (4, 1, 1)


def test_a_few_requests_within_a_second_are_no_rate() -> None:
    stats = {
        "accepted": 3, "throttled": 0, "first_monotonic_s": 10.0, "last_monotonic_s": 10.4,
        "max_in_window": 3,
    }  # fmt: skip
    assert pace(stats, 4) == "The API saw 3 requests, 0 answered 429, within a second."
    stats |= {"accepted": 7, "last_monotonic_s": 11.46, "max_in_window": 4}
    assert pace(stats, 4) == (
        "The API saw 7 requests, 0 answered 429, in 1.5 s: at most 4 in any second, of the "
        "4 allowed."
    )
