"""Maintenance removes what is old and in nobody's use, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import LostRace
from pipeline.lake.maintenance import MaintenanceReport, clean
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.base import ListedObject
from tests.lake.support import (
    DAY,
    Killed,
    begin,
    check_clean,
    extract,
    facts,
    kill_at,
    read,
    stage,
    whole,
)

FOLDER = f"igdb/games/dt={DAY}/"
ORPHAN = f"{FOLDER}part-00000-20200101T000000000-00000000.parquet"
HOUR_S = 3600.0


def _later(lake: Lake, *, dry_run: bool, days: float = 4) -> MaintenanceReport:
    return clean(lake, now=datetime.now(UTC) + timedelta(days=days), dry_run=dry_run)


def _kinds(report: MaintenanceReport) -> list[str]:
    return sorted(each.kind for each in report.leftovers)


def test_nothing_to_do(lake: Lake) -> None:
    assert _later(lake, dry_run=True).leftovers == ()
    extract(lake)
    assert _later(lake, dry_run=False).leftovers == ()
    assert read(lake) == whole("new")


def test_what_is_old_is_reported_then_removed(lake: Lake) -> None:
    extract(lake)
    lake.put(ORPHAN, b"1234", replaces=None)
    lake.put(f"{FOLDER}mine.parquet", b"", replaces=None)
    lake.put(f".tmp/{ORPHAN}", b"", replaces=None)
    stage(begin(lake), 0, "dead")
    lake.create_upload(ORPHAN.replace("00000-", "00001-"))
    lake.create_upload("igdb/games/somebody-elses")
    assert clean(lake).leftovers == ()
    report = _later(lake, dry_run=True)
    assert _kinds(report) == ["checkpoint", "orphan", "upload"]
    orphan = next(each for each in report.leftovers if each.kind == "orphan")
    assert (orphan.key, orphan.bytes) == (ORPHAN, 4)
    assert orphan.age_s == pytest.approx(4 * 24 * HOUR_S, abs=60)
    assert _kinds(_later(lake, dry_run=False)) == ["checkpoint", "orphan", "upload"]
    assert _later(lake, dry_run=True).leftovers == ()
    assert [each.key for each in lake.uploads("")] == ["igdb/games/somebody-elses"]
    lake.delete([f"{FOLDER}mine.parquet", f".tmp/{ORPHAN}"])
    lake.abort_upload("igdb/games/somebody-elses", lake.uploads("")[0].upload_id)
    check_clean(lake)
    assert read(lake) == whole("new")


def test_one_source_only(lake: Lake) -> None:
    lake.put(ORPHAN, b"1", replaces=None)
    later = datetime.now(UTC) + timedelta(days=4)
    assert clean(lake, now=later, source="other").leftovers == ()
    assert len(clean(lake, now=later, source="igdb").leftovers) == 1


def test_a_live_attempt_keeps_its_uploads_and_files(lake: Lake) -> None:
    attempt = begin(lake)
    stage(attempt, 0, "new")
    stage(attempt, 1, "new")

    def build(files: object) -> Manifest:
        # Complete, and named by no manifest yet.
        assert clean(lake, older_than_s=0.0, dry_run=True).leftovers != ()
        assert clean(lake, older_than_s=HOUR_S, dry_run=False).leftovers == ()
        return Manifest()

    attempt.commit(build)
    assert read(lake) == whole("new", 2)


def test_the_owner_of_an_old_checkpoint_learns_that_it_was_taken_away(lake: Lake) -> None:
    attempt = begin(lake)
    stage(attempt, 0, "new")
    _later(lake, dry_run=False)
    check_clean(lake)
    with pytest.raises(LostRace):
        attempt.commit(facts)
    extract(lake)
    assert read(lake) == whole("new")
    check_clean(lake)


@pytest.mark.slow
def test_wherever_a_run_dies_maintenance_cleans_up(lake: Lake) -> None:
    number = 0
    while True:
        lake.on_operation = kill_at(number)
        try:
            extract(lake, version=str(number), batches=1)
        except Killed:
            number += 1
        else:
            break
        finally:
            lake.on_operation = None
        _later(lake, dry_run=False)
        check_clean(lake)
    assert number >= 12


def test_a_run_that_takes_over_while_maintenance_looks_keeps_what_it_has(lake: Lake) -> None:
    """The dead run's checkpoint was listed as an old one, and is somebody's when it is read."""
    stage(begin(lake), 0, "dead")
    client = lake.client

    class Late(Lake):
        def list(self, folder: str) -> Iterator[ListedObject]:
            for each in super().list(folder):
                yield replace(each, modified=each.modified - timedelta(days=10))

    alive = begin(lake)
    report = clean(Late(client, lake.url().rstrip("/")), dry_run=False)
    assert report.leftovers == ()
    stage(alive, 1, "new")
    assert alive.commit(facts).manifest.rows
