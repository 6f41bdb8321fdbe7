"""What ``assets/compat.py`` rests on is still so in the pinned version of Dagster."""

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.events import StepMaterializationData
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import retry_run
from dagster._utils import start_termination_thread

from assets.compat import (
    HARMLESS_THREADS,
    WITHOUT_MATERIALIZATION,
    AssetJob,
    AssetsWithoutChecks,
    BackfillPolicy,
    kept_connections,
    log_checks,
    names_a_partition,
    resumed_run_id,
    unfinished_runs,
    with_executor_config,
)


def test_the_type_of_an_asset_job_is_where_it_is_imported_from() -> None:
    job = dg.define_asset_job("any", selection="*")
    assert type(job).__name__ == str(AssetJob)
    assert type(job).__module__ == "dagster._core.definitions.unresolved_asset_job_definition"


def test_assets_without_checks_are_what_dagster_makes_of_them() -> None:
    check = dg.AssetCheckSpec("fine", asset="orders")

    @dg.multi_asset(specs=[dg.AssetSpec("orders")], check_specs=[check], can_subset=True)
    def orders() -> Iterator[dg.MaterializeResult[None]]:
        yield dg.MaterializeResult(asset_key="orders")

    ours = AssetsWithoutChecks(selected_keys=[dg.AssetKey("orders")])
    dagsters = dg.AssetSelection.assets("orders").without_checks()
    graph = dg.Definitions([orders]).resolve_asset_graph()
    for selection in (ours, dagsters):
        assert selection.resolve(graph) == {dg.AssetKey("orders")}
        assert selection.resolve_checks(graph) == set()
    both = ours | dg.AssetSelection.checks(check.key)
    assert both.resolve_checks(graph) == {check.key}
    assert ours.to_serializable_asset_selection(graph) == dagsters


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


TWO_ASSETS = """
import dagster as dg

@dg.multi_asset(specs=[dg.AssetSpec("a"), dg.AssetSpec("b")], can_subset=True)
def both(): ...

defs = dg.Definitions([both], jobs=[dg.define_asset_job("job", "*")])
"""
NOTHING_IS_LAUNCHED = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}


