"""`python -m local demo | ui | instance`: see `make help`."""

import argparse
import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

from local.dagster_host import dagster_host
from local.paths import DEFAULT_HOME, ROOT, STATE, passing_folder
from local.process import LocalError, python_env

_TOO_LITTLE = 2**16
"""Bytes: so few are left where a write has failed for want of room."""
_FULL = f"the disk is full: make room for some 1 GB in {ROOT}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A signal to stop becomes an exception, so that every `with` ends what it has started."""
    # From here on we are stopping; a second signal must not cut that short.
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="two daily runs, then a table of what is in the lake")
    demo.add_argument("what", nargs="?", choices=["aws"], help="aws: of an emulated AWS")
    ui = commands.add_parser("ui", help="Dagster's UI over a local S3 and API, until Ctrl-C")
    ui.add_argument("--port", type=int, help="default: that of the last start, at first 3000")
    ui.add_argument("--no-browser", action="store_true", help="only print the address")
    commands.add_parser("instance", help="make $DAGSTER_HOME (default .dagster) ready for use")
    return parser


def _run(options: argparse.Namespace) -> None:
    # Imported here, so that `instance` does not need what only demo and UI need.
    if options.command == "demo" and options.what == "aws":
        from local.demo_aws import demo_aws

        demo_aws()
    elif options.command == "demo":
        _demo()
    elif options.command == "ui":
        from local.ui import ui

        ui(options.port, open_browser=not options.no_browser)
    else:
        from local.instance import create_storage

        create_storage(Path(os.environ.get("DAGSTER_HOME") or DEFAULT_HOME))


def _demo() -> None:
    """The demo's own imports, and the start of its services, go on beside those of Dagster."""
    with (
        passing_folder("demo-") as folder,
        dagster_host(["assets"], os.environ | python_env(), folder / "dagster.log") as start,
    ):
        from local.demo import demo

        demo(folder, start)


def _of_the_machine(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _FULL
    return str(error).rstrip(".")


def _why(error: LocalError) -> str:
    """What to say of a child that failed: one whose disk is full can't write its reason down."""
    free = shutil.disk_usage(STATE if STATE.exists() else ROOT).free
    return f"The local services can't run: {_FULL}." if free < _TOO_LITTLE else str(error)


def main() -> int:
    options = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run(options)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except LocalError as error:
        print(f"\n{_why(error)}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, no free port: the machine's, and one sentence will do
        print(f"\nThe local services can't run: {_of_the_machine(error)}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
