"""All code that relies on private behaviour of the pinned version of Dagster, and no other code.

Each has a test in ``tests/assets/test_compat.py``. Run these first when you move the pin.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

import dagster as dg
import sqlalchemy
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.asset_selection import KeysAssetSelection
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.backfill_policy import BackfillPolicyType
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.event_api import AssetRecordsFilter
from dagster._core.events import DagsterEventBatchMetadata, EngineEventData
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.tags import (
    ASSET_RESUME_RETRY_TAG,
    RESUME_RETRY_TAG,
    RETRY_NUMBER_TAG,
    WILL_RETRY_TAG,
)
from toposort import CircularDependencyError

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

__all__ = ["EngineEventData", "FreshnessState"]
AssetJob: TypeAlias = "UnresolvedAssetJobDefinition"
"""The type that ``define_asset_job`` returns: it has no public name."""

WITHOUT_MATERIALIZATION: Final[Mapping[str, bool]] = {"__source_asset_observation__": True}
"""Metadata of a result for which Dagster records no materialization, while assets downstream go on.
Dagster has it for bodies that log their events themselves, as ours do. A version that did not know
it would record each materialization twice."""

GENERATION_TAG: Final = DATA_VERSION_TAG
"""The tag of a materialization that Dagster indexes: of many partitions it is read in one query."""

HARMLESS_THREADS: Final = frozenset({"termination-handler", "QueueFeederThread"})
"""Names of the threads of a run that the UI or the daemon has started: one waits for *Terminate*,
the other for messages to the server when the run ends. A step's process uses the locks of neither.
"""


class BackfillPolicy(dg.BackfillPolicy):
    """Backfills are cut into runs of so many partitions; a command's range stays one run.

    ``dagster asset materialize --partition-range`` refuses every policy but ``single_run()``: the
    command has no daemon that could start several runs. So the command gets the type that it wants,
    and the daemon, which reads the number, cuts. Dagster serializes by the name of the class.

        BackfillPolicy(30)
    """

    @property
    def policy_type(self) -> BackfillPolicyType:
        return BackfillPolicyType.SINGLE_RUN


class AssetsWithoutChecks(KeysAssetSelection):
    """Assets without their checks; Dagster's ``without_checks()`` looks at each check of a code
    location, the job of each source anew: at 20,000 of them a twentieth of the load.

        AssetsWithoutChecks(selected_keys=[dg.AssetKey("orders")])
    """

    def resolve_checks_inner(
        self,
        asset_graph: BaseAssetGraph[Any],
        allow_missing: bool,  # noqa: FBT001 - and Dagster passes it by name
    ) -> Set[dg.AssetCheckKey]:
        return frozenset()

    def to_serializable_asset_selection(
        self, asset_graph: BaseAssetGraph[Any]
    ) -> dg.AssetSelection:
        """Dagster's own form: what a server sends is read by processes that know no other."""
        return dg.AssetSelection.assets(*self.selected_keys).without_checks()


def names_a_partition(arguments: Sequence[str]) -> bool:
    """Whether a command that materializes by itself was given a partition, or a range of them.

    ``dagster asset materialize --partition`` and ``dg launch --partition`` refuse assets without
    partitions, and without it those that have them.

    :param arguments: ``sys.argv``; a process that is spawned for a step has its parent's.
    """
    commands = ("asset", "materialize"), ("launch",)
    words = [word for word in arguments[1:] if not word.startswith("-")]
    is_named = any(word.startswith("--partition") for word in arguments)
    return is_named and any(tuple(words[: len(command)]) == command for command in commands)


