"""`python -m examples.flights serve`: the flights as a JSON API, until it is stopped.

With ``--lake`` a local S3 is started beside it, and the file ``env`` in the folder is written: it
sets all that Dagster needs to know of the two.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from emulator.parent import exit_with
from examples.flights import database
from examples.serving import exports, write
from local.paths import ROOT, STATE
from local.process import LocalError
from local.services import seaweedfs
from local.settings import BUCKET

SOURCES = Path(__file__).with_name("sources")


def main(argv: list[str] | None = None) -> None:
    """Parse the options and serve."""
    options = _parser().parse_args(argv)
    if options.parent_pid:
        exit_with(options.parent_pid)
    try:
        _serve(options)
    except LocalError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.flush()
    # A plain return would wait for Datasette's SQL threads.
    os._exit(0)


def _serve(options: argparse.Namespace) -> None:
    folder: Path = options.dir.resolve()
    path = database.build(folder)
    from examples.flights.server import serve  # loads Datasette, which takes a second

    with ExitStack() as stack:
        s3 = (
            stack.enter_context(seaweedfs(folder / "s3", buckets=[BUCKET]))
            if options.lake
            else None
        )

        def ready(port: int) -> None:
            url = f"http://127.0.0.1:{port}"
            if options.port_file:
                write(options.port_file, f"{port}\n")
            if s3:
                values = {
                    "FLIGHTS_BASE_URL": url,
                    "HEADRACE_SOURCES": os.path.relpath(SOURCES, ROOT),
                }
                write(folder / "env", exports(values, s3, folder))
            print(f"the flights are at {url}/flights/flights; Ctrl-C stops it", flush=True)

        serve(path, options.port, ready)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights",
        description="The flights that left New York in 2013, as a JSON API on loopback.",
    )
    serving = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "serve",
        help="make the database if it is not there, then serve it with Datasette",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = serving.add_argument
    add("--port", type=int, default=0, help="0: any free one")
    add("--port-file", type=Path, metavar="PATH", help="gets the port once requests are served")
    add("--dir", type=Path, default=STATE / "flights", help="where the database is, or will be")
    add("--lake", action="store_true", help="start a local S3 too, and write DIR/env for a shell")
    add("--parent-pid", type=int, default=0, metavar="PID", help="exit when this process is gone")
    return parser


if __name__ == "__main__":
    main()
