"""The composition root: what Dagster gets to see of the sources, and of wrong settings."""

import gc
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.failures import MAX_RETRIES
from assets.partitions import partitions_of
from pipeline.config import load_all
from pipeline.config.source import BackfillConfig, Source
from tests.assets.support import IGDB, ROOT, day

pytestmark = pytest.mark.slow

SETTINGS = {
    "HEADRACE_LAKE": "s3://lake/headrace",
    "HEADRACE_SOURCES": str(ROOT / "sources"),
    "HEADRACE_AWS_ACCOUNTS": "self",
    "IGDB_CLIENT_ID": "an-id",
    "IGDB_CLIENT_SECRET": "a-secret",
    "IGDB_START": day(3),
}
ENDS = ("start", "end")
WHERE_WANTED = ("psycopg", "redis", "emulator", "local", "sourcetool", "benchmarks")
"""What a run may need, or only a command: not every process that loads the project pays for it."""


def load(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> dg.Definitions:
    """As Dagster does: by running the file."""
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "IGDB_"))]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = runpy.run_path(str(ROOT / "definitions.py"))["defs"]
    assert isinstance(found, dg.Definitions)
    return found


@pytest.fixture(scope="module")
def source() -> Source:
    found = load_all((SETTINGS["HEADRACE_SOURCES"],), SETTINGS).sources
    return next(one for one in found if one.source == "igdb")


def test_every_endpoint_is_an_asset_in_the_group_of_its_source(
    monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    defs = load(monkeypatch, SETTINGS)
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    grouped = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "igdb"}
    api = dg.AssetKey(["igdb", "api"])
    extracted = grouped - {api}
    assert api in grouped
    assert not graph.get(api).is_executable
    assert graph.get(dg.AssetKey(["igdb", "covers"])).parent_keys == {api}
    assert extracted == {dg.AssetKey(["igdb", name]) for name in source.endpoints}
    for name in ("games", "games_gone"):
        assert graph.get(dg.AssetKey(["igdb", name])).pools == {"igdb"}
    games = graph.get(dg.AssetKey(["igdb", "games"]))
    assert games.kinds == {"parquet", "s3"}
    assert games.tags["headrace/kind"] == "incremental"
    assert graph.get(dg.AssetKey(["igdb", "covers"])).tags["headrace/kind"] == "snapshot"


def test_partitions_go_from_the_start_to_today(
    monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    graph = load(monkeypatch, SETTINGS).resolve_asset_graph()
    partitions = graph.get(dg.AssetKey(["igdb", "games"])).partitions_def
    assert partitions is not None
    assert list(partitions.get_partition_keys()) == [day(3), day(2), day(1), day(0)]
    assert graph.get(dg.AssetKey(["igdb", "covers"])).partitions_def is None, "a snapshot"
    policy = graph.get(dg.AssetKey(["igdb", "games"])).backfill_policy
    assert policy is not None
    assert policy.max_partitions_per_run == 10, "of 49 endpoints that have partitions"


@pytest.mark.parametrize(
    ("endpoints", "days_per_run", "partitions"),
    [(0, None, 30), (16, None, 30), (49, None, 10), (900, None, 1), (900, 7, 7)],
)
def test_a_run_of_a_backfill_plans_no_more_partitions_than_the_daemon_writes_in_seconds(
    endpoints: int, days_per_run: int | None, partitions: int
) -> None:
    backfill = BackfillConfig(days_per_run=days_per_run)
    assert backfill.partitions_per_run(endpoints) == partitions


def test_an_asset_says_where_its_files_and_its_yaml_are(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = load(monkeypatch, SETTINGS).resolve_asset_graph()
    metadata = graph.get(dg.AssetKey(["igdb", "covers"])).metadata
    assert metadata["dagster/uri"] == "s3://lake/headrace/igdb/covers/"
    assert metadata["dagster/table_name"] == "igdb.covers"
    (reference,) = metadata["dagster/code_references"].code_references
    line = IGDB.read_text().splitlines()[reference.line_number - 1]
    assert line.startswith("  covers:")


def test_a_relative_folder_of_sources_is_found_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    defs = load(monkeypatch, SETTINGS | {"HEADRACE_SOURCES": "sources/igdb.yaml"})
    assert dg.AssetKey(["igdb", "games"]) in defs.resolve_asset_graph().get_all_asset_keys()


def test_two_locations_of_one_deployment_have_no_asset_in_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys(source: str) -> set[dg.AssetKey]:
        folder = {"HEADRACE_SOURCES": str(ROOT / "sources" / source)}
        defs = load(monkeypatch, SETTINGS | folder | {"USGS_START": day(3)})
        return set(defs.resolve_asset_graph().get_all_asset_keys())

    assert keys("igdb.yaml").isdisjoint(keys("usgs.yaml"))


def tick(
    defs: dg.Definitions, back: int, instance: dg.DagsterInstance
) -> tuple[Sequence[dg.RunRequest], str]:
    """What the schedule asks for on that day, at its hour."""
    schedule = defs.resolve_schedule_def("igdb_daily_schedule")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.job_name, schedule.cron_schedule) == ("igdb_daily", "30 1 * * *")
    at = datetime.fromisoformat(f"{day(back)}T01:30").replace(tzinfo=UTC)
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
    ) as context:
        found = schedule.evaluate_tick(context)
    return found.run_requests or [], str(found.skip_message)


