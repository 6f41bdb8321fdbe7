"""`python -m docsite build` makes `build/site`; `… serve` shows it on loopback; `… diagrams` draws,
`… pictures` takes pictures of the built site.

Build and serve fail on a link that leads nowhere, and on a page that is in no part of the nav.
"""

import argparse
import os
import subprocess
import sys

from docsite.diagrams import draw_all
from docsite.look import pictures
from docsite.pages import ROOT, STAGE, clear

ADDRESS = "127.0.0.1:8000"


def main(argv: list[str] | None = None) -> int:
    """Run MkDocs, and return its exit code."""
    parser = argparse.ArgumentParser(prog="docsite", description=__doc__)
    parser.add_argument(
        "verb", nargs="?", choices=["build", "serve", "diagrams", "pictures"], default="build"
    )
    parser.add_argument("--address", default=ADDRESS, help="HOST:PORT of serve")
    options = parser.parse_args(argv)
    if options.verb == "diagrams":
        print(*draw_all(), sep="\n")
        return 0
    if options.verb == "pictures":
        print(*pictures(), sep="\n")
        return 0
    clear()
    STAGE.mkdir(parents=True)  # MkDocs wants to see the folder before its hook can fill it
    command = [sys.executable, "-m", "mkdocs", options.verb, "--strict"]
    if options.verb == "serve":
        command += ["--dev-addr", options.address]
    # Material prints until when it is maintained: see docs/decisions/0018.
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    if options.verb == "serve":
        # In this process's place: whoever ends this one leaves no server behind.
        os.chdir(ROOT)
        os.execve(command[0], command, env)  # noqa: S606 (no shell is wanted)
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
