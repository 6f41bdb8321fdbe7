"""Four runs of Dagster at once, of four days, against IGDB's limits: is the quota kept, and used?

A page a request, so that the quota is what they wait for.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from emulator.data import ids_of
from emulator.testing import Emulator, running
from local.instance import create_storage
from local.s3 import S3, child_env

ROOT = Path(__file__).resolve().parent.parent
RUNS, RATE, TIMEOUT_S = 4, 4, 600


def runs(s3: S3, rows: int) -> dict[str, Any]:
    """What the server counted while they ran.

    :param rows: of each day.
    """
    days = [datetime.now(UTC).date() - timedelta(days=back) for back in range(RUNS, 0, -1)]
    ids = ids_of(RUNS * rows)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as home,
        running(games=len(ids), rate=RATE, in_flight=8, latency_s=0.25, warm=["games"]) as emulator,
    ):
        for number, day in enumerate(days):
            changed = ids[number * rows : (number + 1) * rows]
            emulator.touch("games", ids=changed, updated_at=f"{day}T12:00:00+00:00")
        environment = _environment(s3, emulator, Path(home), days[0] - timedelta(days=1))
        emulator.reset()
        _all_at_once([str(day) for day in days], environment)
        counted = emulator.stats()
    lasted_s = counted["last_monotonic_s"] - counted["first_monotonic_s"]
    accepted = counted["requests"] - counted["throttled"]
    found = {
        "rows": rows,
        "requests": counted["requests"],
        "throttled": counted["throttled"],
        "most_in_1s": counted["max_in_1s"],
        "most_in_flight": counted["max_open"],
        "between_first_and_last_s": round(lasted_s, 1),
        "share_of_limit": round((accepted - 1) / (RATE * lasted_s), 4),
    }
    print(f"    {found}", flush=True)
    return found


def _environment(s3: S3, emulator: Emulator, home: Path, start: Any) -> dict[str, str]:
    create_storage(home)
    spec = yaml.safe_load((ROOT / "sources" / "igdb.yaml").read_text())
    spec["defaults"]["request"]["pack"] = 1
    (home / "sources").mkdir()
    (home / "sources" / "igdb.yaml").write_text(yaml.safe_dump(spec))
    return child_env(
        s3.env(),
        emulator.env(),
        {
            "DAGSTER_HOME": str(home),
            "HEADRACE_LAKE": "s3://lake/runs",
            "HEADRACE_BUDGET": str(home / "budget"),
            "HEADRACE_SOURCES": str(home / "sources"),
            "IGDB_START": str(start),
            "PYTHONWARNINGS": "ignore",
        },
    )


def _all_at_once(days: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", "definitions.py"]
    started = [
        subprocess.Popen(
            [*command, "--select", "igdb/games", "--partition", day],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for day in days
    ]
    try:
        for day, process in zip(days, started, strict=True):
            said = process.communicate(timeout=TIMEOUT_S)[1]
            if process.returncode:
                raise RuntimeError(f"the run of {day} failed: {said[-1500:]}")
    finally:
        for process in started:
            process.kill()
            process.wait()
