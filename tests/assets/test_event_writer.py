"""What is written together, and what comes of an event that the storage or the lake refuses."""

import logging
import threading
import warnings
from concurrent.futures import Future

import dagster as dg
import pytest

from assets import compat, event_writer
from assets.event_writer import CheckResults, Event, EventWriter, LogLine, in_groups
from pipeline.errors import LakeUnavailable

THINGS = dg.AssetKey("things")


def made(partition: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(THINGS, partition=partition)


def test_lines_are_one_entry_and_materializations_one_batch() -> None:
    checks = [CheckResults([]), CheckResults([])]
    events: list[Event] = [
        LogLine("a"), made("1"), checks[0], LogLine("b"), LogLine("c", logging.WARNING), made("2"),
        checks[1],
    ]  # fmt: skip
    assert in_groups(events) == [
        [LogLine("a\n· b")],
        [LogLine("c", logging.WARNING)],
        [made("1"), made("2")],
        [checks[0]],
        [checks[1]],
    ]
    assert in_groups([]) == []


def test_materializations_of_two_assets_are_written_apart() -> None:
    """If the storage refuses one, the other is not written a second time with it."""
    other = dg.AssetMaterialization("others", partition="1")
    assert in_groups([made("1"), other, made("2")]) == [[made("1"), made("2")], [other]]


def recorded(instance: dg.DagsterInstance) -> list[str]:
    found = instance.fetch_materializations(THINGS, limit=100).records
    return sorted(str(each.partition_key) for each in found)


def run(instance: dg.DagsterInstance, body: "object") -> dg.ExecuteInProcessResult:
    """A step whose body gets a writer."""

    @dg.asset(key=THINGS, partitions_def=dg.StaticPartitionsDefinition(["1", "2"]))
    def things(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        writer = EventWriter(context)
        body(writer)  # type: ignore[operator]
        writer.close()
        return dg.MaterializeResult(metadata={"__source_asset_observation__": True})

    with warnings.catch_warnings():
        return dg.materialize([things], instance=instance, partition_key="1", raise_on_error=False)


def test_what_the_storage_refuses_is_written_when_the_step_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash of Postgres in the middle of recording: the reading goes on, and nothing is lost."""
    real, calls, refused = compat.log_materializations, [], threading.Event()

    def away_at_first(context: dg.AssetExecutionContext, events: list[Event]) -> None:
        calls.append(len(events))
        if len(calls) == 1:
            refused.set()
            raise OSError("server closed the connection unexpectedly")
        real(context, events)  # type: ignore[arg-type]

    monkeypatch.setattr(event_writer, "log_materializations", away_at_first)

    def body(writer: EventWriter) -> None:
        writer.put(made("1"))
        assert refused.wait(30)
        writer.put(made("2"))

    with dg.instance_for_test() as instance:
        assert run(instance, body).success
        assert recorded(instance) == ["1", "2"]


@pytest.mark.slow
def test_what_the_lake_refuses_is_read_again_when_the_step_ends() -> None:
    calls: list[int] = []

    def preparation() -> list[Event]:
        calls.append(1)
        if len(calls) == 1:
            raise LakeUnavailable("S3 does not respond", wait_s=1.0)
        return [made("1")]

    with dg.instance_for_test() as instance:
        assert run(instance, lambda writer: writer.put(preparation)).success
        assert recorded(instance) == ["1"]
    assert len(calls) == 2


def test_what_is_refused_for_good_fails_the_step_and_sync_tells_it() -> None:
    def refused() -> list[Event]:
        raise LakeUnavailable("S3 does not respond", wait_s=1.0)

    with dg.instance_for_test() as instance:
        assert not run(instance, lambda writer: writer.put(refused)).success


def test_what_is_refused_for_good_takes_nothing_else_down() -> None:
    def refused() -> list[Event]:
        raise LakeUnavailable("S3 does not respond", wait_s=1.0)

    calls: list[int] = []

    def later() -> list[Event]:
        calls.append(1)
        return refused() if len(calls) == 1 else [made("2")]

    def body(writer: EventWriter) -> None:
        writer.put(refused)
        writer.put(later)

    with dg.instance_for_test() as instance:
        assert not run(instance, body).success
        assert recorded(instance) == ["2"]


@pytest.mark.slow
def test_an_event_behind_the_end_does_not_hold_the_end_up() -> None:
    """Another thread puts an event while the step closes the writer: both come in one batch."""

    def body(writer: EventWriter) -> None:
        for event in (LogLine("in time"), None, LogLine("late")):
            prepared: Future[list[Event]] | None = Future() if event else None
            if prepared is not None and event is not None:
                prepared.set_result([event])
            writer._waiting.put(prepared)  # type: ignore[arg-type]
        writing = threading.Thread(target=writer._run, daemon=True)
        writing.start()
        writing.join(30)
        assert not writing.is_alive()

    with dg.instance_for_test() as instance:
        assert run(instance, body).success
