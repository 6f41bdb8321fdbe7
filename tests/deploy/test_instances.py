"""Each dagster.yaml: Dagster takes it, and all of them say the same about runs that hang or die."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from tests.deploy import chart
from tests.deploy.compose import DEPLOY, ROOT, load

ONE_MACHINE = yaml.safe_load((ROOT / "dagster.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
CHART = chart.instance_config()
VALUES = {"POSTGRES_PASSWORD": "unused", "HEADRACE_LAKE": "s3://lake"}
ALL = pytest.mark.parametrize(
    "config", [ONE_MACHINE, COMPOSE, CHART], ids=["one machine", "compose", "chart"]
)


@ALL
def test_dagster_takes_it(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    taken, _ = dagster_instance_config(str(tmp_path))
    assert taken.keys() >= {"run_monitoring", "run_retries", "telemetry"}


@ALL
def test_no_run_hangs_for_ever(config: dict[str, Any]) -> None:
    monitoring = config["run_monitoring"]
    assert monitoring["enabled"] is True
    # A backfill's run plans an event for each endpoint and day before it starts.
    assert monitoring["start_timeout_seconds"] >= 1800
    assert monitoring["max_runtime_seconds"] > monitoring["start_timeout_seconds"]
    # Without it, a killed run blocks a pool with a limit.
    assert monitoring["free_slots_after_run_end_seconds"] > 0
    # The engine resumes by itself; Dagster's resuming would take a dead step for a running one.
    assert monitoring["max_resume_run_attempts"] == 0


@ALL
def test_a_killed_run_is_started_again_and_a_failed_step_is_not(config: dict[str, Any]) -> None:
    assert config["run_retries"] == {
        "enabled": True,
        "max_retries": 3,
        "retry_on_asset_or_op_failure": False,
    }


@ALL
def test_queued_runs_wait_for_a_code_server_that_is_away(config: dict[str, Any]) -> None:
    waits = {"max_user_code_failure_retries": 60, "user_code_failure_retry_delay": 30}
    assert config["run_queue"] == waits


def test_dagster_takes_both_parts_of_the_queue(tmp_path: Path) -> None:
    queue_alone = {name: COMPOSE[name] for name in ("run_queue", "concurrency")}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(queue_alone))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_user_code_failure_retries == 60
    assert queue.max_concurrent_runs == COMPOSE["concurrency"]["runs"]["max_concurrent_runs"]


@pytest.mark.parametrize(
    "environment",
    [load(VALUES)["daemon"].environment, chart.VALUES["dagsterDaemon"]["env"]],
    ids=["compose", "chart"],
)
def test_a_backfill_waits_for_a_code_server_that_is_away(environment: dict[str, str]) -> None:
    assert environment["DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"] == "1"


@ALL
def test_backfills_leave_room_for_scheduled_runs(config: dict[str, Any]) -> None:
    runs = config["concurrency"]["runs"]
    (limit,) = runs["tag_concurrency_limits"]
    assert limit["key"] == "dagster/backfill"
    assert limit["limit"] < runs["max_concurrent_runs"]


@ALL
def test_dagsters_dialog_and_telemetry_are_off(config: dict[str, Any]) -> None:
    assert config["nux"] == config["telemetry"] == {"enabled": False}


@pytest.mark.parametrize("config", [COMPOSE, CHART], ids=["compose", "chart"])
def test_postgres_is_spoken_to_by_psycopg2(config: dict[str, Any]) -> None:
    (storage,) = config["storage"].values()
    database = storage.get("config", storage)["postgres_db"]
    assert database["scheme"] == "postgresql+psycopg2"


def test_the_chart_knows_every_value() -> None:
    assert list(chart.unknown_keys(chart.VALUES, chart.KEYS)) == []
    misspelled = {"dagsterDaemon": {"runMonitor": {"enabled": True}}}
    assert list(chart.unknown_keys(misspelled, chart.KEYS)) == ["dagsterDaemon.runMonitor"]


def test_the_chart_does_not_write_a_key_twice() -> None:
    """What is in additionalInstanceConfig is appended to what the chart's own values make."""
    daemon = chart.VALUES["dagsterDaemon"]
    for part in ("runCoordinator", "runMonitoring", "runRetries"):
        assert daemon[part] == {"enabled": False}
