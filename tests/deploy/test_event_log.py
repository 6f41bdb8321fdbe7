"""What a step records in Postgres, over connections that it keeps open."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy

from assets.compat import kept_connections, log_materializations
from local.guard import descendants
from local.ports import free_port
from tests.deploy.conftest import Open, data_folder, opener, serving

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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, log = free_port(), tmp_path / "log"
    with (
        data_folder() as postgres,
        opener(port, tmp_path, monkeypatch) as opened,
        ExitStack() as first,
    ):
        child = first.enter_context(serving(postgres, port, log))
        instance = opened()
        write(instance, "0")
        with kept_connections(instance), logins() as before:
            write(instance, "1", "2", "3", "4")
            assert len(before) <= 2
            for pid in descendants(child.guard.pid):
                os.kill(pid, signal.SIGKILL)
            first.close()
            with serving(postgres, port, log):
                write(instance, "5")
                recorded = instance.fetch_materializations(dg.AssetKey("things"), limit=100).records
                assert {each.partition_key for each in recorded} == {*"012345"}
                before.clear()
                write(instance, "6")
                assert not before
