"""The job ``sync``: a new instance over an old lake, a crash while recording, twice in a row."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets import event_writer, sync_job
from assets.asset_checks import CHECKS
from assets.sync import RECORDED_BY_SYNC, compare
from emulator.testing import Emulator
from local.instance import create_storage
from local.services import S3
from pipeline.lake.read import manifests
from tests.assets.project import Project, materialize, project
from tests.assets.support import FIRST_BACK, Headrace, Ran, day
from tests.lake.test_s3_calls import CountedLake

pytestmark = pytest.mark.slow
RANGE = [day(back) for back in range(FIRST_BACK, 2, -1)]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def synced(headrace: Headrace, instance: dg.DagsterInstance, source: str = "") -> Ran:
    with warnings.catch_warnings():
        # Dagster's own nested resources use what Dagster itself calls deprecated.
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        result = sync_job([headrace.source]).execute_in_process(
            run_config={"ops": {"tell_dagster": {"config": {"source": source}}}},
            resources={"lake": headrace.resources()["lake"]},
            instance=instance,
            raise_on_error=False,
        )
    return Ran(result, instance.all_logs(result.run_id))


def test_a_new_instance_learns_what_an_old_lake_has_and_learns_it_once(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    assert headrace.run(["games", "covers"], RANGE[0], RANGE[-1]).success
    headrace.run(["covers"], None)
    headrace.api.reset()
    result = synced(headrace, instance)
    assert result.success, result.log
    assert result.materialized() == [("covers", "None"), *(("games", one) for one in RANGE)]
    assert headrace.api.stats()["requests"] == 0
    key = dg.AssetKey(["igdb", "games"])
    assert instance.get_materialized_partitions(key) == {*RANGE}
    latest = instance.get_latest_materialization_event(key)
    assert latest is not None
    made = latest.asset_materialization
    assert made is not None
    (manifest,) = manifests(headrace.lake, "igdb", "games", RANGE[-1])
    assert made.metadata["generation"].value == manifest.generation
    assert made.metadata["dagster/partition_row_count"].value == manifest.rows
    assert made.metadata["outcome"].value == RECORDED_BY_SYNC
    assert made.metadata.keys() >= {"rows_by_partition", "coverage_calendar", "bytes_by_partition"}
    checks = result.checks()
    assert {name for of, name in checks if of == "games"} == {*CHECKS}
    assert all(each.passed for each in checks.values())
    again = synced(headrace, instance)
    assert again.materialized() == []
    assert "0 partitions recorded with Dagster" in again.log
    assert again.checks() == {}


def test_only_a_generation_that_is_new_is_told(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    assert headrace.run(["games"], RANGE[0], RANGE[-1], instance=instance).success
    result = synced(headrace, instance)
    assert result.materialized() == []
    assert headrace.run(["games"], RANGE[1]).success  # by another instance
    result = synced(headrace, instance, "igdb")
    assert result.materialized() == [("games", RANGE[1])]


def test_what_a_crash_of_the_storage_left_out_is_told(
    headrace: Headrace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OSError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(event_writer, "log_materializations", gone)
        ran = headrace.run(["games"], RANGE[0], RANGE[-1], instance=instance)
    assert not ran.success
    assert ran.materialized() == []
    result = synced(headrace, instance)
    assert result.materialized() == [("games", one) for one in RANGE]


def test_what_a_run_is_about_to_record_is_left_to_it(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    assert headrace.run(["games"], RANGE[0]).success
    (manifest,) = manifests(headrace.lake, "igdb", "games", RANGE[0])

    @dg.job
    def elsewhere() -> None: ...

    run = instance.create_run_for_job(
        elsewhere, run_id=manifest.run_id, status=dg.DagsterRunStatus.STARTED
    )
    result = synced(headrace, instance)
    assert result.materialized() == []
    assert "1 left to the runs that record them" in result.log
    instance.report_run_failed(run)
    result = synced(headrace, instance)
    assert result.materialized() == [("games", RANGE[0])]


def test_what_the_lake_does_not_have_is_said(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    assert headrace.run(["games"], RANGE[0], RANGE[1], instance=instance).success
    headrace.lake.delete([f"igdb/games/_manifests/dt={RANGE[1]}.json"])
    result = synced(headrace, instance)
    assert (
        f"igdb/games: Dagster knows 1 partition that `{headrace.url}` does not have: " in result.log
    )
    # The remedy that the sentence names; `dagster asset wipe` does the same.
    key = dg.AssetKey(["igdb", "games"])
    assert f"dagster asset wipe '{key.to_string()}'" in result.log
    assert dg.AssetKey.from_db_string(key.to_string()) == key
    instance.wipe_assets([key])
    assert synced(headrace, instance).materialized() == [("games", RANGE[0])]
    assert instance.get_materialized_partitions(key) == {RANGE[0]}


def test_dagster_can_not_forget_single_partitions(instance: dg.DagsterInstance) -> None:
    """Why docs/how-to/undo.md wipes an endpoint: when this fails, `drop` can tell Dagster."""
    with pytest.raises(NotImplementedError):
        instance.wipe_asset_partitions(dg.AssetKey("things"), ["1"])


def test_requests_to_the_store_are_a_listing_and_the_manifests(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    assert headrace.run(["games"], RANGE[0], RANGE[-1]).success
    counted = CountedLake(headrace.s3, headrace.url)
    found = compare(instance, headrace.source, "games", counted.lake)
    assert [each.partition for each in found.to_record] == RANGE
    listings = [one for one in counted.sent if "list-type" in one]
    others = [one for one in counted.sent if "list-type" not in one]
    assert len(listings) == 1
    assert len(others) == len(RANGE)
    assert all("_manifests/" in one for one in others)


@pytest.fixture
def fresh(tmp_path: Path, s3: S3, api: Emulator) -> Project:
    return project(tmp_path / "sync", s3, api)


def test_the_command_tells_a_new_instance(fresh: Project) -> None:
    code, said = fresh.run(materialize("genres", partition=day(2)))
    assert code == 0, said
    home = fresh.folder / "new-home"
    create_storage(home)
    sync = [sys.executable, "-m", "commands", "sync", "igdb"]
    code, said = fresh.run(sync, DAGSTER_HOME=str(home))
    assert code == 0, said
    assert "1 partition recorded with Dagster, 0 were recorded already" in said
    code, said = fresh.run(sync, DAGSTER_HOME=str(home))
    assert "0 partitions recorded with Dagster, 1 was recorded already" in said
    code, said = fresh.run([*sync, "--json"], DAGSTER_HOME=str(home))
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("{")]
    assert json.loads(line) == {"source": "igdb", "recorded": 0, "recorded_before": 1}


def test_a_source_that_is_not_loaded_is_named(
    headrace: Headrace, instance: dg.DagsterInstance
) -> None:
    result = synced(headrace, instance, "idgb")
    assert not result.success
    assert result.failure() == "`source` is `idgb`, which is not loaded: expected one of `igdb`"
