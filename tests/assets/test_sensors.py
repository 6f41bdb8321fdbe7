"""Runs whose process or machine is gone together with all that would have noticed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from assets import heartbeat, lost_runs
from assets.sensors import (
    BEGINS_WITHIN_TICKS,
    CLOCK_SET_S,
    LOST_AFTER_TICKS,
    lives,
    oldest_beat,
)
from emulator.testing import Emulator, running
from local.guard import descendants
from local.services import S3
from pipeline.lake.read import manifests
from tests.assets.project import (
    Project,
    is_staged,
    materialize,
    project,
    served,
    wait_for,
)
from tests.assets.support import FIRST_BACK, SECRET, day

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def api() -> Iterator[Emulator]:
    with running(
        games=20_000, rows={"genres": 20}, client_secret=SECRET, until=day(0), warm=["games"]
    ) as emulator:
        yield emulator


@pytest.fixture
def fresh(tmp_path: Path, s3: S3, api: Emulator) -> Project:
    return project(tmp_path / "booted", s3, api)


@pytest.mark.slow
def test_a_run_that_went_down_with_the_machine_is_started_again(
    fresh: Project, api: Emulator
) -> None:
    api.reset()
    with served(fresh) as server:
        lost = server.launch(["games"], day(FIRST_BACK))
        wait_for(lambda: api.stats()["requests"] >= 20, log=server.log)
        wait_for(lambda: is_staged(fresh.lake, "games", day(FIRST_BACK)), log=server.log)
        server.kill()
    with served(fresh) as server:
        assert server.wait(lost, "FAILURE") == "FAILURE"

        def retried() -> str | None:
            found = server.ask(RETRIES, run=lost)["runsOrError"]["results"]
            return found[0]["runId"] if found else None

        again = wait_for(retried, log=server.log)
        assert server.wait(again, "SUCCESS", "FAILURE") == "SUCCESS"
    (manifest,) = manifests(fresh.lake, "igdb", "games", day(FIRST_BACK))
    assert manifest.resumed_pages >= 4  # a batch of 2,000 rows, at least


@pytest.mark.slow
def test_a_run_whose_machine_dies_is_ended_whoever_started_it(
    fresh: Project, api: Emulator
) -> None:
    """The command, its run and its step die at once; no code server has seen them."""
    api.reset()
    log = fresh.folder / "died.log"
    home = dg.DagsterInstance.from_config(fresh.env["DAGSTER_HOME"])
    with (
        home as instance,
        fresh.started(materialize("games", partition=day(FIRST_BACK)), log) as child,
    ):
        wait_for(lambda: api.stats()["requests"] >= 5, log=log)
        (run,) = instance.get_runs()
        wait_for(lambda: oldest_beat(instance, run.run_id), log=log)
        for pid in descendants(child.guard.pid):
            os.kill(pid, signal.SIGKILL)
        cursor = None
        for _ in range(LOST_AFTER_TICKS):
            cursor = tick(instance, cursor)
            assert instance.get_runs()[0].status is dg.DagsterRunStatus.STARTED
        tick(instance, cursor)
        assert instance.get_runs()[0].status is dg.DagsterRunStatus.FAILURE
        said = [entry.message for entry in instance.all_logs(run.run_id)]
    assert any(
        "Step `igdb_extract` has given no sign of life for 15 minutes" in one for one in said
    )


def tick(instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    """One evaluation of the sensor; its cursor."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    lost_runs(context)
    return context.cursor


@pytest.mark.slow
def test_a_step_that_waits_beats_and_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.001)
    statuses: list[dg.DagsterRunStatus] = []

    @dg.op
    def waits(context: dg.OpExecutionContext) -> None:
        """Like one that waits for a quota: nothing but the heartbeat comes from it."""
        run_id, cursor, last = context.run.run_id, None, None

        def beat_again() -> bool:
            return oldest_beat(context.instance, run_id) not in (None, last)

        with heartbeat.heartbeat(context):
            for _ in range(LOST_AFTER_TICKS + 5):
                wait_for(beat_again)
                last = oldest_beat(context.instance, run_id)
                cursor = tick(context.instance, cursor)
        statuses.append(status(context))
        for _ in range(LOST_AFTER_TICKS + 1):  # as if its machine had died here
            cursor = tick(context.instance, cursor)
        statuses.append(status(context))

    @dg.job
    def job() -> None:
        waits()

    with dg.instance_for_test() as instance:
        job.execute_in_process(instance=instance)
    assert statuses == [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE]


