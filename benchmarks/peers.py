"""Who takes part: Headrace, the reference algorithm, and others in environments of their own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job, write_job
from local.s3 import child_env

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".local" / "bench"
INSTALL_S = 900
CASE_S = 1_800


@dataclass(frozen=True)
class Peer:
    """One program that does the work.

    :ivar packages: what its own environment holds; none = it runs in this one.
    :ivar versions: the packages whose versions are told.
    :ivar day_module: what does a day of all endpoints, for the scenario ``day``.
    """

    name: str
    title: str
    module: str
    packages: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    packed: bool = False
    day_module: str = "day_peer"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("headrace", "Headrace", "headrace_peer", versions=("httpx", "pyarrow"), packed=True),
        Peer("headrace-single", "Headrace, a page a request", "headrace_peer"),
        Peer("reference", "reference algorithm", "reference", versions=("aiolimiter",)),
        Peer(
            "dlt",
            "dlt rest_api",
            "dlt_peer",
            packages=("dlt[filesystem,parquet]", "s3fs"),
            versions=("dlt", "pyarrow"),
            day_module="dlt_day",
        ),
        Peer(
            "airbyte",
            "Airbyte CDK, and pyarrow",
            "airbyte_peer",
            packages=("airbyte-cdk", "pyarrow", "boto3"),
            versions=("airbyte-cdk", "pyarrow"),
            day_module="airbyte_day",
        ),
    )
}


class Skipped(Exception):
    """A peer that can't take part, and why."""


def python_of(peer: Peer) -> str:
    """The interpreter that runs a peer. :raises Skipped: its packages can't be installed."""
    if not peer.packages:
        return sys.executable
    folder = HOME / peer.name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"    installing {', '.join(peer.packages)} into {folder.relative_to(ROOT)} …")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", *peer.packages],
                check=True,
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines() or ["?"]
            raise Skipped(f"{peer.name} can't be installed: {said[-1][:200]}") from None
        done.touch()
    return str(python)


def versions_of(peer: Peer) -> dict[str, str]:
    """The versions of what matters in a peer's environment."""
    if not peer.versions:
        return {}
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    command = [python_of(peer), "-c", code, *peer.versions]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(peer.versions, found, strict=True))


def run_case(peer: Peer, job: Job, more_env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A peer's figures for a job, in a process of its own; ``failed`` says why there are none."""
    environment = child_env(more_env or {}, {"PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"})
    try:
        ended = subprocess.run(
            [python_of(peer), "-m", f"benchmarks.{peer.module}"],
            input=write_job(job),
            env=environment,
            cwd=job.folder,
            capture_output=True,
            text=True,
            timeout=CASE_S,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {CASE_S} s"}
    lines = ended.stdout.strip().splitlines()
    if ended.returncode == 0 and lines:
        with contextlib.suppress(ValueError):
            return dict(json.loads(lines[-1]))
    if os.environ.get("BENCH_DEBUG"):
        print(ended.stderr[-6000:], file=sys.stderr)
    said = [line for line in ended.stderr.splitlines() if line.strip()] or ["no output"]
    return {"failed": said[-1][:300]}
