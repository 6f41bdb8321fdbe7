"""`python docs/images/make.py`: take the README's pictures of Dagster's UI, in headless Chromium.

Materializes four days of a few endpoints from the local API into a local S3, and the example that
is downstream of them, serves the UI over them, and writes `asset-graph.png` and
`materialization.png` beside this file. Units: seconds.
"""

import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from emulator.testing import running as emulator_running  # noqa: E402 (needs the path above)
from local.browser import Browser, browser  # noqa: E402
from local.dagster_cli import dagster, materialize, run  # noqa: E402
from local.instance import create_storage  # noqa: E402
from local.ports import LOOPBACK, free_port  # noqa: E402
from local.process import running  # noqa: E402
from local.services import seaweedfs  # noqa: E402
from local.settings import BUCKET, dagster_env  # noqa: E402
from local.ui import wait_until_ready  # noqa: E402

IMAGES = Path(__file__).resolve().parent
PROJECT = "examples/downstream.py"
ENDPOINTS = ("games", "companies", "covers", "genres")
WORKSPACE = f"""
load_from:
  - python_file:
      relative_path: {ROOT / PROJECT}
      working_directory: {ROOT}
      location_name: headrace
"""
DAYS = 4
GRACE_S = 15.0


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
        run(
            materialize(f"{CHOSEN} or {DOWNSTREAM}", start, yesterday, PROJECT),
            env,
            folder / "run.log",
        )
        port, workspace = free_port(), folder / "workspace.yaml"
        workspace.write_text(WORKSPACE)
        command = dagster("dev", "-w", str(workspace), "-h", LOOPBACK, "-p", str(port))
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
    last = day + timedelta(days=DAYS - 1)  # it has the pictures of all partitions
    view = urllib.parse.urlencode({"view": "partitions", "partition": last})
    page.open(f"{url}/assets/igdb/games?{view}", "requests_over_time", 1400, 1240)
    page.picture(IMAGES / "materialization.png")


def main() -> None:
    with served() as (url, day), browser() as page:
        take(page, url, day)


CHOSEN = " or ".join(f'key:"igdb/{name}"' for name in ENDPOINTS)
DOWNSTREAM = 'key:"reports/best_games"'

if __name__ == "__main__":
    main()
