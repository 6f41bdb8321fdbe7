"""The cycle of a partition: staged unseen, committed at once, replaced, resumed, dropped."""

import json
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import LakeRefused, LakeUnavailable
from pipeline.lake import commit
from pipeline.lake.commit import CommitResult
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.parquet import encode
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.base import UploadGone
from tests.lake.support import (
    BATCHES,
    DAY,
    OTHER_WINDOW,
    ROWS,
    WINDOW,
    Killed,
    batch,
    begin,
    check_clean,
    extract,
    facts,
    read,
    stage,
    whole,
)

MANIFEST = f"igdb/games/_manifests/dt={DAY}.json"
CHECKPOINT = f"igdb/games/_checkpoints/dt={DAY}.json"


def _killed_before(lake: Lake, operation: str, key: str, *, run: Callable[[], Any]) -> None:
    def observe(now: str, at: str) -> None:
        if (now, at) == (operation, key):
            raise Killed

    lake.on_operation = observe
    with pytest.raises(Killed):
        run()
    lake.on_operation = None


def test_the_manifest_says_what_is_there(lake: Lake) -> None:
    outcome = extract(lake)
    assert (outcome.result, outcome.left_over) == (CommitResult.DONE, None)
    stored = lake.get(MANIFEST)
    assert stored is not None
    data = json.loads(stored.body)
    assert data["version"] == 1
    assert (data["source"], data["endpoint"], data["partition"]) == ("igdb", "games", DAY)
    assert (data["window"], data["watermark"]) == (WINDOW.to_json(), "2026-01-03T00:00:00Z")
    assert (data["rows"], len(data["files"])) == (BATCHES * ROWS, BATCHES)
    assert data["run_id"] == "r1"
    assert data["columns"][:2] == [
        {"name": "id", "type": "int64"},
        {"name": "updated_at", "type": "timestamp[us, UTC]"},
    ]
    for number, file in enumerate(data["files"]):
        assert file["path"] == (
            f"igdb/games/dt={DAY}/part-{number:05d}-{data['generation']}.parquet"
        )
        assert (file["rows"], file["bytes"]) == (ROWS, lake.size(file["path"]))
    assert Manifest.from_json(stored.body) == outcome.manifest
    check_clean(lake)


def test_nothing_is_seen_before_the_commit(lake: Lake) -> None:
    attempt = begin(lake)
    for number in range(BATCHES):
        stage(attempt, number, "new")
    assert [item.key for item in lake.list("")] == [CHECKPOINT]
    assert len(lake.uploads("")) == BATCHES

    def build(files: list[Any]) -> Manifest:
        assert [lake.size(file.path) for file in files] == [file.bytes for file in files]
        assert lake.get(MANIFEST) is None
        return Manifest(late_rows=7)

    assert attempt.commit(build).manifest.late_rows == 7


def test_an_empty_partition_is_known_to_be_empty(lake: Lake) -> None:
    outcome = extract(lake, batches=0)
    assert outcome.result is CommitResult.DONE
    assert [(m.rows, m.files) for m in manifests(lake, "igdb", "games")] == [(0, ())]
    check_clean(lake)


def test_a_new_generation_replaces_the_old(lake: Lake) -> None:
    old = extract(lake, version="old").manifest
    new = extract(lake, version="new", batches=2).manifest
    assert old.generation < new.generation
    assert read(lake) == whole("new", 2)
    check_clean(lake)
    extract(lake, batches=0)
    assert read(lake) == []
    check_clean(lake)


def test_files_that_headrace_did_not_write_stay(lake: Lake) -> None:
    foreign = f"igdb/games/dt={DAY}/notes.parquet"
    lake.put(foreign, b"mine", replaces=None)
    extract(lake)
    extract(lake)
    assert lake.get(foreign) is not None


