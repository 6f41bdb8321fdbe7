"""A sensor that ends runs whose process or machine is gone. The daemon starts them again.

A run is lost in three cases:

1. Its process was on this machine and is gone, as after a reboot.
2. One of its steps has stopped beating (``heartbeat``), under any launcher and executor.
3. It has not begun, and no event of it is logged any more: the process that planned or launched it
   is gone.

Silence is measured in ticks of this sensor that saw no new event. No clocks are compared, and time
in which nothing ran (a laptop that slept, a storage that was down) does not count.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.heartbeat import EVERY_S as BEAT_EVERY_S
from assets.heartbeat import MARK

EVERY_S = 30
LOST_AFTER_TICKS = 30
"""Ticks without a new beat, at least 15 minutes: a beat is due every minute."""
BEGINS_WITHIN_TICKS = 10
"""Ticks without a new event of a run that has not begun, at least 5 minutes: while it is planned it
gets one for each endpoint and partition, and once it is launched as a process it begins within a
minute. Other launchers may wait for a machine: Dagster's ``start_timeout_seconds`` is theirs."""
CLOCK_SET_S = 60.0
"""A clock that was set forward makes a process look younger than the messages it has logged."""
_LOOKED_BACK = 200
"""Events of a run among which its pid, or its last beats, are looked for."""
_ENDS_OF_STEPS = frozenset(
    {
        dg.DagsterEventType.STEP_SUCCESS,
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.STEP_UP_FOR_RETRY,
    }
)


@dataclass(frozen=True)
class Beat:
    """The last beat of a step.

    :ivar number: that of the event in Dagster's storage: a new beat has a new one.
    """

    step: str
    number: int


@dg.sensor(
    name="lost_runs",
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process or machine is gone; the daemon starts them again",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    own_location = context.code_location_origin
    local = type(context.instance.run_launcher) is dg.DefaultRunLauncher
    location = own_location.location_name if local and own_location is not None else None
    ended = 0
    for run, pid in _without_process(context.instance, location):
        context.instance.report_run_failed(
            run, f"The process of this run (pid {pid}) is gone, and its code server with it"
        )
        ended += 1
    silent = silent_ticks(context.instance, json.loads(context.cursor or "{}"), location)
    for run_id, (step, _, ticks) in silent.items():
        if ticks < (LOST_AFTER_TICKS if step else BEGINS_WITHIN_TICKS):
            continue
        now = context.instance.get_run_by_id(run_id)  # it may have gone on since it was listed
        if now is None or now.status not in ([_STARTED] if step else _NOT_BEGUN):
            continue
        context.instance.report_run_failed(now, _reason(step, ticks))
        ended += 1
        if step and _is_of(now, location):
            _kill(context.instance, run_id)
    context.update_cursor(json.dumps(silent))
    return dg.SkipReason(f"{ended} runs were lost" if ended else "No run is lost")


_STARTED = dg.DagsterRunStatus.STARTED
_NOT_BEGUN = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
Silence = tuple[str, int, int]
"""A step, its last beat, and how many ticks in a row have seen no later one. Of a run that has not
begun: no step, and its last event."""


def _reason(step: str, ticks: int) -> str:
    minutes = f"{ticks * EVERY_S / 60:.0f} minutes"
    if not step:
        return (
            f"The run has not begun, and nothing was logged of it for {minutes}: the process that "
            "planned or launched it is taken for dead"
        )
    return (
        f"Step `{step}` has given no sign of life for {minutes}; one is due every "
        f"{BEAT_EVERY_S:.0f} s. Its machine is taken for dead"
    )


def _is_of(run: dg.DagsterRun, location: str | None) -> bool:
    """Whether a run was planned for this code location, and not by a command."""
    origin = run.remote_job_origin
    return origin is not None and origin.location_name == location


def silent_ticks(
    instance: dg.DagsterInstance, before: Mapping[str, Silence], location: str | None = None
) -> dict[str, Silence]:
    """By run, the step that has been silent for longest; runs without a step that beats are left
    out: those of others, and those between two steps.

    :param before: what the tick before has returned.
    :param location: that whose runs count before they have begun, too; None for none.
    """
    last: dict[str, Beat] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=[_STARTED])):
        if beat := oldest_beat(instance, run.run_id):
            last[run.run_id] = beat
    for run in instance.get_runs(dg.RunsFilter(statuses=_NOT_BEGUN)) if location else ():
        if _is_of(run, location):
            newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
            last[run.run_id] = Beat("", newest[0].storage_id if newest else 0)
    now: dict[str, Silence] = {}
    for run_id, beat in last.items():
        step, number, ticks = before.get(run_id, ("", -1, 0))
        same = (step, number) == (beat.step, beat.number)
        now[run_id] = (beat.step, beat.number, ticks + 1 if same else 0)
    return now


def oldest_beat(instance: dg.DagsterInstance, run_id: str) -> Beat | None:
    """The step whose last beat is the oldest, of those that beat and have not ended."""
    kinds = {dg.DagsterEventType.ENGINE_EVENT, *_ENDS_OF_STEPS}
    newest_first = instance.get_records_for_run(
        run_id, of_type=kinds, limit=_LOOKED_BACK, ascending=False
    )
    steps: set[str] = set()
    oldest: Beat | None = None
    for record in newest_first.records:
        event = record.event_log_entry.dagster_event
        if event is None or event.step_key is None or event.step_key in steps:
            continue
        if event.event_type in _ENDS_OF_STEPS:
            steps.add(event.step_key)
        elif MARK in event.engine_event_data.metadata:
            steps.add(event.step_key)
            oldest = Beat(event.step_key, record.storage_id)
    return oldest


def _kill(instance: dg.DagsterInstance, run_id: str) -> None:
    """End the run's own process, which would wait for its lost step for ever."""
    process = _process(instance, run_id)
    if process is not None and lives(*process):
        with suppress(OSError):
            os.kill(process[0], signal.SIGKILL)


def _without_process(
    instance: dg.DagsterInstance, location: str | None
) -> Iterator[tuple[dg.DagsterRun, int]]:
    """The runs of this code location whose process is gone, with its pid."""
    started = dg.RunsFilter(statuses=[_STARTED])
    for run in instance.get_runs(started) if location else ():
        if not _is_of(run, location):
            continue  # started by a command or a server that may be on another machine
        process = _process(instance, run.run_id)
        if process is None or lives(*process):
            continue
        now = instance.get_run_by_id(run.run_id)  # it may have ended since it was listed
        if now is not None and now.status is _STARTED:
            yield now, process[0]


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The pid that the run's process has logged, and when."""
    kind = dg.DagsterEventType.ENGINE_EVENT
    for record in instance.get_records_for_run(run_id, of_type=kind, limit=_LOOKED_BACK).records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def lives(pid: int, at: float) -> bool:
    """Whether the process that had this pid at that time is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, and so maybe another process
    began = _began(pid)
    return began is None or began <= at + CLOCK_SET_S


def _began(pid: int) -> float | None:
    """When a process began; None where there is no /proc to tell it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        up_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return None
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.time() - up_s + ticks / os.sysconf("SC_CLK_TCK")
