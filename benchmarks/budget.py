"""How much of a quota several processes use together, and how often a strict server says 429.

    make bench ARGS="--only budget"                              all cells, some six minutes
    python -m benchmarks.budget --rate 4 50 --processes 4 16 --jitter 0 --where /tmp/budgets
    python -m benchmarks.budget --processes 4 --where redis postgres   in servers started for it

Once all processes have sent, a cell warms up (the margin is learned), then the server measures:
utilisation of the limit between first and last request, 429s per 1,000, most requests in flight.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

from pipeline.ratelimit import Limits, RateWindow
from tests.ratelimit import servers
from tests.ratelimit.strict_server import Counted, strict_server
from tests.ratelimit.users import Use

IN_FLIGHT = {4: 8, 50: 16, 500: 64}
RATES, PROCESSES, JITTERS_MS = (4, 50, 500), (1, 4, 16), (0.0, 20.0)
HEAD = (
    "| rate | processes | jitter ± ms | used | 429 per 1,000 | 429 while learning "
    "| most in flight (of) | least, most a process |\n"
    "|---|---|---|---|---|---|---|---|"
)
START_MAX_S = 60.0  # at 4/s, 16 processes take some seconds to have sent once


def cell(
    rate: int, processes: int, jitter_s: float, where: str, warm_s: float, measure_s: float
) -> tuple[Counted, Counted]:
    """(while learning, measured) of one rate, number of processes and jitter of ±``jitter_s``."""
    limits = Limits((RateWindow(rate, 1.0),), IN_FLIGHT.get(rate, 64))
    name = f"bench-{rate}-{processes}-{int(jitter_s * 1000)}-{time.time_ns()}"
    with strict_server([(rate, 1.0)], latency_s=0.02, jitter_s=2 * jitter_s) as server:
        users = Use(name, limits, where, server.port).start(processes)
        started = monotonic()
        while len(server.counted().users) < processes and monotonic() - started < START_MAX_S:
            time.sleep(0.1)
        time.sleep(warm_s)
        learning = server.counted(reset=True)
        time.sleep(measure_s)
        measured = server.counted()
        for user in users:
            user.kill()
            user.join()
    return learning, measured


def cells(
    which: Iterable[tuple[int, int, float]],
    where: str | None = None,
    warm_s: float | None = None,
    measure_s: float = 10.0,
) -> Iterator[dict[str, Any]]:
    """The figures of each rate, number of processes and jitter in ms, one after the other.

    :param where: of the budget: a folder or a URL; default: a folder that is gone afterwards.
    :param warm_s: before the server measures; default: 1, and while the margin is learned more.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for rate, processes, jitter_ms in which:
            learn_s = (20.0 if rate < 10 else 8.0) if jitter_ms else 1.0
            learning, seen = cell(
                rate,
                processes,
                jitter_ms / 1000,
                where or folder,
                learn_s if warm_s is None else warm_s,
                measure_s,
            )
            answered = seen.accepted + seen.refused
            yield {
                "rate": rate,
                "processes": processes,
                "jitter_ms": jitter_ms,
                "used": round(seen.utilisation([(rate, 1.0)]), 4),
                "throttled": seen.refused,
                "requests": answered,
                "throttled_per_1000": round(1000 * seen.refused / max(1, answered), 2),
                "throttled_learning": learning.refused,
                "requests_learning": learning.accepted + learning.refused,
                "most_in_flight": seen.most_in_flight,
                "in_flight": IN_FLIGHT.get(rate, 64),
                "least_a_process": min(seen.users.values(), default=0),
                "most_a_process": max(seen.users.values(), default=0),
                "processes_seen": len(seen.users),
            }


def budget(*, quick: bool) -> dict[str, Any]:
    """All cells, or one for a moment."""
    which = itertools.product(RATES, PROCESSES, JITTERS_MS)
    found = []
    for figures in cells([(50, 4, 0.0)], measure_s=2.0) if quick else cells(which):
        print(f"    {line(figures)}", flush=True)
        found.append(figures)
    return {"cells": found}


def line(figures: dict[str, Any]) -> str:
    """A cell, under ``HEAD``."""
    return (
        "| {rate} | {processes} | {jitter_ms:g} | {used:.1%} | {throttled_per_1000:.2f} "
        "| {throttled_learning} of {requests_learning} | {most_in_flight} ({in_flight}) "
        "| {least_a_process}, {most_a_process} of {processes_seen} |"
    ).format(**figures)


def _served(where: str | None) -> AbstractContextManager[str | None]:
    started = {"redis": servers.redis_url, "postgres": servers.postgres_url}
    return started[where]() if where in started else nullcontext(where)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rate", type=int, nargs="+", default=RATES)
    parser.add_argument("--processes", type=int, nargs="+", default=PROCESSES)
    parser.add_argument("--jitter", type=float, nargs="+", default=JITTERS_MS, help="± ms")
    parser.add_argument(
        "--where",
        nargs="+",
        default=[None],
        help="folders, URLs, redis, postgres; default: a folder of its own",
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm", type=float, help="seconds; default 1, with jitter 8, 20 at 4/s")
    args = parser.parse_args()
    for where in args.where:
        which = itertools.product(args.rate, args.processes, args.jitter)
        with _served(where) as at:
            print(f"{where or 'folder'}\n\n{HEAD}")
            for figures in cells(which, at, args.warm, args.seconds):
                print(line(figures), flush=True)


if __name__ == "__main__":
    main()