def test_the_next_try_goes_on_from_the_last_batch(lake: Lake) -> None:
    first = begin(lake)
    assert (first.progress, first.counters) == (None, {})
    stage(first, 0, "first")
    stage(first, 1, "first")
    again = begin(lake, window=OTHER_WINDOW, run_id="r2")
    assert (again.progress, again.counters) == ({"next": 2}, {"pages": 2})
    assert (again.window, again.staged_rows) == (WINDOW, 2 * ROWS)
    assert again.schema == batch(0, "").schema
    stage(again, 2, "again")
    outcome = again.commit(facts)
    assert outcome.manifest.generation == again.generation > first.generation
    assert [first.generation in f.path for f in outcome.manifest.files] == [True, True, False]
    assert read(lake) == [*whole("first", 2), *whole("again", 3)[2 * ROWS :]]
    check_clean(lake)


def test_work_of_another_definition_is_dropped(lake: Lake) -> None:
    stage(begin(lake), 0, "first")
    again = begin(lake, definition="d2")
    assert (again.progress, again.schema, again.staged_rows) == (None, None, 0)
    assert lake.uploads("") == []
    again.commit(facts)
    check_clean(lake)


def test_starting_over(lake: Lake) -> None:
    attempt = begin(lake)
    stage(attempt, 0, "first")
    stage(attempt, 1, "first")
    before = attempt.generation
    attempt.start_over()
    assert (attempt.progress, attempt.staged_rows, attempt.schema) == (None, 0, None)
    assert attempt.generation != before
    assert lake.uploads("") == []
    stage(attempt, 0, "second")
    assert attempt.commit(facts).manifest.rows == ROWS
    assert read(lake) == whole("second", 1)
    check_clean(lake)


def test_work_begun_before_the_latest_commit_is_dropped(lake: Lake) -> None:
    first = begin(lake)
    stage(first, 0, "first")
    foreign = Manifest(source="igdb", endpoint="games", partition=DAY, generation="foreign")
    lake.put(MANIFEST, foreign.to_json().encode(), replaces=None)
    outcome = first.commit(facts)
    assert outcome.result is CommitResult.LOST
    assert outcome.manifest.generation == "foreign"
    check_clean(lake)

    stage(begin(lake), 0, "second")
    etag = lake.get(MANIFEST).etag  # type: ignore[union-attr]
    lake.put(MANIFEST, b"\n" + foreign.to_json().encode(), replaces=etag)
    assert begin(lake).staged_rows == 0


def test_a_checkpoint_of_another_version_is_dropped(lake: Lake) -> None:
    stage(begin(lake), 0, "first")
    stored = lake.get(CHECKPOINT)
    assert stored is not None
    lake.put(CHECKPOINT, b'{"version": 99}', replaces=stored.etag)
    assert begin(lake).staged_rows == 0
    extract(lake)
    check_clean(lake)


def test_killed_before_the_clean_up_the_next_try_has_nothing_to_extract(lake: Lake) -> None:
    extract(lake, version="old")
    _killed_before(lake, "delete", CHECKPOINT, run=lambda: extract(lake))
    attempt = begin(lake)
    assert attempt.committed is not None
    assert attempt.committed.rows == BATCHES * ROWS
    assert attempt.commit(facts).manifest == attempt.committed
    with pytest.raises(RuntimeError, match="committed already"):
        stage(attempt, 0, "more")
    check_clean(lake)
    assert begin(lake).committed is None


def test_a_manifest_in_other_words_is_still_the_one_decided(lake: Lake) -> None:
    """As a next version of Headrace may write it, which carries out what this one decided."""
    _killed_before(lake, "delete", CHECKPOINT, run=lambda: extract(lake))
    stored = lake.get(MANIFEST)
    assert stored is not None
    lake.put(MANIFEST, b"\n" + stored.body, replaces=stored.etag)
    assert begin(lake).committed is not None
    check_clean(lake)


def test_completed_files_of_dropped_work_are_deleted_at_once(lake: Lake) -> None:
    folder = f"igdb/games/dt={DAY}/"
    _killed_before(lake, "list", folder, run=lambda: extract(lake))
    assert len(list(lake.list(folder))) == BATCHES
    begin(lake, definition="d2")
    assert list(lake.list(folder)) == []


