"""`python -m local ui`: Dagster's UI and daemon over a local S3 and API; state is kept.

Units: seconds.
"""

import fcntl
import json
import os
import re
import secrets
import shlex
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from emulator.testing import running as emulator_running
from local.dagster_cli import dagster, materialize, run
from local.demo import OTHER_ROWS, SELECTION
from local.instance import create_storage
from local.paths import ROOT, UI_STATE
from local.ports import LOOPBACK, free_port, is_free
from local.process import Child, LocalError, running, tail
from local.services import seaweedfs
from local.settings import BUCKET, LAKE, dagster_env

GAMES = 20_000
DAYS_BACK = 7
READY_S = 120.0
POLL_S = 0.5
GRACE_S = 15.0
PREFERRED_PORT = 3000
DEMO_SOURCE = "sources/igdb.yaml"
FIRST_SHOWN = " or ".join(f"key:igdb/{name}" for name in ("games", "companies", "covers"))
"""So many cards of the graph are seen whole in a window of 900 pixels."""
DAY = timedelta(days=1)
_SETTING = re.compile(r"\$\{(\w+)(:-)?")
_GROUPS = json.dumps({"query": "{assetNodes {groupName}}"})
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
    """What a shell needs to use the same S3, API and instance."""
    ours = ("AWS_", "IGDB_", "HEADRACE_", "DAGSTER_HOME")
    lines = [
        f"export {name}={shlex.quote(value)}\n"
        for name, value in sorted(env.items())
        if name.startswith(ours)
    ]
    write_private(file, "".join(lines))


def write_private(file: Path, text: str) -> None:
    """A file for the user's eyes only."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


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


@dataclass
class Kept:
    """What stays the same from start to start, so that other terminals and bookmarks go on.

    Kept for the user's eyes only: the S3's secret is in it.
    """

    ui_port: int = PREFERRED_PORT
    s3_port: int = 0
    api_port: int = 0
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    loaded: bool = False

    @classmethod
    def read(cls, file: Path) -> "Kept":
        """As it was kept; what can't be read is chosen anew."""
        try:
            return cls(**json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, file: Path) -> None:
        write_private(file, json.dumps(asdict(self)) + "\n")


def ui(port: int | None = None, *, open_browser: bool = True) -> None:
    """Serve until interrupted. A `port` that is asked for must be free."""
    if port and not is_free(port):
        raise LocalError(
            f"Port {port} on {LOOPBACK} is taken: end the program that has it, or choose another "
            'one, as in `make ui ARGS="--port 3001"`.'
        )
    with only_one(UI_STATE):
        kept = Kept.read(UI_STATE / "kept.json")
        wanted = port or kept.ui_port
        chosen = free_port(wanted)
        if chosen != wanted:
            print(f"Port {wanted} is taken by another program: the UI gets {chosen} instead.")
        _serve_until_stopped(chosen, kept, open_browser=open_browser)


def _serve_until_stopped(chosen: int, kept: Kept, *, open_browser: bool) -> None:
    home, log, url = UI_STATE / "dagster", UI_STATE / "dagster.log", f"http://{LOOPBACK}:{chosen}"
    log.unlink(missing_ok=True)
    start = first_day(UI_STATE, datetime.now(UTC).date())
    print("Starting S3 (SeaweedFS), the API emulator and Dagster …", flush=True)
    create_storage(home)
    with (
        seaweedfs(
            UI_STATE / "s3",
            buckets=[BUCKET],
            secret_key=kept.secret,
            preferred_port=kept.s3_port or None,
        ) as s3,
        emulator_running(games=GAMES, rows=OTHER_ROWS, port=_kept_port(kept.api_port)) as api,
    ):
        s3_port = urllib.parse.urlsplit(s3.endpoint_url).port or 0
        kept = replace(kept, s3_port=s3_port, api_port=api.port)
        kept.write(UI_STATE / "kept.json")
        env = dagster_env(s3, api.env(), home, start)
        sources, left_out = chosen_sources(os.environ, env)
        env["HEADRACE_SOURCES"] = sources
        write_env(UI_STATE / "env", env)
        command = dagster("dev", "-w", "workspace.yaml", "-h", LOOPBACK, "-p", str(chosen))
        with running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S) as child:
            if not kept.loaded and DEMO_SOURCE in sources.split(":"):
                kept.loaded = _load_first_partitions(env, start)
                kept.write(UI_STATE / "kept.json")
            wait_until_ready(child, url, log)
            if said := refused(url):
                raise LocalError(f"Dagster could not load the project: {said}")
            page = url + start_page(groups(url))
            print(_greeting(page, s3.endpoint_url, left_out, start), flush=True)
            replace(kept, ui_port=chosen).write(UI_STATE / "kept.json")
            if open_browser and has_desktop(os.environ):
                webbrowser.open(page)
            code = child.wait()
    raise LocalError(f"Dagster ended with exit code {code}; its log is {log}.")