@dataclass
class Runs:
    """Runs as the UI and the daemon make them, of which none is executed."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext

    def first(self) -> dg.DagsterRun:
        request = self.workspace.create_request_context()
        location = request.get_code_location("location")
        (repository,) = location.get_repositories().values()
        job = repository.get_full_job("job")
        plan = location.get_execution_plan(job, {}, None, None, self.instance)
        return self.instance.create_run(
            job_name="job", run_id=None, run_config={}, status=dg.DagsterRunStatus.STARTED,
            tags={}, root_run_id=None, parent_run_id=None, step_keys_to_execute=None,
            execution_plan_snapshot=plan.execution_plan_snapshot, job_snapshot=job.job_snapshot,
            parent_job_snapshot=None, asset_selection=None, asset_check_selection=None,
            resolved_op_selection=None, op_selection=None,
            remote_job_origin=job.get_remote_origin(), job_code_origin=job.get_python_origin(),
            asset_graph=repository.asset_graph,
        )  # fmt: skip

    def succeeded(self, run: dg.DagsterRun) -> dg.DagsterRun:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "job")
        self.instance.report_dagster_event(event, run.run_id)
        return self._now(run)

    def failed(self, run: dg.DagsterRun, *materialized: str) -> dg.DagsterRun:
        for name in materialized:
            made = dg.AssetMaterialization(name)
            event = dg.DagsterEvent(
                dg.DagsterEventType.ASSET_MATERIALIZATION.value, "job", step_key="both",
                event_specific_data=StepMaterializationData(made),
            )  # fmt: skip
            self.instance.report_dagster_event(event, run.run_id)
        self.instance.report_run_failed(run, "the process was killed")
        return self._now(run)

    def reexecuted(self, parent: dg.DagsterRun, strategy: ReexecutionStrategy) -> dg.DagsterRun:
        """As the UI does."""
        request = self.workspace.create_request_context()
        location = request.get_code_location("location")
        selector = JobSubsetSelector(
            location_name="location",
            repository_name="__repository__",
            job_name="job",
            op_selection=None,
            asset_selection=parent.asset_selection,
            asset_check_selection=parent.asset_check_selection,
        )
        return self.instance.create_reexecuted_run(
            parent_run=parent, request_context=request, code_location=location,
            remote_job=location.get_job(selector), strategy=strategy, use_parent_run_tags=True,
        )  # fmt: skip

    def retried(self, failed: dg.DagsterRun) -> dg.DagsterRun:
        """The run with which the daemon follows one that has failed."""
        before = {run.run_id for run in self.instance.get_runs()}
        retry_run(failed, self.workspace)
        (run,) = (run for run in self.instance.get_runs() if run.run_id not in before)
        return run

    def resumed(self, run: dg.DagsterRun) -> str:
        return resumed_run_id(self.instance, run)

    def _now(self, run: dg.DagsterRun) -> dg.DagsterRun:
        now = self.instance.get_run_by_id(run.run_id)
        assert now is not None
        return now


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    file = tmp_path_factory.mktemp("project") / "two_assets.py"
    file.write_text(TWO_ASSETS)
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, python_file=str(file)),
        location_name="location",
    )
    retries = {"enabled": True, "max_retries": 9}
    with (
        dg.instance_for_test(
            overrides={"run_launcher": NOTHING_IS_LAUNCHED, "run_retries": retries}
        ) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
    ):
        yield Runs(instance, workspace)


def test_a_retry_of_the_daemon_resumes_the_run_that_was_killed_and_those_that_it_resumed(
    runs: Runs,
) -> None:
    first = runs.first()
    assert runs.resumed(first) == first.run_id
    second = runs.retried(runs.failed(first))
    third = runs.retried(runs.failed(second))
    fourth = runs.reexecuted(runs.failed(third), ReexecutionStrategy.FROM_FAILURE)
    assert {runs.resumed(run) for run in (second, third, fourth)} == {first.run_id}


def test_a_retry_of_what_a_user_has_executed_anew_resumes_that_and_not_the_run_before(
    runs: Runs,
) -> None:
    done = runs.succeeded(runs.first())
    anew = runs.reexecuted(done, ReexecutionStrategy.ALL_STEPS)
    assert runs.resumed(anew) == anew.run_id
    retry = runs.retried(runs.failed(anew))
    assert retry.root_run_id == done.run_id
    assert runs.resumed(retry) == anew.run_id
    assert unfinished_runs(runs.instance) >= {retry.run_id, anew.run_id}
    assert done.run_id not in unfinished_runs(runs.instance)


def test_what_is_executed_anew_after_assets_that_failed_resumes_nothing(runs: Runs) -> None:
    failed = runs.failed(runs.first(), "a")
    rest = runs.reexecuted(failed, ReexecutionStrategy.FROM_ASSET_FAILURE)
    assert rest.asset_selection == {dg.AssetKey("b")}
    assert runs.resumed(rest) == failed.run_id
    for end in (runs.succeeded, runs.failed):
        of_rest = runs.reexecuted(failed, ReexecutionStrategy.FROM_ASSET_FAILURE)
        anew = runs.reexecuted(end(of_rest), ReexecutionStrategy.ALL_STEPS)
        assert "dagster/is_asset_resume_retry" in anew.tags, "inherited"
        assert runs.resumed(anew) == anew.run_id


def test_a_run_whose_parent_is_deleted_resumes_what_that_has_committed(runs: Runs) -> None:
    first = runs.failed(runs.first())
    retry = runs.retried(first)
    runs.instance.delete_run(first.run_id)
    assert runs.resumed(retry) == first.run_id
