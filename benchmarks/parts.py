"""Where the CPU of a run goes: a scenario of ``race``, by part.

    python -m benchmarks.parts [--scenario hundred] [--rows 344000] [--packed]

Threads that share cores slow each other down, so a part costs more here than it does alone: compare
the lines with each other.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.race import SCENARIOS, Api, Scenario, api_of, case_of
from emulator.data import ids_of
from local.s3 import S3
from local.services import seaweedfs


def parts(s3: S3, api: Api, scenario: Scenario, rows: int, *, packed: bool) -> dict[str, Any]:
    """The figures of one run, ``parts`` among them: name → CPU seconds."""
    peer = replace(PEERS["headrace"], module="parts_peer", packed=packed)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        return case_of(scenario, api, s3, ids_of(rows), peer, folder, {})


def table(figures: dict[str, Any]) -> str:
    whole = sum(figures["parts"].values())
    lines = ["| part | CPU s | share | ms a request |", "|---|---|---|---|"]
    for name, cpu_s in sorted([*figures["parts"].items(), ("all", whole)], key=lambda p: -p[1]):
        ms = 1000 * cpu_s / figures["requests"]
        lines.append(f"| {name} | {cpu_s:.2f} | {cpu_s / whole:.0%} | {ms:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="fast")
    parser.add_argument("--rows", type=int, help="default: as many as the scenario has")
    parser.add_argument("--packed", action="store_true", help="ten pages a request")
    args = parser.parse_args()
    scenario = SCENARIOS[args.scenario]
    rows = args.rows or scenario.rows
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        seaweedfs(Path(folder), buckets=["lake"]) as s3,
        api_of(scenario, rows) as api,
    ):
        figures = parts(s3, api, scenario, rows, packed=args.packed)
    if "parts" not in figures:
        raise SystemExit(str(figures))
    print(table(figures))


if __name__ == "__main__":
    main()
