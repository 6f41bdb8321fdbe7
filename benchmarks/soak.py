"""Let the engine run for long, with faults mixed in and processes killed, and count the rows.

    python -m benchmarks.soak --minutes 30
    python -m benchmarks.soak --minutes 5 --faults 0.2 --seed 7
    python -m benchmarks.soak --minutes 10 --away 0.3 5 --apart 1 4

Two workers read the same three endpoints day after day, each into a lake of its own: ``steady``
lives as long as the soak, and its memory is looked at; ``killed`` gets a SIGKILL every few seconds,
and the next process goes on with the days that are not committed. What is committed is then held
against the rows that the API has. The exit status is 1 if a partition is short or has a row twice,
if nothing was committed, or if the memory of ``steady`` grew by more than a quarter.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.meter import memory_mb
from benchmarks.soak_api import FIRST_DAY, KINDS, PAGE, Away, SoakApi, rows_of, soak_api
from local.s3 import S3
from local.services import seaweedfs
from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.index import ManifestIndex
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source

ROOT: Final = Path(__file__).resolve().parent.parent
_GROWS_BY: Final = 1.25
_CHUNK: Final = 5
"""Days of one run."""
_LIVES_S: Final = (4.0, 25.0)
"""How long a worker lives that is killed."""
_YAML: Final = """
source: soak
base_url: {url}
start: {start}
safety_margin_s: 0
limits: {{windows: [{{requests: 1000, per_s: 1}}], in_flight: 8}}
retries: {{errors: 20, first_wait_s: 0.05, max_wait_s: 2, total_s: 100000}}
breaker: {{failures: 100}}
defaults:
  rows: rows
  key: [id]
  cursor: at
  columns: {{id: int64, at: "timestamp[iso]"}}
  batch_rows: 300
endpoints:
  keyset:
    request: {{params: {{since: "{{start}}", until: "{{end}}", after: "{{after}}"}}}}
    paging: {{kind: keyset, limit: {page}}}
  offset:
    request: {{params: {{since: "{{start}}", until: "{{end}}", offset: "{{offset}}"}}}}
    paging: {{kind: offset, limit: {page}, total: total}}
  token:
    request: {{params: {{since: "{{start}}", until: "{{end}}", after: "{{token}}"}}}}
    paging: {{kind: token, limit: {page}, next: next, numbered: false}}
"""


@dataclass
class Worker:
    """A process that reads days, and what it said.

    :ivar done: the last day that is committed in all endpoints.
    :ivar memory: seconds since the begin, and megabytes.
    """

    name: str
    folder: str
    url: str
    s3: S3
    done: int = -1
    kills: int = 0
    starts: int = 0
    resumed_pages: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    process: "subprocess.Popen[str] | None" = None

    @property
    def prefix(self) -> str:
        return f"s3://lake/{self.name}"

    def start(self) -> None:
        self.starts += 1
        said = Path(self.folder) / f"{self.name}-{self.starts}.jsonl"
        words = [self.name, self.url, self.folder, str(self.done + 1), str(said)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--worker", *words],
            cwd=ROOT,
            env={**os.environ, **self.s3.env()},
            stderr=(Path(self.folder) / f"{self.name}.log").open("a"),
            text=True,
        )

    def heard(self, began: float) -> None:
        """Read what the process has written so far; what a kill has cut is left out."""
        said = Path(self.folder) / f"{self.name}-{self.starts}.jsonl"
        lines = said.read_text().splitlines() if said.exists() else []
        pages = 0
        for line in lines:
            with suppress(ValueError):
                told = json.loads(line)
                self.done, pages = max(self.done, told["day"]), pages + told["resumed_pages"]
                at = (told["at"] - began, told["memory_mb"])
                if at not in self.memory:
                    self.memory.append(at)
        self.resumed_pages += pages if self.process is None else 0

    def end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


def source_of(url: str, folder: str) -> Source:
    file = Path(folder) / f"soak-{os.getpid()}.yaml"
    file.write_text(_YAML.format(url=url, start=FIRST_DAY, page=PAGE))
    return load_source(file, {})


def work(name: str, url: str, folder: str, first: int, said: str) -> None:
    """What a worker does: days from a number on, until it is ended."""
    source = source_of(url, folder)
    lake = Lake(_client(), f"s3://lake/{name}")
    limits = ratelimit.Limits((ratelimit.RateWindow(1000, 1.0),), 8, throttle_wait_s=0.2)

    def tell(number: int, outcome: RunOutcome) -> None:
        for failed in outcome.failed:
            print(f"{name}: {failed.error}", file=sys.stderr, flush=True)
        told = {
            "day": number - 1 if outcome.failed else number + _CHUNK - 1,
            "at": time.time(),
            "memory_mb": memory_mb("VmRSS"),
            "resumed_pages": sum(receipt.manifest.resumed_pages for receipt in outcome.results),
        }
        with Path(said).open("a") as file:
            file.write(json.dumps(told) + "\n")

    async def read() -> None:
        budget = ratelimit.open_budget("soak", limits, f"{folder}/budget-{name}")
        async with open_client(source, budget) as client:
            for number in count(first // _CHUNK * _CHUNK, _CHUNK):
                days = [
                    (FIRST_DAY + timedelta(n)).isoformat() for n in range(number, number + _CHUNK)
                ]
                run = RunContext(source, lake, client, f"soak-{number}", lambda: datetime.now(UTC))
                outcome = RunOutcome()
                await run_source(run, list(KINDS), days, outcome)
                await asyncio.to_thread(tell, number, outcome)

    asyncio.run(read())


def _client() -> Any:
    """By boto3's own variables, which the parent has set."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return S3(*(os.environ[name] for name in names)).client()


