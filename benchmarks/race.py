"""The same work done by each peer against the same server, one after the other."""

import json
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.exact import compare
from benchmarks.job import CLIENT_ID, CLIENT_SECRET, Job
from benchmarks.peers import PEERS, Peer, Skipped, python_of, run_case
from benchmarks.server import static_server
from emulator.data import ids_of
from emulator.testing import running
from local.s3 import S3

BUCKET = "lake"


@dataclass(frozen=True)
class Scenario:
    """One API and an amount of work.

    :ivar emulator: IGDB's own limits, strictly; else the bench's cheap server.
    :ivar ranges: by how many ranges of keys dlt reads side by side.
    :ivar rounds: how often the peers of ``IN_TURN`` do the work; figures are of the run with the
        middle CPU time.
    :ivar watched: whether one more run tells for how long the loop stood.
    """

    name: str
    title: str
    rows: int
    quick_rows: int
    peers: tuple[str, ...]
    page: int = 500
    rate: int = 0
    in_flight: int = 8
    latency_s: float = 0.0
    faults: float = 0.0
    emulator: bool = False
    ranges: int = 1
    rounds: int = 1
    watched: bool = True


IN_TURN = ("headrace", "headrace-single", "reference")
"""A machine's speed varies from minute to minute: those that are close take turns."""
WATCHED = "headrace-single"
"""Its loop is watched in a run of its own, as the watching takes one CPU second in a hundred."""
ALL = ("headrace", "headrace-single", "reference", "dlt", "airbyte")
ONE_BY_ONE = ("headrace-single", "reference", "dlt", "airbyte")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("fast", "no limits, no latency, 500 rows a page", 344_000, 20_000, ALL, rounds=3),
        Scenario(
            "igdb",
            "IGDB's limits (4 a second, 8 in flight), 250 ms latency, the emulator",
            30_000,
            5_000,
            ALL,
            rate=4,
            latency_s=0.25,
            emulator=True,
            ranges=4,
        ),
        Scenario(
            "hundred",
            "100 requests a second, 50 ms latency, 50 rows a page",
            60_000,
            10_000,
            ONE_BY_ONE,
            page=50,
            rate=100,
            in_flight=16,
            latency_s=0.05,
            ranges=8,
        ),
        Scenario(
            "faults",
            "2 % of requests fail (500, cut body, lost connection), 20 ms latency, 50 rows a page",
            30_000,
            10_000,
            ONE_BY_ONE,
            page=50,
            latency_s=0.02,
            faults=0.02,
            ranges=8,
        ),
    )
}


class Api:
    """The server of a scenario: its address, and what it counted."""

    def __init__(self, origin: str, options: dict[str, Any]) -> None:
        self.origin = origin
        self.options = options

    def counted(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.origin}/stats") as reply:  # noqa: S310 (loopback)
            return dict(json.load(reply))

    def reset(self) -> None:
        urllib.request.urlopen(f"{self.origin}/stats", data=b"{}").close()  # noqa: S310


class EmulatorApi(Api):
    def __init__(self, emulator: Any) -> None:
        identity = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
        super().__init__(emulator.origin, identity)
        self._emulator = emulator

    def counted(self) -> dict[str, Any]:
        said = self._emulator.stats()
        first, last = said["first_monotonic_s"] or 0.0, said["last_monotonic_s"] or 0.0
        names = ("requests", "throttled", "subqueries", "max_in_1s", "max_open")
        return {"first_s": first, "last_s": last} | {name: said[name] for name in names}

    def reset(self) -> None:
        self._emulator.reset()


@contextmanager
def api_of(scenario: Scenario, rows: int) -> Iterator[Api]:
    if not scenario.emulator:
        given = {"rate": scenario.rate, "latency_s": scenario.latency_s, "faults": scenario.faults}
        with static_server(rows, **given) as server:  # type: ignore[arg-type]
            identity = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
            yield Api(server.origin, identity)
        return
    with running(
        games=rows, rate=scenario.rate, in_flight=scenario.in_flight, latency_s=scenario.latency_s,
        warm=["games"],
    ) as emulator:  # fmt: skip
        yield EmulatorApi(emulator)


def race(scenario: Scenario, s3: S3, rows: int, peers: Sequence[str]) -> dict[str, Any]:
    """All peers that take part, by name, with their figures."""
    names = [name for name in scenario.peers if name in peers]
    ids = ids_of(rows)
    with api_of(scenario, rows) as api:

        def case(name: str, **options: Any) -> dict[str, Any]:
            with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
                return case_of(scenario, api, s3, ids, PEERS[name], folder, options)

        cases: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for turn in range(scenario.rounds):
            for name in names:
                if turn == 0 or name in IN_TURN:
                    cases[name].append(case(name))
                    print(f"    {name}: {_line(cases[name][-1])}", flush=True)
        found = {name: middle(each) for name, each in cases.items()}
        if scenario.watched and WATCHED in found:
            watched = case(WATCHED, watch_loop=True)
            found[WATCHED] |= {n: f for n, f in watched.items() if n.startswith("loop_")}
    return {"title": scenario.title, "rows": rows, "page": scenario.page, "peers": found}


def middle(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The case with the middle CPU time; one that failed or lost a row, if there is one."""
    for case in cases:
        if "cpu_s" not in case or not case["exact"]:
            return case
    by_cpu = sorted(cases, key=lambda case: float(case["cpu_s"]))
    of_all = {f"{name}_of_all": [case[name] for case in cases] for name in ("cpu_s", "peak_mb")}
    return by_cpu[(len(by_cpu) - 1) // 2] | (of_all if len(cases) > 1 else {})


def case_of(
    scenario: Scenario,
    api: Api,
    s3: S3,
    ids: Sequence[int],
    peer: Peer,
    folder: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """One peer's figures, and what the server and S3 say of its work."""
    job = Job(
        origin=api.origin,
        rows=len(ids),
        page=scenario.page,
        rate=scenario.rate,
        in_flight=scenario.in_flight,
        top_id=ids[-1],
        s3={
            "endpoint_url": s3.endpoint_url,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "region": s3.region,
        },
        bucket=BUCKET,
        prefix=f"{scenario.name}/{Path(folder).name}",
        folder=folder,
        packed=peer.packed,
        options={**api.options, "ranges": scenario.ranges, **options},
    )
    try:
        python_of(peer)
    except Skipped as skipped:
        return {"skipped": str(skipped)}
    api.reset()
    figures = run_case(peer, job, s3.env())
    figures |= _on_the_wire(scenario, api.counted())
    figures |= compare(s3, BUCKET, job.prefix, ids)
    if "cpu_s" in figures:
        figures["rows_per_cpu_s"] = round(len(ids) / figures["cpu_s"])
    return figures


def _on_the_wire(scenario: Scenario, counted: dict[str, Any]) -> dict[str, Any]:
    """What the server counted: requests, 429s, and the share of the limit in between."""
    lasted_s = counted["last_s"] - counted["first_s"]
    accepted = counted["requests"] - counted["throttled"]
    found = {"server_requests": counted["requests"], "throttled": counted["throttled"]}
    if scenario.rate and lasted_s > 1:
        found["share_of_limit"] = round((accepted - 1) / (scenario.rate * lasted_s), 4)
    if scenario.faults:
        found["faulty"] = counted["faulty"]
    return found


def _line(figures: dict[str, Any]) -> str:
    if said := figures.get("skipped") or figures.get("failed"):
        return str(said)
    names = ("wall_s", "cpu_s", "rows_per_cpu_s", "peak_mb", "throttled", "share_of_limit", "exact")
    return ", ".join(f"{name} {figures[name]}" for name in names if name in figures)