@contextmanager
def kept_connections(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep this process's connections to Dagster's event log open until the block ends.

    Dagster opens one or more for each event. Postgres asks for a login each time, and SQLite writes
    its whole log back into the file whenever the last connection closes: most of the time that an
    event takes (docs/decisions/0016-what-dagster-is-told.md). Enter it in the process of the step:
    an open connection must not be forked. Another storage is left as it is.
    """
    storage = instance.event_log_storage
    names = [base.__name__ for base in type(storage).__mro__]
    with ExitStack() as stack:
        for name in _KEPT.keys() & names:
            stack.enter_context(_KEPT[name](storage))
        yield


@contextmanager
def _kept_in_postgres(storage: Any) -> Iterator[None]:
    from dagster_postgres.utils import create_pg_engine

    engine = create_pg_engine(
        storage.postgres_url,
        storage._token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=2,  # an event asks with one whether a table is there, and writes with the other
        pool_pre_ping=True,  # Postgres may have restarted since
    )
    before, storage._engine = storage._engine, engine
    storage.has_table = cache(storage.has_table)  # asked for each event
    try:
        yield
    finally:
        del storage.has_table
        storage._engine = before
        engine.dispose()


@contextmanager
def _kept_in_sqlite(storage: Any) -> Iterator[None]:
    as_ever, engines = storage._connect, dict[str, sqlalchemy.Engine]()

    @contextmanager
    def connect(shard: str) -> Iterator[sqlalchemy.Connection]:
        if shard not in storage._initialized_dbs:
            with as_ever(shard):  # makes the tables
                pass
        with storage._db_lock:  # Dagster's own: one thread at a time
            if shard not in engines:
                engines[shard] = sqlalchemy.create_engine(
                    storage.conn_string_for_shard(shard),
                    poolclass=sqlalchemy.StaticPool,
                    connect_args={
                        "timeout": SQLITE_BUSY_TIMEOUT_SECONDS,
                        "check_same_thread": False,
                    },
                )
                sqlalchemy.event.listen(engines[shard], "connect", _syncs_less)
            with engines[shard].connect() as connection, connection.begin():
                yield connection

    storage._connect = connect  # hides the method of the class
    storage.has_table = cache(storage.has_table)  # asked for each event
    try:
        yield
    finally:
        with storage._db_lock:
            del storage._connect, storage.has_table
            for engine in engines.values():
                engine.dispose()


def _syncs_less(connection: Any, _record: object) -> None:
    """Have a commit not wait for the disk. What it writes survives the end of every process.

    Of a machine that loses power the last events are lost, and with it the run, whose successor
    records anew. The end of a run is written by a connection that waits, for all before it too.
    """
    connection.execute("PRAGMA synchronous = NORMAL")


_KEPT: Final[Mapping[str, Callable[[Any], AbstractContextManager[None]]]] = {
    "PostgresEventLogStorage": _kept_in_postgres,
    "SqliteEventLogStorage": _kept_in_sqlite,
}
"""By the name of the storage's class, or of a base of it: that of Postgres is in a package that
need not be there."""


def resolve(definitions: dg.Definitions) -> None:
    """Resolve definitions as far as each process does that loads them; the results are kept.

    Dagster looks for circles of assets only when it makes a job of all of them.

    :raises Exception: what Dagster refuses; it is not always one of Dagster's own.
    """
    graph = definitions.resolve_asset_graph()
    try:
        graph.toposorted_entity_keys_by_level  # noqa: B018 - it is kept
    except CircularDependencyError as error:
        keys = sorted(key.to_user_string() for key in error.data if isinstance(key, dg.AssetKey))
        raise dg.DagsterInvalidDefinitionError(
            f"the assets {', '.join(f'`{key}`' for key in keys)} depend on each other in a circle, "
            "or on assets that do: take an entry out of `deps`"
        ) from None


def log_materializations(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    materializations: Sequence[dg.AssetMaterialization],
) -> None:
    """Log materializations; a storage that can (``DAGSTER_EVENT_BATCH_SIZE``) gets those of one
    asset in one transaction. They stay though the step fails. Any thread may call.

    A batch is of one asset: Dagster's Postgres storage notes the latest materialization of the last
    event's asset alone, and the catalog would show those of the others as they were before.
    """
    step = context.get_step_execution_context()
    by_asset: dict[dg.AssetKey, list[dg.AssetMaterialization]] = {}
    for each in materializations:
        by_asset.setdefault(each.asset_key, []).append(each)
    for of_asset in by_asset.values():
        batch = str(uuid4())
        for number, each in enumerate(of_asset, start=1):
            last = DagsterEventBatchMetadata(batch, is_end=number == len(of_asset))
            dg.DagsterEvent.asset_materialization(step, each, last if len(of_asset) > 1 else None)


def log_checks(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    results: Sequence[dg.AssetCheckResult],
) -> None:
    """Log the results of one asset's checks as events, which stay though the step fails.

    A result that is yielded costs Dagster two look-ups of the materialization that it is of, for
    each partition of the run, and an output's event besides; here it is looked up once for all.
    """
    target = _latest_materialization(context, results[0].asset_key) if results else None
    step = context.get_step_execution_context()
    for result in results:
        assert result.asset_key is not None
        assert result.check_name is not None
        evaluation = dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=result.check_name,
            passed=result.passed,
            metadata=result.metadata,
            target_materialization_data=target,
            severity=result.severity,
            description=result.description,
            blocking=False,
        )
        dg.DagsterEvent.asset_check_evaluation(step, evaluation)


def _latest_materialization(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, key: dg.AssetKey | None
) -> AssetCheckEvaluationTargetMaterializationData | None:
    assert key is not None
    records = context.instance.fetch_materializations(AssetRecordsFilter(key), limit=1).records
    return (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=records[0].storage_id,
            run_id=records[0].event_log_entry.run_id,
            timestamp=records[0].timestamp,
        )
        if records
        else None
    )


def last_passed(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> set[dg.AssetCheckKey]:
    """The checks whose latest execution has passed."""
    storage = instance.event_log_storage
    records = storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    succeeded = AssetCheckExecutionRecordStatus.SUCCEEDED
    return {key for key, record in records.items() if record.status is succeeded}


def planned_op_tags(context: dg.AssetExecutionContext) -> Mapping[str, str]:
    """The tags of a step's op, as the process had them that planned the run."""
    snapshot_id = context.run.job_snapshot_id
    if snapshot_id is None or not context.instance.has_job_snapshot(snapshot_id):
        return {}
    ops = context.instance.get_job_snapshot(snapshot_id).node_defs_snapshot.op_def_snaps
    return next((op.tags for op in ops if op.name == context.op_def.name), {})


def is_only_step(context: dg.AssetExecutionContext) -> bool:
    """Whether a run has no other step, so that nothing waits for this one's outputs."""
    step = context.get_step_execution_context()
    return len(step.job_def.graph.node_dict) == 1


def has_check_results(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool:
    """Whether a check was ever evaluated."""
    completed = {*COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES}
    storage = instance.event_log_storage
    return bool(storage.get_asset_check_execution_history(key, limit=1, status=completed))


def recorded_generations(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, str]:
    """By partition, the generation that its latest materialization is of; of others nothing."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    tags_by_partition = instance.event_log_storage.get_latest_tags_by_partition(
        key, kind, [GENERATION_TAG]
    )
    return {partition: tags[GENERATION_TAG] for partition, tags in tags_by_partition.items()}


def recorded_generation(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    """The generation that the latest materialization is of; empty if there is none."""
    latest = instance.get_latest_materialization_event(key)
    materialization = latest.asset_materialization if latest else None
    return ((materialization.tags or {}) if materialization else {}).get(GENERATION_TAG, "")


def unfinished_runs(instance: dg.DagsterInstance) -> set[str]:
    """The ids of all runs that have not ended, and of the runs that they resume."""
    unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
    runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    return {run_id for run in runs for run_id in (run.run_id, resumed_run_id(instance, run))}


def resumed_run_id(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The id of the run that a run resumes, in one step or several; its own if it resumes none.

    The daemon's retry resumes its parent, and so does what a user re-executes from a failure. A
    re-execution of all steps is a run of its own, whose parent may be one that has succeeded: the
    root of them all (``root_run_id``) is no run to resume.
    """
    while run.parent_run_id is not None:
        parent = instance.get_run_by_id(run.parent_run_id)
        if not _resumes(run, parent):
            break
        if parent is None:  # deleted: what it has committed has this id, if it resumed no other
            return run.parent_run_id
        run = parent
    return run.run_id


def _resumes(run: dg.DagsterRun, parent: dg.DagsterRun | None) -> bool:
    """Whether a run resumes its parent.

    A re-execution of all steps has its parent's tags. Dagster leaves out those of a retry, but not
    the one of a re-execution from the assets that failed. Such a one has other assets than its
    parent, unless nothing of the parent's was materialized: then all is read again, at no risk.
    """
    if RETRY_NUMBER_TAG in run.tags or run.tags.get(RESUME_RETRY_TAG) == "true":
        return True
    if run.tags.get(ASSET_RESUME_RETRY_TAG) != "true":
        return False
    is_inherited = (
        parent is not None
        and ASSET_RESUME_RETRY_TAG in parent.tags
        and run.asset_selection == parent.asset_selection
        and run.asset_check_selection == parent.asset_check_selection
    )
    return not is_inherited


def will_be_retried(run: dg.DagsterRun) -> bool:
    """Whether the daemon starts a run that has failed again: Dagster notes that when it fails."""
    return run.tags.get(WILL_RETRY_TAG) == "true"


def silence_missing_outputs(context: dg.AssetExecutionContext) -> None:
    """Keep a line out of the log that names hundreds of checks which are stored already.

    Dagster misses a check that is logged and not yielded: *did not yield or return expected
    outputs*.
    """

    def wanted(record: logging.LogRecord) -> bool:
        return "did not yield or return expected outputs" not in record.getMessage()

    context.log.addFilter(wanted)


def with_executor_config(
    context: dg.InitExecutorContext, config: Mapping[str, Any]
) -> dg.InitExecutorContext:
    """The context of an executor's creation, with another configuration: a named tuple today."""
    return context._replace(executor_config=config)