def status(context: dg.OpExecutionContext) -> dg.DagsterRunStatus:
    run = context.instance.get_run_by_id(context.run.run_id)
    assert run is not None
    return run.status


@pytest.mark.slow
def test_a_step_that_has_ended_or_never_beat_is_not_waited_for() -> None:
    seen: list[object] = []

    @dg.op
    def beats(context: dg.OpExecutionContext) -> None:
        with heartbeat.heartbeat(context):
            wait_for(lambda: oldest_beat(context.instance, context.run.run_id))

    @dg.op(ins={"after": dg.In(dg.Nothing)})
    def of_others(context: dg.OpExecutionContext) -> None:
        seen.append(oldest_beat(context.instance, context.run.run_id))

    @dg.job
    def job() -> None:
        of_others(after=beats())

    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success
    assert seen == [None]


@dg.job
def nothing() -> None: ...


def location_named(name: str) -> ManagedGrpcPythonEnvCodeLocationOrigin:
    target = LoadableTargetOrigin(python_file="definitions.py")
    return ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=name)


def test_a_run_that_does_not_begin_is_ended_and_one_that_is_still_planned_is_not() -> None:
    """As after a daemon, a webserver or a code server that died between planning and launching."""
    here = location_named("here")
    with dg.instance_for_test() as instance:

        def planned(location: str, status: dg.DagsterRunStatus) -> str:
            of = RemoteRepositoryOrigin(location_named(location), "__repository__")
            origin = RemoteJobOrigin(of, "nothing")
            run = instance.create_run_for_job(nothing, status=status, remote_job_origin=origin)
            return run.run_id

        def status_of(run_id: str) -> dg.DagsterRunStatus | None:
            run = instance.get_run_by_id(run_id)
            return run.status if run else None

        def plan_more(run_id: str) -> None:
            instance.report_engine_event("one more", job_name="nothing", run_id=run_id)

        def tick_here(cursor: str | None) -> str | None:
            context = dg.SensorEvaluationContext(
                instance_ref=None, last_tick_completion_time=None, last_run_key=None,
                cursor=cursor, repository_name=None, code_location_origin=here, instance=instance,
            )  # fmt: skip
            lost_runs(context)
            return context.cursor

        launched = planned("here", dg.DagsterRunStatus.STARTING)
        growing = planned("here", dg.DagsterRunStatus.NOT_STARTED)
        of_others = planned("elsewhere", dg.DagsterRunStatus.NOT_STARTED)
        queued = planned("here", dg.DagsterRunStatus.QUEUED)
        silences = json.loads(tick_here(None) or "{}")
        assert silences.keys() == {launched, growing}
        for silence in silences.values():
            silence[-1] = BEGINS_WITHIN_TICKS - 2
        cursor = tick_here(json.dumps(silences))
        assert status_of(launched) is dg.DagsterRunStatus.STARTING
        plan_more(growing)
        tick_here(cursor)
        assert status_of(launched) is dg.DagsterRunStatus.FAILURE
        reasons = [entry.message for entry in instance.all_logs(launched)]
        assert any("nothing was logged of it for 5 minutes" in reason for reason in reasons)
        assert status_of(growing) is dg.DagsterRunStatus.NOT_STARTED
        assert status_of(of_others) is dg.DagsterRunStatus.NOT_STARTED
        assert status_of(queued) is dg.DagsterRunStatus.QUEUED


def test_a_process_lives_until_it_ends_and_another_one_with_its_pid_is_not_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert lives(process.pid, time.time())
        assert not lives(process.pid, time.time() - 2 * CLOCK_SET_S)  # before it began
        process.kill()
    assert not lives(process.pid, time.time())


RETRIES = """query($run: String!) { runsOrError(
  filter: {tags: [{key: "dagster/parent_run_id", value: $run}]}) {
  ... on Runs { results { runId } } } }"""
