"""What ``assets/compat.py`` rests on is still so in the pinned version of Dagster."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster._utils import start_termination_thread

from assets.compat import (
    HARMLESS_THREADS,
    WITHOUT_MATERIALIZATION,
    AssetJob,
    BackfillPolicy,
    kept_connections,
    log_checks,
    names_a_partition,
    with_executor_config,
)


def test_the_type_of_an_asset_job_is_where_it_is_imported_from() -> None:
    job = dg.define_asset_job("any", selection="*")
    assert type(job).__name__ == str(AssetJob)
    assert type(job).__module__ == "dagster._core.definitions.unresolved_asset_job_definition"


def run(*assets: dg.AssetsDefinition) -> tuple[dg.ExecuteInProcessResult, list[dg.DagsterEvent]]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([*assets], instance=instance, raise_on_error=False)
        entries = instance.all_logs(result.run_id)
    return result, [entry.dagster_event for entry in entries if entry.dagster_event]


def test_a_result_may_be_without_a_materialization_while_assets_downstream_go_on() -> None:
    went_on = []

    @dg.multi_asset(specs=[dg.AssetSpec("recorded"), dg.AssetSpec("unrecorded")])
    def both() -> Iterator[dg.MaterializeResult[None]]:
        yield dg.MaterializeResult(asset_key="recorded")
        yield dg.MaterializeResult(asset_key="unrecorded", metadata=WITHOUT_MATERIALIZATION)

    @dg.asset(deps=["unrecorded"])
    def downstream() -> None:
        went_on.append(True)

    result, events = run(both, downstream)
    assert result.success
    assert went_on
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    recorded = {
        e.asset_key.to_user_string() for e in events if e.event_type is kind and e.asset_key
    }
    assert recorded == {"recorded", "downstream"}


def test_a_check_that_is_logged_stays_though_its_step_fails() -> None:
    @dg.multi_asset(
        specs=[dg.AssetSpec("things")], check_specs=[dg.AssetCheckSpec("sound", asset="things")]
    )
    def things(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        yield from ()
        context.log_event(dg.AssetMaterialization("things"))
        result = dg.AssetCheckResult(
            asset_key=dg.AssetKey("things"), check_name="sound", passed=False, description="why"
        )
        log_checks(context, [result])
        raise dg.Failure("the step fails")

    result, events = run(things)
    assert not result.success
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    (check,) = [e.asset_check_evaluation_data for e in events if e.event_type is kind]
    assert (check.check_name, check.passed, check.description) == ("sound", False, "why")
    assert check.target_materialization_data is not None


def test_the_daemon_gets_the_number_of_a_backfill_policy_and_a_command_a_single_run() -> None:
    policy, plain = BackfillPolicy(30), dg.BackfillPolicy.multi_run(30)
    assert policy.policy_type is dg.BackfillPolicy.single_run().policy_type
    assert dg.serialize_value(policy) == dg.serialize_value(plain)
    assert policy == plain, "a job of both has one policy"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("dagster asset materialize -f x.py --select a/b --partition 2026-11-02", True),
        ("dagster asset materialize -f x.py --select a/b --partition-range=1...2", True),
        ("dg launch --assets a/b --partition 2026-11-02", True),
        ("dagster asset materialize -f x.py --select a/b", False),
        ("dagster job backfill -j x --partitions 2026-11-02", False),
        ("dagster api grpc -f x.py", False),
    ],
)
def test_a_command_names_a_partition_or_not(arguments: str, named: bool) -> None:
    assert names_a_partition(arguments.split()) is named


CREATED_WITH: list[dg.InitExecutorContext] = []


@dg.executor(name="changing", config_schema={})
def changing(context: dg.InitExecutorContext) -> dg.Executor:
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    changed = with_executor_config(context, {"retries": {"disabled": {}}})
    CREATED_WITH.extend([context, changed])
    return create(changed)


@dg.op
def nothing() -> None: ...


@dg.job(executor_def=changing)
def tiny() -> None:
    nothing()


def test_an_executor_is_created_with_the_configuration_that_it_is_given() -> None:
    CREATED_WITH.clear()
    with dg.instance_for_test() as instance:
        with dg.execute_job(dg.reconstructable(tiny), instance=instance) as result:
            assert result.success
        given, changed = CREATED_WITH
        assert "disabled" not in str(given.executor_config)
        assert changed.executor_config == {"retries": {"disabled": {}}}
        assert (changed.instance, changed.job) == (given.instance, given.job)


def test_the_threads_beside_which_a_step_is_forked_are_called_so() -> None:
    stop, done = multiprocessing.Event(), multiprocessing.Event()
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    before = set(threading.enumerate())
    start_termination_thread(stop, done)  # type: ignore[arg-type]
    queue.put(1)
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert queue.get() == 1
    done.set()
    stop.set()
    queue.close()
    queue.join_thread()
    assert names == HARMLESS_THREADS


def written(instance: dg.DagsterInstance) -> set[str | None]:
    found = instance.fetch_materializations(dg.AssetKey("things"), limit=100).records
    return {each.partition_key for each in found}


def test_connections_to_sqlite_are_kept_for_all_threads_and_given_back(tmp_path: Path) -> None:
    opened: list[object] = []

    def opens(connection: object, _record: object) -> None:
        opened.append(connection)

    def write(partition: str) -> None:
        made = dg.AssetMaterialization("things", partition=partition)
        instance.report_runless_asset_event(made)

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        write("before")
        sqlalchemy.event.listen(sqlalchemy.Pool, "connect", opens)
        try:
            with kept_connections(instance), ThreadPoolExecutor(4) as threads:
                list(threads.map(write, map(str, range(12))))
                assert len(opened) <= 3 + 12  # the shards, and Dagster's look at its tables
                assert written(instance) == {"before", *map(str, range(12))}
        finally:
            sqlalchemy.event.remove(sqlalchemy.Pool, "connect", opens)
        write("after")
        assert "_connect" not in vars(instance.event_log_storage)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as other:
        assert written(other) == {"before", "after", *map(str, range(12))}


def test_another_storage_keeps_its_own_way() -> None:
    with dg.DagsterInstance.ephemeral() as instance, kept_connections(instance):
        instance.report_runless_asset_event(dg.AssetMaterialization("things", partition="1"))
        assert written(instance) == {"1"}
