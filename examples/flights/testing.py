"""The example's API as a child process, for tests and benchmarks."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.paths import ROOT
from local.process import LocalError, running, tail
from local.s3 import child_env

READY_S = 60.0
POLL_S = 0.05


@contextmanager
def flights_api(folder: Path) -> Iterator[str]:
    """The base URL of the flights, served while the `with` lasts; the database is in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file, log = folder / "port", folder / "server.log"
    port_file.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "examples.flights", "serve",
        "--dir", str(folder), "--port-file", str(port_file),
    ]  # fmt: skip
    with running(command, env=child_env(), cwd=ROOT, log=log) as child:
        deadline = time.monotonic() + READY_S
        while not port_file.exists():
            if child.exit_code() is not None or time.monotonic() > deadline:
                raise LocalError(f"The flights are not served; the log ends with: {tail(log)}")
            time.sleep(POLL_S)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}"
