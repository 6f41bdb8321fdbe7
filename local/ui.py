"""`python -m local ui`: Dagster's UI and daemon over a local S3 and API; state is kept.

Units: seconds.
"""

import fcntl
import json
import os
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from emulator.testing import running as emulator_running
from local.dagster_cli import dagster
from local.instance import create_storage
from local.paths import ROOT, UI_STATE
from local.ports import LOOPBACK, free_port
from local.process import Child, LocalError, running, tail
from local.services import seaweedfs
from local.settings import BUCKET, LAKE, dagster_env

GAMES = 20_000
DAYS_BACK = 7
READY_S = 120.0
POLL_S = 0.5
GRACE_S = 15.0
_LOADED = json.dumps(
    {
        "query": "{workspaceOrError {... on Workspace {locationEntries "
        "{locationOrLoadError {... on PythonError {message}}}}}}"
    }
)


def first_day(state: Path, today: date) -> date:
    """The first partition: chosen once, since it must not move while there is state."""
    remembered = state / "start"
    if not remembered.exists():
        remembered.write_text(f"{today - timedelta(days=DAYS_BACK)}\n")
    return date.fromisoformat(remembered.read_text().strip())


def wait_until_ready(child: Child, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if child.exit_code() is not None:
            raise LocalError(f"Dagster ended at once; its log, {log}, ends with:\n{tail(log, 25)}")
        if _serves(url):
            return
        time.sleep(POLL_S)
    raise LocalError(f"Dagster's UI did not respond within {READY_S:.0f} s; its log is {log}.")


# The UI is on loopback: a proxy from the environment must not be asked for it.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _serves(url: str) -> bool:
    try:
        with _DIRECTLY.open(f"{url}/server_info", timeout=2.0):
            return True
    except (urllib.error.URLError, OSError):
        return False


def refused(url: str) -> str | None:
    """Why Dagster could not load the project: the UI comes up all the same, without assets."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", _LOADED.encode(), headers)  # noqa: S310 (ours)
    with _DIRECTLY.open(request, timeout=READY_S) as reply:
        entries = json.load(reply)["data"]["workspaceOrError"]["locationEntries"]
    errors = (entry["locationOrLoadError"] or {} for entry in entries)
    said = next((error["message"] for error in errors if "message" in error), None)
    return None if said is None else str(said).strip().rpartition("DefinitionError: ")[2]


def write_env(file: Path, env: Mapping[str, str]) -> None:
    """What a shell needs to use the same S3, API and instance; for the user's eyes only."""
    ours = ("AWS_", "IGDB_", "HEADRACE_", "DAGSTER_HOME")
    lines = [
        f"export {name}={shlex.quote(value)}\n"
        for name, value in sorted(env.items())
        if name.startswith(ours)
    ]
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text("".join(lines), encoding="utf-8")


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Two S3 servers over one folder would ruin it. The lock ends with whoever holds it."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                "`make ui` is running in this clone already: stop that one first."
            ) from None
        yield


def ui(port: int | None = None, preferred_port: int = 3000) -> None:
    """Serve until interrupted. A `port` that is asked for must be free."""
    chosen = free_port(port or preferred_port)
    if port and chosen != port:
        raise LocalError(f"Port {port} on {LOOPBACK} is taken: choose another one with --port.")
    with only_one(UI_STATE):
        _serve_until_stopped(chosen)


def _serve_until_stopped(chosen: int) -> None:
    home, log, url = UI_STATE / "dagster", UI_STATE / "dagster.log", f"http://{LOOPBACK}:{chosen}"
    log.unlink(missing_ok=True)
    start = first_day(UI_STATE, datetime.now(UTC).date())
    print("Starting S3 (SeaweedFS), the API emulator and Dagster …", flush=True)
    create_storage(home)
    with seaweedfs(UI_STATE / "s3", buckets=[BUCKET]) as s3, emulator_running(games=GAMES) as api:
        command = dagster("dev", "-w", "workspace.yaml", "-h", LOOPBACK, "-p", str(chosen))
        sources = os.environ.get("HEADRACE_SOURCES") or "sources"
        env = dagster_env(s3, api.env(), home, start, sources)
        write_env(UI_STATE / "env", env)
        with running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S) as child:
            wait_until_ready(child, url, log)
            if said := refused(url):
                raise LocalError(f"Dagster could not load the project: {said}")
            print(
                f"Dagster's UI: {url}   (lake {LAKE} at {s3.endpoint_url}; state in "
                f"{UI_STATE.relative_to(ROOT)}; log in {log.relative_to(ROOT)})\n"
                f"In another terminal, `. {(UI_STATE / 'env').relative_to(ROOT)}` sets what "
                "Dagster and boto3 need to use the same.\n"
                "Ctrl-C stops everything.",
                flush=True,
            )
            code = child.wait()
    raise LocalError(f"Dagster ended with exit code {code}; its log is {log}.")
