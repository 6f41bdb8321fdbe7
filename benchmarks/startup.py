"""What a run of one small partition costs over Dagster's own start: an asset that does nothing.

With bytecode of all modules, as after `make setup`: the least of some runs has it anyway, unless
PYTHONDONTWRITEBYTECODE keeps it from being written.
"""

import compileall
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.meter import cpu_s
from emulator.testing import running
from local.instance import create_storage
from local.s3 import S3, child_env

ROOT = Path(__file__).resolve().parent.parent
OURS = ("assets", "resources", "pipeline", "benchmarks")
MODULES = (
    "dagster",
    "dagster, boto3",
    "dagster, dagster_aws.s3",
    "dagster, pipeline.run.runner",
    "definitions",
)


def startup(s3: S3, runs: int) -> dict[str, Any]:
    """Wall and CPU seconds of a command, the least of some runs: an empty asset, a partition."""
    compileall.compile_file(str(ROOT / "definitions.py"), quiet=1)
    for folder in OURS:
        compileall.compile_dir(str(ROOT / folder), quiet=1)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as home,
        running(games=200, rate=0, in_flight=0) as emulator,
    ):
        create_storage(Path(home))
        # The baseline is today: every time the same few rows, and committed again.
        today = datetime.now(UTC).date()
        environment = child_env(
            s3.env(),
            emulator.env(),
            {
                "DAGSTER_HOME": home,
                "HEADRACE_LAKE": "s3://lake/startup",
                "HEADRACE_BUDGET": f"{home}/budget",
                "HEADRACE_SOURCES": str(ROOT / "sources"),
                "IGDB_START": (today - timedelta(days=1)).isoformat(),
                "PYTHONWARNINGS": "ignore",
            },
        )
        partition = ["--partition", (today - timedelta(days=1)).isoformat()]
        empty = _asset("benchmarks/empty_asset.py", "empty", [])
        ours = _asset("definitions.py", "igdb/genres", partition)
        timed: dict[str, list[tuple[float, float]]] = {"empty": [], "partition": []}
        for _ in range(runs):
            timed["empty"].append(_timed(empty, environment))
            timed["partition"].append(_timed(ours, environment))
        imports = {names: _imports(names, environment, runs) for names in MODULES}
    found: dict[str, Any] = {
        f"{name}_{unit}_s": round(min(run[index] for run in seen), 2)
        for name, seen in timed.items()
        for index, unit in enumerate(("wall", "cpu"))
    }
    found["overhead_wall_s"] = round(found["partition_wall_s"] - found["empty_wall_s"], 2)
    found["overhead_cpu_s"] = round(found["partition_cpu_s"] - found["empty_cpu_s"], 2)
    found["import_cpu_s"] = imports
    print(f"    {found}", flush=True)
    return found


def _asset(file: str, selection: str, more: list[str]) -> list[str]:
    command = ["-m", "dagster", "asset", "materialize", "-f", file, "--select", selection, *more]
    return [sys.executable, *command]


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before_cpu_s, before = cpu_s(), time.monotonic()
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed: {ended.stderr[-1500:]}")
    return time.monotonic() - before, cpu_s() - before_cpu_s


def _imports(names: str, environment: dict[str, str], runs: int) -> float:
    """CPU seconds of a Python that imports and ends."""
    used = [_timed([sys.executable, "-c", f"import {names}"], environment)[1] for _ in range(runs)]
    return round(min(used), 2)
