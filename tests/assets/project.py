"""The project as a user runs it: Dagster's own commands, from the project's folder."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from emulator.testing import Emulator
from local.dagster_cli import dagster
from local.guard import descendants
from local.instance import create_storage
from local.ports import free_port
from local.process import Child, running, tail
from local.services import S3
from local.settings import LAKE, dagster_env
from local.ui import wait_until_ready
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake
from tests.assets.support import ALONE, FIRST_BACK, IGDB, ROOT, day

STEP_START = re.compile(r" - (\d+) - igdb_extract - STEP_START ")
ENDPOINT = re.compile(r"  (\w+):$")
KEPT = {"games", "genres", "themes", "age_ratings", "covers"}
SLOWER = ALONE | {"defaults:\n": "defaults:\n  batch_rows: 2000\n"}
"""One page a request and small batches: a run that takes long enough to be killed."""


@dataclass
class Project:
    """A fresh Dagster instance over the services, and the commands that use it."""

    env: dict[str, str]
    folder: Path
    s3: S3

    @property
    def lake(self) -> Lake:
        return Lake(self.s3.client(), self.env["HEADRACE_LAKE"])

    def run(self, command: Sequence[str], **settings: str | None) -> tuple[int, str]:
        """A command's exit code, and all it said; a setting of None is taken away."""
        env = {**self.env, **{name: value for name, value in settings.items() if value}}
        for name in [name for name, value in settings.items() if value is None]:
            del env[name]
        done = subprocess.run(
            command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    @contextmanager
    def started(self, command: Sequence[str], log: Path) -> Iterator[Child]:
        with running(command, env=self.env, cwd=ROOT, log=log, grace_s=15) as child:
            yield child


def materialize(*endpoints: str, partition: str = "", days: str = "") -> list[str]:
    chosen = ",".join(f"igdb/{name}" for name in endpoints)
    which = ["--partition", partition] if partition else ["--partition-range", days]
    return dagster("asset", "materialize", "-f", "definitions.py", "--select", chosen, *which)


def few_endpoints(text: str) -> str:
    """The source's YAML with five of its endpoints only."""
    head, endpoints, rest = text.partition("\nendpoints:\n")
    kept: list[str] = []
    keeps = True
    for line in rest.splitlines(keepends=True):
        if named := ENDPOINT.match(line):
            keeps = named[1] in KEPT
        if keeps:
            kept.append(line)
    return "".join([head, endpoints, *kept])


def project(folder: Path, s3: S3, api: Emulator) -> Project:
    """With the source's YAML changed so that runs take long enough."""
    home, sources = folder / "home", folder / "sources"
    sources.mkdir(parents=True)
    text = IGDB.read_text()
    for piece, other in SLOWER.items():
        assert piece in text
        text = text.replace(piece, other)
    (sources / "igdb.yaml").write_text(few_endpoints(text))
    create_storage(home)
    env = dagster_env(s3, api.env(), home, date.fromisoformat(day(FIRST_BACK)))
    env["HEADRACE_SOURCES"] = str(sources)
    env["HEADRACE_LAKE"] = f"{LAKE}-{folder.name}"
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return Project(env, folder, s3)


def wait_for(what: Callable[[], Any], timeout_s: float = 90.0, log: Path | None = None) -> Any:
    """What is there at last."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s; {tail(log, 30) if log else ''}")
        time.sleep(0.1)
    return found


def is_staged(lake: Lake, endpoint: str, partition: str) -> bool:
    """Whether a batch of a partition is on S3: another attempt goes on behind it."""
    return lake.get(PartitionPaths("igdb", endpoint, partition).checkpoint) is not None


@dataclass
class Server:
    """`dagster dev`: the UI's server and the daemon."""

    url: str
    log: Path
    child: Child

    def kill(self) -> None:
        """With all its processes, runs and steps included, as when the machine goes down."""
        for pid in descendants(self.child.guard.pid):  # parents first: nobody sees a child die
            os.kill(pid, signal.SIGKILL)

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The data that GraphQL answers."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, timeout=60, trust_env=False)
        found = answer.raise_for_status().json()
        assert "errors" not in found, found
        return dict(found["data"])

    def launch(self, endpoints: Sequence[str], partition: str) -> str:
        """Start a run, as the UI does."""
        params = {
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "headrace",
                "pipelineName": "igdb_daily",
                "assetSelection": [{"path": ["igdb", name]} for name in endpoints],
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run_id: str) -> str:
        return str(self.ask(STATUS, run=run_id)["runOrError"]["status"])

    def terminate(self, run_id: str) -> None:
        answer = self.ask(TERMINATE, run=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def wait(self, run_id: str, *statuses: str, timeout_s: float = 120.0) -> str:
        return str(
            wait_for(lambda: (now := self.status(run_id)) in statuses and now, timeout_s, self.log)
        )


LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
TERMINATE = """mutation($run: String!) { terminateRun(runId: $run) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""


@contextmanager
def served(found: Project) -> Iterator[Server]:
    port = free_port()
    log = found.folder / "dagster.log"
    command = dagster("dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port))
    with found.started(command, log) as child:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(child, url, log)
        yield Server(url, log, child)
