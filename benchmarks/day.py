"""A day in the life: all endpoints of IGDB, incremental, with faults, and one kill on the way.

The day before is in the lake. At 4 requests a second, two requests in a hundred fail. Each peer is
killed (SIGKILL) when the server has seen so many of its requests, and started again at once; its
time counts from its first start to its last end, Python's start included. *Exact*: every row whose
``updated_at`` lies in the day is on S3, by its key, and no key twice in an endpoint.

dlt and Airbyte's CDK go on from the state that they keep by themselves (``dlt_day``,
``airbyte_day``); the reference is told what the day is.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.dataset as ds
from pyarrow.fs import FileSelector, S3FileSystem

from benchmarks.counts import s3_values
from benchmarks.headrace_peer import source_of
from benchmarks.job import Job, write_job
from benchmarks.peers import PEERS, ROOT, Skipped, python_of
from emulator.testing import Emulator, running
from local.s3 import S3, child_env

BUCKET = "lake"
RATE, MARGIN_S = 4, 3600
KILLED_AT = {"headrace": 5, "headrace-single": 30, "reference": 30, "dlt": 30, "airbyte": 30}
"""The peers, and after how many requests each is killed: packed, a day takes some fifteen."""
_MOST_S = 600.0
_NEW_ROWS = 20
"""Of each endpoint, at the first instant of the day."""
_FAULTS = [
    {"kind": kind, "probability": 0.02 / 3, "seed": seed, "path": "/v4/"}
    for seed, kind in enumerate(("status", "cut_body", "drop"))
]


def day(
    s3: S3,
    games: int,
    peers: Sequence[str],
    *,
    endpoints: int | None = None,
    killed_at: Mapping[str, int] = KILLED_AT,
) -> dict[str, Any]:
    """The figures of each peer that takes part.

    :param endpoints: only so many of them; None = all that have a cursor.
    :param killed_at: the peers, and after how many requests each is killed.
    """
    figures: dict[str, Any] = {}
    for name in (each for each in killed_at if each in peers):
        # An API of its own: each day adds rows to it.
        with running(games=games, rate=0, in_flight=0, latency_s=0.25) as emulator:
            try:
                figures[name] = _live(s3, emulator, name, endpoints, killed_at[name])
            except (Skipped, RuntimeError) as error:
                figures[name] = {"failed": str(error)}
        print(f"    {name}: {figures[name]}", flush=True)
    return {"games": games, "peers": figures}


def _live(
    s3: S3, emulator: Emulator, name: str, endpoints: int | None, requests: int
) -> dict[str, Any]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = (today - timedelta(days=1)).date().isoformat()
    start = int(today.timestamp()) - MARGIN_S
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        job = Job(
            origin=emulator.origin, rows=0, page=500, rate=RATE, in_flight=8, top_id=0,
            s3=s3_values(s3), bucket=BUCKET, prefix=f"day/{name}-{time.time_ns()}", folder=folder,
            packed=name == "headrace",
            options={
                "client_id": emulator.client_id, "client_secret": emulator.client_secret,
                "margin_s": MARGIN_S, "peer": name, "first": first, "day": first, "endpoints": [],
                "start": start, "end": int(time.time()), "until": int(today.timestamp()),
            },
        )  # fmt: skip
        source = source_of(job, first)
        names = [each for each in source.endpoints if source.incremental(each)]
        job.options["endpoints"] = names[:endpoints]
        for each in job.options["endpoints"]:  # else a day shortly after midnight has no rows
            emulator.upsert(each, count=_NEW_ROWS, updated_at=int(today.timestamp()))
        emulator.clear_faults()
        if name != "reference":  # it keeps nothing of the day before
            emulator.config(rate=0, in_flight=0)
            _wait_for(_start(replace(job, rate=0), s3))
        job.options.update(day=today.date().isoformat(), until=job.options["end"])
        emulator.config(rate=RATE, in_flight=8)
        emulator.faults(*_FAULTS)
        emulator.reset()
        began = time.monotonic()
        killed = _kill_at(_start(job, s3), emulator, requests)
        _wait_for(_start(job, s3))
        wall_s = time.monotonic() - began
        counted = emulator.stats()
        emulator.clear_faults()
        return {
            "wall_s": round(wall_s, 1),
            "endpoints": len(job.options["endpoints"]),
            "requests": counted["requests"],
            "throttled": counted["throttled"],
            "killed": killed,
            **_compare(s3, emulator, job, start),
        }


def _start(job: Job, s3: S3) -> "subprocess.Popen[str]":
    environment = child_env(s3.env(), {"PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"})
    peer = PEERS[job.options["peer"]]
    process = subprocess.Popen(
        [python_of(peer), "-m", f"benchmarks.{peer.day_module}"],
        cwd=job.folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(write_job(job))
    process.stdin.close()
    process.stdin = None
    return process


def _kill_at(process: "subprocess.Popen[str]", emulator: Emulator, requests: int) -> bool:
    """Kill the process once the server has seen so many requests; False: it had ended before."""
    until = time.monotonic() + _MOST_S
    while process.poll() is None and time.monotonic() < until:
        if emulator.stats()["requests"] >= requests:
            process.kill()
            process.communicate()
            return True
        time.sleep(0.02)
    process.kill()
    process.communicate()
    return False


def _wait_for(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """:raises RuntimeError: it failed, or takes too long."""
    try:
        out, err = process.communicate(timeout=_MOST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"a day was not done after {_MOST_S:.0f} s") from None
    if process.returncode:
        raise RuntimeError(f"a day failed: {err.strip().splitlines()[-1:]}")
    return dict(json.loads(out.strip().splitlines()[-1]))


def _compare(s3: S3, emulator: Emulator, job: Job, start: int) -> dict[str, Any]:
    """How many rows are on S3, are missing, and are there twice, of the rows of the day."""
    files = S3FileSystem(
        access_key=s3.access_key, secret_key=s3.secret_key, region=s3.region,
        endpoint_override=s3.endpoint_url,
    )  # fmt: skip
    selector = FileSelector(f"{BUCKET}/{job.prefix}", recursive=True, allow_not_found=True)
    paths = [info.path for info in files.get_file_info(selector) if _is_of_day(info.path, job)]
    end, rows, missing, doubled = job.options["end"], 0, 0, 0
    for endpoint in job.options["endpoints"]:
        where = f"updated_at >= {start} & updated_at < {end}"
        expected = {row["id"] for row in emulator.rows(endpoint, where)}
        own = [path for path in paths if f"/{endpoint}/" in path]
        ids = _ids(own, files)
        rows += len(ids)
        missing += len(expected - set(ids))
        doubled += len(ids) - len(set(ids))
    return {
        "rows": rows, "missing": missing, "doubled": doubled, "exact": not (missing or doubled),
    }  # fmt: skip


def _is_of_day(path: str, job: Job) -> bool:
    is_ours = job.options["peer"].startswith("headrace")
    return path.endswith(".parquet") and (f"/dt={job.options['day']}/" in path or not is_ours)


def _ids(paths: Sequence[str], files: S3FileSystem) -> list[int]:
    if not paths:
        return []
    table = ds.dataset(list(paths), filesystem=files, format="parquet").to_table(columns=["id"])
    return [int(each) for each in table["id"].to_pylist()]


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    peers = figures["peers"]
    number = max((each.get("endpoints", 0) for each in peers.values()), default=0)
    lines = [
        f"**A day in the life**: {number} endpoints, incremental, 4 requests a second, 250 ms, 2 % "
        "of requests fail, killed once",
        "",
        "| | wall s | requests | 429s | exact |",
        "|---|---|---|---|---|",
    ]
    for name, each in peers.items():
        title = PEERS[name].title
        if "failed" in each:
            lines.append(f"| {title} | {each['failed']} | | | |")
            continue
        exact = "yes" if each["exact"] else f"{each['missing']} missing, {each['doubled']} doubled"
        lines.append(
            f"| {title} | {each['wall_s']} | {each['requests']} | {each['throttled']} | {exact} |"
        )
    return "\n".join(lines)
