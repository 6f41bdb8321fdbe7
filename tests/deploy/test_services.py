"""The services of docker-compose.yaml, as they are started, and killed, at their work.

The tests use one deployment, one after the other. Its schedule ticks while the first of them run.
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.lake.read import manifests
from tests.assets.support import FIRST_BACK, day
from tests.deploy import chart
from tests.deploy.compose import DEPLOY
from tests.deploy.graphql import JOB, wait_for
from tests.deploy.kubernetes import cluster
from tests.deploy.project import Machines
from tests.deploy.service import Service

pytestmark = pytest.mark.slow
IMAGE = "registry.example.com/headrace:0.3.0"
SCHEDULED = "dagster/schedule_name"
CELERY = {
    "HEADRACE_EXECUTOR": "dagster_celery:celery_executor",
    "HEADRACE_EXECUTOR_CONFIG": "deploy/celery.yaml",
}


def step_pid(code: Service, run_id: str) -> int:
    """The process of a run's step, from the log of the service that has started it."""
    started = rf"{run_id} - (\d+) - igdb_extract - STEP_START "
    found = wait_for(lambda: re.search(started, code.said()), code)
    assert found is not None
    return int(found[1])


def test_a_run_goes_on_when_its_step_is_killed_and_postgres_crashes(machines: Machines) -> None:
    run, code = machines.begin(day(FIRST_BACK)), machines.deployment["code"]
    os.kill(step_pid(code, run), signal.SIGKILL)
    machines.api.reset()
    wait_for(lambda: machines.api.stats()["requests"] >= 2, code)
    postgres = machines.deployment["postgres"]
    postgres.kill()
    postgres.start()
    postgres.wait_until_healthy()
    assert machines.web.wait(run) == "SUCCESS"
    assert machines.is_whole(day(FIRST_BACK))


def test_a_backfill_is_finished_by_the_next_daemon(machines: Machines) -> None:
    days = [day(back) for back in (4, 3)]
    for one in days:
        machines.touch(one)
    machines.api.reset()
    names = ("games", "genres", "themes")
    backfill = machines.web.backfill(names, days)
    daemon = machines.deployment["daemon"]
    wait_for(lambda: machines.api.stats()["requests"] >= 2, daemon)
    daemon.kill()
    daemon.start()
    wait_for(lambda: machines.web.backfill_status(backfill) == "COMPLETED_SUCCESS", daemon)
    for name in names:
        assert {each.partition for each in manifests(machines.lake, "igdb", name)} >= set(days)
    assert all(machines.is_whole(one) for one in days)
    assert machines.api.stats()["max_in_1s"] <= 4


def test_the_schedule_ticks(machines: Machines) -> None:
    def scheduled() -> list[str]:
        return [one["runId"] for one in machines.web.runs() if SCHEDULED in one["tags"]]

    daemon = machines.deployment["daemon"]
    wait_for(scheduled, daemon)
    first = scheduled()[-1]
    wait_for(lambda: machines.web.last_attempt(first)["status"] == "SUCCESS", daemon)
    assert manifests(machines.lake, "igdb", "genres", [day(1)])


def test_a_run_resumes_when_its_code_server_was_killed(machines: Machines) -> None:
    machines.touch(day(2))
    run = machines.begin(day(2))
    code = machines.deployment["code"]
    code.kill()
    code.start()
    wait_for(lambda: machines.web.last_attempt(run)["status"] == "SUCCESS", code)
    assert machines.web.status(run) == "FAILURE"
    assert machines.is_whole(day(2))


def test_a_job_of_kubernetes_runs_what_its_launcher_says(
    machines: Machines, tmp_path: Path
) -> None:
    code, tags = machines.deployment["code"], json.dumps({"dagster/partition": day(FIRST_BACK)})
    launch = ["dagster", "job", "launch", "-w", "deploy/workspace.yaml", "-j", JOB, "--tags", tags]
    with cluster(tmp_path) as (kubeconfig, jobs):
        env = machines.deployment.another_instance(instance_of_kubernetes(kubeconfig))
        subprocess.run(launch, env=env, cwd=code.cwd, check=True, timeout=120, capture_output=True)
    (container,) = jobs[0]["spec"]["template"]["spec"]["containers"]
    given = {next(iter(one.values()))["name"] for one in container["envFrom"]}
    assert given == {"headrace"}
    assert container["image"] == IMAGE
    # As a pod would: the Job's arguments, with the environment of the code server.
    subprocess.run(
        container["args"], env=env, cwd=code.cwd, check=True, timeout=120, capture_output=True
    )
    assert machines.web.status(jobs[0]["metadata"]["labels"]["dagster/run-id"]) == "SUCCESS"


def instance_of_kubernetes(kubeconfig: Path) -> dict[str, Any]:
    """Dagster's instance with the launcher of the chart's values, and without the queue."""
    instance = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    config = chart.launcher_config() | {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "job_image": IMAGE,
    }
    launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}
    coordinator = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    del instance["concurrency"], instance["run_queue"]
    return {**instance, "run_launcher": launcher, "run_coordinator": coordinator}


def test_steps_run_on_celery_workers_by_setting_alone(machines: Machines) -> None:
    deployment = machines.deployment
    deployment.change("code", **CELERY)
    deployment.up("code", "redis", "worker")
    machines.web.wait_for_location()
    machines.touch(day(5))
    run = machines.begin(day(5))
    # The worker's process dies, as by the OOM killer: Celery tells the run, which is tried again.
    _, *of_the_pool = deployment["worker"].pids()
    os.kill(of_the_pool[-1], signal.SIGKILL)
    wait_for(lambda: machines.web.last_attempt(run)["status"] == "SUCCESS", deployment["worker"])
    assert re.search(r"Task execute_plan\[\S+\] succeeded", deployment["worker"].said())
    assert machines.is_whole(day(5))