def test_a_decided_commit_is_carried_out_even_for_another_definition(lake: Lake) -> None:
    _killed_before(lake, "put", MANIFEST, run=lambda: extract(lake))
    assert read(lake) == []
    attempt = begin(lake, definition="d2")
    assert (attempt.committed, attempt.staged_rows) == (None, 0)
    assert read(lake) == whole("new")


def test_a_decided_commit_whose_manifest_was_removed_is_dropped(lake: Lake) -> None:
    extract(lake, version="old")
    _killed_before(lake, "put", MANIFEST, run=lambda: extract(lake))
    lake.delete([MANIFEST])
    assert begin(lake).committed is None
    extract(lake, version="again")
    assert read(lake) == whole("again")
    check_clean(lake)


def test_an_upload_that_a_lifecycle_rule_removed(lake: Lake) -> None:
    attempt = begin(lake)
    for number in range(BATCHES):
        stage(attempt, number, "first")
    gone = next(each for each in lake.uploads("") if "part-00001" in each.key)
    lake.abort_upload(gone.key, gone.upload_id)
    text = "1 files are still there; the next attempt fetches 20 rows"
    with pytest.raises(LakeUnavailable, match=text):
        attempt.commit(facts)
    again = begin(lake)
    assert (again.progress, again.staged_rows) == ({"next": 1}, ROWS)
    extract(lake)
    assert [key for key, _ in read(lake)] == list(range(BATCHES * ROWS))
    check_clean(lake)


def test_all_uploads_gone_means_from_the_beginning(lake: Lake) -> None:
    attempt = begin(lake)
    stage(attempt, 0, "first")
    for each in lake.uploads(""):
        lake.abort_upload(each.key, each.upload_id)
    with pytest.raises(LakeUnavailable, match="lifecycle"):
        attempt.commit(facts)
    assert begin(lake).progress is None


def test_all_uploads_gone_twice_is_said_and_not_tried_for_ever(lake: Lake) -> None:
    for error, said in ((LakeUnavailable, "lifecycle"), (LakeRefused, "leave them a week")):
        attempt = begin(lake)
        stage(attempt, 0, "lost")
        for each in lake.uploads(""):
            lake.abort_upload(each.key, each.upload_id)
        with pytest.raises(error, match=said):
            attempt.commit(facts)
    extract(lake)
    assert read(lake) == whole("new")
    check_clean(lake)


def test_a_large_batch_goes_in_parts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "PART_BYTES", 5 * 2**20)
    body = os.urandom(11 * 2**20)
    attempt = begin(lake)
    attempt.stage(pa.py_buffer(body), rows=1, progress={}, counters={}, schema=pa.schema([]))
    (file,) = attempt.commit(facts).manifest.files
    stored = lake.get(file.path)
    assert stored is not None
    assert stored.body == body


def test_a_clean_up_that_fails_is_left_to_the_next_try(lake: Lake) -> None:
    extract(lake, version="old")

    def refuse(operation: str, key: str) -> None:
        if operation == "delete":
            raise LakeUnavailable("S3 is busy")

    lake.on_operation = refuse
    outcome = extract(lake)
    lake.on_operation = None
    assert (outcome.result, outcome.left_over) == (CommitResult.DONE, "S3 is busy")
    assert read(lake) == whole("new")
    assert begin(lake).committed == outcome.manifest
    check_clean(lake)


def test_a_file_that_is_replaced_stays_if_the_response_to_its_upload_is_lost(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 sends the request again, and S3 knows no such upload any more."""
    attempt = begin(lake)
    for number in range(BATCHES):
        stage(attempt, number, "first")
    complete = lake.complete_upload

    def lost(key: str, upload_id: str, parts: Any) -> None:
        complete(key, upload_id, parts)
        raise UploadGone(key)

    def build(files: list[ManifestFile]) -> Manifest:
        monkeypatch.setattr(lake, "complete_upload", lost)
        attempt.replace_file(1, encode(batch(1, "second")), rows=ROWS)
        monkeypatch.undo()
        return facts(files)

    assert attempt.commit(build).result is CommitResult.DONE
    assert [key for key, _ in read(lake)] == list(range(BATCHES * ROWS))
    check_clean(lake)
