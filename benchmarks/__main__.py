"""Measure the pipeline on this machine, beside others that do the same work.

    make bench                                      everything; some twenty minutes
    make bench ARGS="--short --save"                what decides, a quarter of an hour
    make bench ARGS="--quick"                       small sizes: whether it runs, not how fast
    make bench ARGS="--only fast counts --peers headrace reference"
    make bench ARGS="--save"                        write benchmarks/results and the table in README

Scenarios: ``fast``, ``igdb``, ``hundred``, ``faults`` (see race), ``memory``, ``counts``,
``runs``, ``budget``, ``startup``, ``year``, ``day``. Where CPU goes has a program of its own:
``benchmarks.parts``.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.budget import budget
from benchmarks.counts import counts
from benchmarks.day import day
from benchmarks.machine import machine
from benchmarks.peers import PEERS, Skipped, versions_of
from benchmarks.race import SCENARIOS, Scenario, race
from benchmarks.report import table, write_readme
from benchmarks.runs import runs
from benchmarks.startup import startup
from benchmarks.year import year
from local.s3 import S3
from local.services import seaweedfs

HERE = Path(__file__).resolve().parent
OTHERS = ("memory", "counts", "runs", "budget", "startup", "year", "day")
SHORT = ("fast", "hundred", "counts", "startup", "year", "day")
"""Scenarios that show what a page, a request, a day and a year cost; of the peers those that are
close. The others take the other ten minutes."""
SHORT_PEERS = ("headrace", "headrace-single", "reference")
MEMORY_ROWS = (30_000, 60_000, 300_000, 600_000)
"""Of 30,000, ten pages a request, six answers are all: fewer than are on their way later."""
MEMORY_PARTS = {
    "as fast as it goes": (0, ("headrace", "headrace-single")),
    "4 requests a second": (4, ("headrace",)),
}
"""The limit, and who runs against it."""


def main() -> None:
    args = arguments()
    if args.short:
        args.only, args.peers = list(SHORT), list(SHORT_PEERS)
    found: dict[str, Any] = {"machine": machine(), "quick": args.quick}
    # Others are installed only for a race.
    racing = args.peers if {*SCENARIOS, "day"} & set(args.only) else ["headrace"]
    found["versions"] = versions(racing)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        seaweedfs(Path(folder), buckets=["lake"]) as s3,
    ):
        for name in args.only:
            print(f"{name}", flush=True)
            found[name] = measured(name, s3, args)
            if args.save:
                save(found)
    print(table(found))
    if args.save:
        write_readme()


def arguments() -> argparse.Namespace:
    names = [*SCENARIOS, *OTHERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SCENARIO")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rows", type=int, help="of every scenario; else each has its own number")
    parser.add_argument("--short", action="store_true", help="what decides")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--save", action="store_true", help="keep the figures, and show them")
    return parser.parse_args()


def versions(peers: list[str]) -> dict[str, dict[str, str]]:
    found = {}
    for name in peers:
        try:
            found[name] = versions_of(PEERS[name])
        except Skipped as skipped:
            print(f"skipped: {skipped}")
    return {name: known for name, known in found.items() if known}


def measured(name: str, s3: S3, args: argparse.Namespace) -> dict[str, Any]:
    """One scenario's figures."""
    others: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: memory(s3, args),
        "counts": lambda: counts(
            s3, args.rows or (20_000 if args.quick else 344_000), 500 if args.quick else 20_000
        ),
        "runs": lambda: runs(s3, 1_000 if args.quick else 15_000),
        "budget": lambda: budget(quick=args.quick),
        "startup": lambda: startup(s3, 1 if args.quick else 3),
        "year": lambda: year(s3, *(24, 3) if args.quick else (365, 70)),
        "day": lambda: day(
            s3, 200 if args.quick else 4_000, args.peers, endpoints=5 if args.quick else None
        ),
    }
    if name in others:
        return others[name]()
    scenario = replace(SCENARIOS[name], rounds=1) if args.quick else SCENARIOS[name]
    rows = args.rows or (scenario.quick_rows if args.quick else scenario.rows)
    return race(scenario, s3, rows, args.peers)


def memory(s3: S3, args: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of Headrace's process by rows: of some runs each, as they vary.

    As fast as it goes; and with packs at IGDB's 4 requests a second, as a run of IGDB has it.
    """
    found: dict[str, Any] = {}
    for rows in (2_000, 10_000) if args.quick else MEMORY_ROWS:
        found[str(rows)] = {}
        for part, (rate, ours) in MEMORY_PARTS.items():
            rounds = 1 if args.quick else 4
            title = f"peak memory, {part}"
            scenario = Scenario(
                "memory", title, 0, 0, ours, rate=rate, rounds=rounds, watched=False
            )
            found[str(rows)][part] = race(scenario, s3, rows, ours)["peers"]
    return found


def save(found: dict[str, Any]) -> None:
    """A file a scenario, each with the machine."""
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    about = {name: found[name] for name in ("machine", "versions", "quick")}
    for name in found.keys() - about.keys():
        text = json.dumps({**about, name: found[name]}, indent=1, sort_keys=False)
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