def asked_for(instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    """The run is there, as the daemon makes it; that it has failed changes nothing."""
    tags = {**request.tags, "dagster/schedule_name": "igdb_daily_schedule"}
    if request.partition_key:
        tags["dagster/partition"] = request.partition_key
    run = dg.DagsterRun("igdb_daily", status=dg.DagsterRunStatus.FAILURE, tags=tags)
    instance.add_run(run)


def test_a_tick_of_the_schedule_asks_for_the_day_before(monkeypatch: pytest.MonkeyPatch) -> None:
    defs = load(monkeypatch, SETTINGS)
    with dg.instance_for_test() as instance:
        for back in (2, 1):
            ((request,), _) = tick(defs, back, instance)
            assert request.partition_key == day(back + 1)
            assert request.run_key == day(back + 1)
            assert request.tags["dagster/priority"] == "10"
            asked_for(instance, request)
            ((again,), _) = tick(defs, back, instance)  # the daemon was cut off: it asks once more
            assert again.partition_key == request.partition_key


def test_a_tick_asks_for_the_days_of_the_ticks_that_were_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defs = load(monkeypatch, {**SETTINGS, "IGDB_START": day(20)})

    def days(request: dg.RunRequest) -> list[str]:
        assert request.partition_key is None
        return [request.tags[f"dagster/asset_partition_range_{end}"] for end in ENDS]

    with dg.instance_for_test() as instance:
        ((first,), _) = tick(defs, 18, instance)
        assert first.partition_key == day(19)  # those before it were never asked for
        asked_for(instance, first)
        ((after_three,), _) = tick(defs, 15, instance)
        assert days(after_three) == [day(18), day(16)]
        asked_for(instance, after_three)
        asked_for(instance, first)  # a user has started it again
        ((the_next,), _) = tick(defs, 14, instance)
        assert the_next.partition_key == day(15)
        ((after_long,), _) = tick(defs, 1, instance)
        assert days(after_long) == [day(8), day(2)]  # a week, and no more
        asked_for(instance, after_long)
        ((next_day,), _) = tick(defs, 0, instance)
        assert next_day.partition_key == day(1)


@pytest.mark.parametrize("machine", ["UTC", "Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize(
    "zone", ["UTC", "America/New_York", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu"]
)
def test_dagster_s_days_are_those_of_the_engine_wherever_the_machine_is(
    monkeypatch: pytest.MonkeyPatch, source: Source, zone: str, machine: str
) -> None:
    """Through a leap day, a year's end, days of 23 and 25 hours, and one that begins at 01:00."""
    monkeypatch.setenv("TZ", machine)
    time.tzset()
    try:
        abroad = source.model_copy(update={"start": date(2027, 12, 1), "timezone": zone})
        days, now = partitions_of(abroad), datetime(2029, 1, 2, 12, tzinfo=UTC)
        calendar = abroad.calendar
        keys = days.get_partition_keys(now)
        assert calendar.of(now) in {"2029-01-02", "2029-01-03"}
        assert list(keys) == calendar.between("2027-12-01", calendar.of(now))
        assert "2028-02-29" in keys
        for key in keys:
            window = days.time_window_for_partition_key(key)
            # As numbers: Python calls no instant equal to a local time that was left out.
            assert window.start.timestamp() == calendar.begins(key).timestamp()
            assert window.end.timestamp() == calendar.ends(key).timestamp()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_tick_before_the_second_day_is_skipped_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with dg.instance_for_test() as instance:
        requests, said = tick(load(monkeypatch, SETTINGS), 3, instance)
    assert not requests
    assert "lies before the source's start" in said


def test_a_lake_that_is_none_is_said_when_the_project_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        load(monkeypatch, {**SETTINGS, "HEADRACE_LAKE": "lake/x"})
    assert str(caught.value) == "`HEADRACE_LAKE` is `lake/x`; expected s3://bucket/prefix."


@pytest.mark.parametrize("missing", ["HEADRACE_LAKE", "IGDB_CLIENT_ID", "IGDB_CLIENT_SECRET"])
def test_a_missing_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != missing}
    settings["HEADRACE_STRICT"] = "1"
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=missing) as caught:
        load(monkeypatch, settings)
    said = str(caught.value)
    assert "is not set" in said
    assert "\n" not in said
    assert "a-secret" not in said


def test_a_source_without_its_setting_takes_down_itself_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "IGDB_CLIENT_SECRET"}
    defs = load(monkeypatch, settings)
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    key = dg.AssetKey(["igdb", "not_loaded"])
    groups = {graph.get(each).group_name for each in graph.get_all_asset_keys()}
    assert {"usgs", "github", "nvd", "crossref", "igdb"} <= groups
    assert [each for each in graph.get_all_asset_keys() if each.path[0] == "igdb"] == [key]
    assert "IGDB_CLIENT_SECRET is not set" in str(graph.get(key).description)
    schedule = defs.resolve_schedule_def("igdb_daily_schedule")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.job_name == "igdb_daily"
    done = defs.resolve_job_def("igdb_daily").execute_in_process(raise_on_error=False)
    (failure,) = (event for event in done.all_events if event.is_step_failure)
    assert "IGDB_CLIENT_SECRET is not set" in str(failure.step_failure_data.error)


