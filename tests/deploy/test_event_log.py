"""What the daemon and a step write to Postgres, and by how many statements and connections."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
import yaml

from assets.compat import kept_connections, log_materializations
from tests.deploy.conftest import Open
from tests.deploy.service import Service

pytestmark = pytest.mark.slow
NAMES = ("first", "second", "third")


@dg.multi_asset(
    specs=[dg.AssetSpec(name, skippable=True) for name in NAMES],
    partitions_def=dg.StaticPartitionsDefinition(["1", "2"]),
    can_subset=True,
)
def recorded_at_once(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.MaterializeResult[None]]:
    made = [dg.AssetMaterialization(name, partition=context.partition_key) for name in NAMES]
    log_materializations(context, [*made, *made[:1]])
    yield from ()


def test_the_catalog_has_the_latest_materialization_of_each_asset_of_a_batch(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "100")
    instance, keys = opened(), [dg.AssetKey(name) for name in NAMES]
    for partition in ("1", "2"):
        dg.materialize([recorded_at_once], instance=instance, partition_key=partition)
        latest = instance.event_log_storage.get_latest_materialization_events(keys)
        shown = [each.asset_materialization for each in latest.values() if each]
        assert [each.partition for each in shown if each] == [partition] * len(NAMES)


PARTITIONS = dg.StaticPartitionsDefinition(["1", "2", "3"])


@dg.multi_asset(
    specs=[dg.AssetSpec(name, partitions_def=PARTITIONS, skippable=True) for name in NAMES[:2]]
    + [dg.AssetSpec(NAMES[2], skippable=True)],
    check_specs=[
        dg.AssetCheckSpec("whole", asset=NAMES[0]),
        dg.AssetCheckSpec("each", asset=NAMES[1], partitions_def=PARTITIONS),
        dg.AssetCheckSpec("whole", asset=NAMES[2]),
    ],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def planned(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    yield from ()


def test_a_plan_is_written_by_one_statement_with_the_rows_that_dagster_writes(
    opened: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "100")
    job = dg.Definitions([planned], jobs=[dg.define_asset_job("all")]).resolve_job_def("all")
    tags = {"dagster/asset_partition_range_start": "1", "dagster/asset_partition_range_end": "3"}

    def rows_of_a_plan() -> tuple[int, dict[str, set[tuple[object, ...]]]]:
        """How many statements have written events, and the rows of all tables."""
        instance = opened()
        with statements() as executed:
            run_id = instance.create_run_for_job(job, tags=tags).run_id
        inserts = [text for text in executed if text.startswith("INSERT INTO event_logs")]
        engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
        with engine.connect() as connection:
            return len(inserts), {
                query: {
                    tuple(row)
                    for row in connection.execute(sqlalchemy.text(query), {"run": run_id})
                }
                for query in ROWS_OF_A_RUN
            }

    statements_of_ours, rows_of_ours = rows_of_a_plan()
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    config["storage"] = {"postgres": config["storage"]["custom"]["config"]}
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    statements_of_dagster, rows_of_dagster = rows_of_a_plan()
    assert rows_of_ours == rows_of_dagster
    assert all(rows_of_ours.values())
    assert (statements_of_ours, statements_of_dagster) == (1, 10)


ROWS_OF_A_RUN = (
    "SELECT dagster_event_type, asset_key, partition, step_key FROM event_logs WHERE run_id = :run",
    "SELECT c.asset_key, check_name, c.partition, execution_status, dagster_event_type "
    "FROM asset_check_executions c JOIN event_logs e ON e.id = evaluation_event_storage_id "
    "WHERE c.run_id = :run",
    "SELECT asset_key FROM asset_keys WHERE last_run_id = :run",
)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What this process has Postgres execute."""
    executed: list[str] = []

    def executes(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", executes)
    try:
        yield executed
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", executes)


@contextmanager
def logins() -> Iterator[list[object]]:
    """The connections that this process opens."""
    opened: list[object] = []

    def opens(connection: object, _record: object) -> None:
        opened.append(connection)

    sqlalchemy.event.listen(sqlalchemy.Pool, "connect", opens)
    try:
        yield opened
    finally:
        sqlalchemy.event.remove(sqlalchemy.Pool, "connect", opens)


def write(instance: dg.DagsterInstance, *partitions: str) -> None:
    for partition in partitions:
        made = dg.AssetMaterialization("things", partition=partition)
        instance.report_runless_asset_event(made)


def test_connections_are_kept_and_made_anew_when_postgres_has_restarted(
    opened: Open, postgres: Service
) -> None:
    instance = opened()
    write(instance, "0")
    with kept_connections(instance), logins() as connections:
        write(instance, "1", "2", "3", "4")
        assert len(connections) <= 2
        postgres.kill()
        postgres.start()
        postgres.wait_until_healthy()
        write(instance, "5")
        recorded = instance.fetch_materializations(dg.AssetKey("things"), limit=100).records
        assert {each.partition_key for each in recorded} == {*"012345"}
        connections.clear()
        write(instance, "6")
        assert not connections