def soak(minutes: float, share: float, seed: int, away: Away) -> int:
    """Run it, print what came of it; the exit status."""
    rng, began = random.Random(seed), time.time()
    with (
        tempfile.TemporaryDirectory(prefix="headrace-soak-") as folder,
        seaweedfs(Path(folder), buckets=["lake"]) as s3,
        soak_api(share, seed, away) as (api, url),
    ):
        steady, killed = (Worker(name, folder, url, s3) for name in ("steady", "killed"))
        steady.start()
        try:
            while (left_s := began + 60 * minutes - time.time()) > 0:
                killed.start()
                time.sleep(min(left_s, rng.uniform(*_LIVES_S)))
                killed.end(signal.SIGKILL)
                killed.kills += 1
                for worker in (steady, killed):
                    worker.heard(began)
                print(line_of(began, steady, killed, api), flush=True)
        finally:
            for worker in (steady, killed):
                worker.end(signal.SIGKILL)
                worker.heard(began)
        short = [*wrong_days(steady), *wrong_days(killed)]
        return verdict(steady, killed, api, short)


def line_of(began: float, steady: Worker, killed: Worker, api: SoakApi) -> str:
    memory = f"{steady.memory[-1][1]:.0f} MB" if steady.memory else "–"
    return (
        f"{(time.time() - began) / 60:5.1f} min  days: steady {steady.done + 1}, killed "
        f"{killed.done + 1}  kills: {killed.kills}  memory: {memory}  requests: {api.requests:,}  "
        f"faults: {sum(api.faults.values()):,}"
    )


def wrong_days(worker: Worker) -> list[str]:
    """The partitions that are not what the API has: short, with rows twice, or not there."""
    lake = Lake(worker.s3.client(), worker.prefix)
    index = ManifestIndex(lake)
    found = []
    for kind in KINDS:
        for number in range(worker.done + 1):
            day = FIRST_DAY + timedelta(number)
            manifest = index.fresh("soak", kind, day.isoformat())
            files = manifest.files if manifest else ()
            keys = key_rows(lake, files, ["id"])["id"].to_pylist() if files else []
            missing, more = {*rows_of(day)} - {*keys}, len(keys) - len({*keys})
            if missing or more or {*keys} - {*rows_of(day)}:
                place = rows_of(day).index(min(missing)) if missing else 0
                proof = manifest.proof if manifest else None
                found.append(
                    f"{worker.name} {kind} {day}: {len(missing):,} of {len(rows_of(day)):,} "
                    f"missing, the first at {place:,}; {more:,} twice; {proof}"
                )
    return found


def verdict(steady: Worker, killed: Worker, api: SoakApi, wrong: list[str]) -> int:
    """Print it; the exit status."""
    sizes = [size for _, size in steady.memory]
    third = max(1, len(sizes) // 3)
    first, last = (median(part) if part else 0.0 for part in (sizes[:third], sizes[-third:]))
    flat = not sizes or last <= first * _GROWS_BY
    faults = ", ".join(f"{number:,} × {name}" for name, number in api.faults.most_common())
    days = steady.done + killed.done + 2
    print(f"requests: {api.requests:,}; faults: {faults}; kills: {killed.kills}")
    print(f"pages that were resumed and not read again: {killed.resumed_pages:,}")
    print(f"memory of `steady`: {first:.0f} MB in the first third, {last:.0f} MB in the last")
    print(f"partitions: {days * len(KINDS):,}; wrong: {len(wrong)}")
    for sentence in wrong[:20]:
        print(f"  {sentence}")
    if not flat:
        print(f"memory grew by {last / first - 1:.0%}, expected at most {_GROWS_BY - 1:.0%}")
    return int(bool(wrong) or not flat or days == 0)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        name, url, folder, first, said = sys.argv[2:]
        return work(name, url, folder, int(first), said)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--faults", type=float, default=0.1, help="share of the requests with a fault"
    )
    parser.add_argument("--seed", type=int, default=1)
    for name, default, told in (
        ("--away", Away.lasts_s, "how long all pages are empty now and then, seconds"),
        ("--apart", Away.apart_s, "how long after that they are so again, seconds"),
    ):
        parser.add_argument(
            name, type=float, nargs=2, default=default, metavar=("LEAST", "MOST"), help=told
        )
    given = parser.parse_args()
    away = Away(tuple(given.away), tuple(given.apart))
    sys.exit(soak(given.minutes, given.faults, given.seed, away))


if __name__ == "__main__":
    main()