def test_a_typo_in_the_yaml_is_one_sentence_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = IGDB.read_text().replace("  in_flight: 8", "  in_fligt: 8")
    (tmp_path / "igdb.yaml").write_text(text)
    line = text[: text.index("in_fligt")].count("\n") + 1
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        load(monkeypatch, SETTINGS | {"HEADRACE_SOURCES": str(tmp_path)})
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/igdb.yaml:{line}: ")
    assert "did you mean 'in_flight'?" in said
    assert "\n" not in said


def test_loading_imports_nothing_that_only_some_runs_need() -> None:
    say = "import definitions, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", say], env=os.environ | SETTINGS, cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    loaded = done.stdout.split()
    assert "pipeline" in loaded
    assert not set(WHERE_WANTED).intersection(loaded)


def test_the_collector_rests_while_the_definitions_load_and_passes_over_them_afterwards() -> None:
    # What Dagster's own import takes is Dagster's.
    say = """
import gc, dagster
passes = []
gc.callbacks.append(lambda phase, info: passes.append(info["generation"]))
import pipeline.runtime
before = len(passes)
import definitions
gc.callbacks.clear()
frozen = gc.get_freeze_count()
print(passes[before:].count(2), gc.isenabled(), frozen > 10 * len(gc.get_objects()))
"""
    done = subprocess.run(
        [sys.executable, "-c", say], env=os.environ | SETTINGS, cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "True", "True"]


def test_settings_that_are_wrong_leave_the_collector_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError):
        load(monkeypatch, {})
    assert gc.isenabled()


def test_an_api_that_is_down_ends_a_run_within_two_minutes(source: Source) -> None:
    """By default: the tries of a page, the step's retries, and the seconds each of them waits."""
    retries, breaker, timeouts = source.retries, source.breaker, source.timeouts
    waits = [
        min(retries.max_wait_s, retries.first_wait_s * 2**tries)
        for tries in range(max(retries.errors, retries.timeouts))
    ]
    refused = sum(waits) + MAX_RETRIES * breaker.open_s
    assert refused <= 120
    silent = (retries.timeouts + 1 + MAX_RETRIES) * timeouts.connect_s + refused
    assert silent <= 180
