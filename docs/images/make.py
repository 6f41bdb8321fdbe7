"""`python docs/images/make.py`: take the README's pictures of Dagster's UI, in headless Chromium.

Materializes four days of a few endpoints from the local API into a local S3, serves the UI over
them, and writes `asset-graph.png` and `materialization.png` beside this file. Units: seconds.
"""

import base64
import json
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from emulator.testing import running as emulator_running  # noqa: E402 (needs the path above)
from local.dagster_cli import dagster, materialize, run  # noqa: E402
from local.instance import create_storage  # noqa: E402
from local.ports import LOOPBACK, free_port  # noqa: E402
from local.process import LocalError, running  # noqa: E402
from local.s3 import child_env  # noqa: E402
from local.services import seaweedfs  # noqa: E402
from local.settings import BUCKET, dagster_env  # noqa: E402
from local.ui import wait_until_ready  # noqa: E402

IMAGES = Path(__file__).resolve().parent
ENDPOINTS = ("games", "companies", "covers", "genres")
DAYS = 4
READY_S = 60.0
SETTLE_S = 3.0
GRACE_S = 15.0
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--no-proxy-server", "--remote-debugging-port=0", "about:blank",
]  # fmt: skip


class Browser:
    """One page of a browser, driven by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=READY_S))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def evaluate(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found.get("result", {}).get("value")

    def open(self, url: str, text: str, width: int, height: int) -> None:
        """Go there, and wait until the text shows and the page has settled."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + READY_S
        while not self.evaluate(f"document.body.innerText.includes({json.dumps(text)})"):
            if time.monotonic() > deadline:
                raise LocalError(f"{url} does not show {text!r} within {READY_S:.0f} s.")
            time.sleep(0.2)
        time.sleep(SETTLE_S)

    def picture(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A new Chromium with an empty profile."""
    if shutil.which("chromium") is None:
        raise LocalError("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM[0], f"--user-data-dir={profile}", *CHROMIUM[1:]]
        log, told = Path(profile) / "chromium.log", Path(profile) / "DevToolsActivePort"
        with running(command, env=child_env(), log=log, grace_s=5.0):
            deadline = time.monotonic() + READY_S
            while not (told.exists() and told.read_text().count("\n")):
                if time.monotonic() > deadline:
                    raise LocalError("Chromium did not start.")
                time.sleep(0.1)
            port = told.read_text().splitlines()[0]
            pages = httpx.get(f"http://{LOOPBACK}:{port}/json/list", trust_env=False).json()
            where = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(where, max_size=None, proxy=None) as socket:
                yield Browser(socket)


@contextmanager
def served() -> Iterator[tuple[str, date]]:
    """The UI over four materialized days; where it is, and the first of the days."""
    today = datetime.now(UTC).date()
    start, yesterday = today - timedelta(days=DAYS), today - timedelta(days=1)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as name,
        seaweedfs(Path(name) / "s3", buckets=[BUCKET]) as s3,
        emulator_running(games=20_000, until=today.isoformat()) as api,
    ):
        folder = Path(name)
        create_storage(folder / "home")
        env = dagster_env(s3, api.env(), folder / "home", start)
        run(materialize(CHOSEN, start, yesterday), env, folder / "run.log")
        port = free_port()
        command = dagster("dev", "-w", "workspace.yaml", "-h", LOOPBACK, "-p", str(port))
        url, log = f"http://{LOOPBACK}:{port}", folder / "dagster.log"
        with running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S) as child:
            wait_until_ready(child, url, log)
            # A fresh UI covers its first page with a greeting.
            query = {"query": "mutation { setNuxSeen }"}
            httpx.post(f"{url}/graphql", json=query, trust_env=False, timeout=30).raise_for_status()
            yield url, start


def take(page: Browser, url: str, day: date) -> None:
    """Both pictures."""
    shown = urllib.parse.quote(CHOSEN, safe="")
    graph = f"{url}/locations/headrace/asset-groups/igdb/lineage~{shown}/"
    page.open(graph, "% filled", 1400, 1040)
    page.picture(IMAGES / "asset-graph.png")
    view = urllib.parse.urlencode({"view": "partitions", "partition": day})
    page.open(f"{url}/assets/igdb/games?{view}", "watermark", 1400, 1420)
    page.picture(IMAGES / "materialization.png")


def main() -> None:
    with served() as (url, day), browser() as page:
        take(page, url, day)


CHOSEN = " or ".join(f'key:"igdb/{name}"' for name in ENDPOINTS)

if __name__ == "__main__":
    main()