def _kept_port(port: int) -> int:
    """The API's port of the last time, while it is free; 0: any."""
    return port if port and is_free(port) else 0


def chosen_sources(asked: Mapping[str, str], settings: Mapping[str, str]) -> tuple[str, list[str]]:
    """What loads, and a clause on each source of `sources/` that does not.

    :param asked: the user's environment: HEADRACE_SOURCES there is taken as it is. Without it, the
        sources load whose settings are there, and those without settings.
    :param settings: what the local services set.
    """
    if named := asked.get("HEADRACE_SOURCES"):
        return named, []
    loads, left_out = list[str](), list[str]()
    there = {**asked, **settings}
    for file in sorted((ROOT / "sources").glob("*.y*ml")):
        found = _SETTING.findall(file.read_text("utf-8", "replace"))
        needed = {name for name, default in found if not default}
        known = {name for name, _ in found if there.get(name)}
        if needed <= known and (known or not found):
            loads.append(file.relative_to(ROOT).as_posix())
        else:
            wanted = sorted(needed - known) or sorted({name for name, _ in found})[:1]
            left_out.append(f"{file.stem} ({', '.join(wanted)})")
    return ":".join(loads) or DEMO_SOURCE, left_out


def _load_first_partitions(env: Mapping[str, str], start: date) -> bool:
    """So that there is something to see. A failure is said, and keeps the UI from nothing."""
    print("First start: two partitions of a few endpoints are materialized.", flush=True)
    try:
        run(materialize(SELECTION, start, start + DAY), env, UI_STATE / "first-load.log")
    except LocalError as error:
        print(f"The first partitions could not be materialized: {error}", flush=True)
        return False
    return True


def groups(url: str) -> list[str]:
    """The sources whose assets the UI has."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", _GROUPS.encode(), headers)  # noqa: S310 (ours)
    with _DIRECTLY.open(request, timeout=READY_S) as reply:
        nodes = json.load(reply)["data"]["assetNodes"]
    names = {node["groupName"] for node in nodes} - {"headrace", "default"}
    return sorted(names - {f"{name}_sweeps" for name in names})


def start_page(names: Sequence[str]) -> str:
    """The page to begin with: the assets of the source, or the groups of all."""
    if names == ["igdb"]:
        chosen = urllib.parse.quote(FIRST_SHOWN, safe="")
        return f"/locations/headrace/asset-groups/igdb/lineage~{chosen}/"
    if len(names) == 1:
        return f"/locations/headrace/asset-groups/{names[0]}/lineage"
    return "/asset-groups"


def has_desktop(env: Mapping[str, str]) -> bool:
    """Whether a browser can be opened where the user sees it."""
    if env.get("SSH_CONNECTION") or env.get("CI"):
        return False
    return sys.platform == "darwin" or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def _greeting(page: str, s3_url: str, left_out: Sequence[str], start: date) -> str:
    env, log = (UI_STATE / name for name in ("env", "dagster.log"))
    lines = [
        f"\nDagster's UI: {page}\n",
        f"  1. The card `games`, *View in Asset Catalog*, *Partitions*, {start + DAY}: rows, "
        "coverage and requests as pictures.",
        f"  2. A partition after {start + DAY}, *Materialize…*, *Launch 1 run*.",
        "  3. *Runs*, the newest one: what the run says while it reads.\n",
        f"In another terminal, `. {env.relative_to(ROOT)}` sets what `./headrace lake`, Dagster "
        f"and boto3 need to use the same (lake {LAKE} at {s3_url}). State is in "
        f"{UI_STATE.relative_to(ROOT)}, the log in {log.relative_to(ROOT)}.",
    ]
    if left_out:
        lines.append(
            f"Not shown, as their settings are not there: {', '.join(left_out)}. Export them, or "
            "name the files in HEADRACE_SOURCES, and start again."
        )
    return "\n".join([*lines, "Ctrl-C stops everything."])
