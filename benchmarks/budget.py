"""How much of a quota several processes use together, and how often a strict server says 429.

    python -m benchmarks.budget                                  all cells, a few minutes
    python -m benchmarks.budget --rate 4 50 --processes 4 16 --jitter 0 --where /tmp/budgets

Once all processes have sent, a cell warms up (the margin is learned), then the server measures:
utilisation of the limit between first and last request, 429s per 1,000, most requests in flight.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from time import monotonic

from pipeline.budget import Limits, RateWindow
from tests.budget.strict_server import Counted, strict_server
from tests.budget.users import Use

IN_FLIGHT = {4: 8, 50: 16, 500: 64}
HEAD = (
    "| rate | processes | jitter ± ms | used % | 429 per 1,000 | 429 while learning "
    "| most in flight (of) | least, most a process |\n"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rate", type=int, nargs="+", default=[4, 50, 500])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--jitter", type=float, nargs="+", default=[0, 20], help="± ms on the way")
    parser.add_argument("--where", help="a folder or a URL; default: a folder of its own")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm", type=float, help="seconds; default 1, with jitter 8, 20 at 4/s")
    args = parser.parse_args()
    print(HEAD + "|---" * (HEAD.count("|") - 1) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for rate, processes, jitter in itertools.product(args.rate, args.processes, args.jitter):
            where = args.where or str(Path(folder))
            learn_s = (20.0 if rate < 10 else 8.0) if jitter else 1.0
            warm_s = learn_s if args.warm is None else args.warm
            learning, seen = cell(rate, processes, jitter / 1000, where, warm_s, args.seconds)
            used = 100 * seen.utilisation([(rate, 1.0)])
            per_1000 = 1000 * seen.refused / max(1, seen.accepted + seen.refused)
            print(
                f"| {rate} | {processes} | {jitter:g} | {used:.1f} "
                f"| {per_1000:.2f} | {learning.refused} of {learning.accepted + learning.refused} "
                f"| {seen.most_in_flight} ({IN_FLIGHT.get(rate, 64)}) "
                f"| {min(seen.users.values())}, {max(seen.users.values())} of {len(seen.users)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
