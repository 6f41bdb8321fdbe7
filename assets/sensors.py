"""A sensor that ends runs whose process is gone.

Dagster's code server sees a run's process die, and the daemon retries the run. Where both die
together, as when the machine boots, neither sees it: the run would stay *started* for ever, count
for ``max_concurrent_runs``, and not be retried. Launchers that start runs elsewhere (Kubernetes,
ECS, Docker) look after them themselves. Times are unix seconds.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

EVERY_S = 30
CLOCK_SET_S = 60.0
"""A clock that was set forward makes a process look younger than the messages it has logged."""


@dg.sensor(
    name="lost_runs",
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone, as after a reboot; the daemon retries them",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    here = context.code_location_origin
    if here is None or type(context.instance.run_launcher) is not dg.DefaultRunLauncher:
        return dg.SkipReason("The runs of this launcher are not processes of this machine")
    lost = [*_lost(context.instance, here.location_name)]
    for run, pid in lost:
        context.instance.report_run_failed(
            run, f"The process of this run (pid {pid}) is gone, and its code server with it"
        )
    return dg.SkipReason(f"{len(lost)} runs whose process was gone" if lost else "No run is lost")


def _lost(instance: dg.DagsterInstance, location: str) -> Iterator[tuple[dg.DagsterRun, int]]:
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(started):
        origin = run.remote_job_origin
        if origin is None or origin.location_name != location:
            continue  # started by a command or a server that may be on another machine
        process = _process(instance, run.run_id)
        if process is None or lives(*process):
            continue
        now = instance.get_run_by_id(run.run_id)  # it may have ended since it was listed
        if now is not None and now.status is dg.DagsterRunStatus.STARTED:
            yield now, process[0]


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The pid that the run's process has logged, and when."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
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
