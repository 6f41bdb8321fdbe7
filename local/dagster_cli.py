"""Dagster's own command line, run as a child whose log is followed on the screen."""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from local.paths import ROOT
from local.process import LocalError, running, tail

POLL_S = 0.2
GRACE_S = 6.0
WIDTH = 150
EVENT = re.compile(
    r" - dagster - (?P<level>[A-Z]+) - \S+ - [0-9a-f-]{36} - "
    r"(?:\d+ - )?(?:[\w\[\]]+ - )?(?P<text>.*)$"
)
"""Level, job, run, sometimes a pid, the step, and what was said."""

UNSAID = "did not yield or return expected outputs"
"""Dagster's word for an asset that was skipped, which the assets have said themselves."""

SHOWN = {"INFO", "WARNING", "ERROR", "CRITICAL"}


def dagster(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dagster", *arguments]


def materialize(
    selection: str, first: date, last: date, project: str = "definitions.py"
) -> list[str]:
    days = f"{first.isoformat()}...{last.isoformat()}"
    return dagster(
        "asset", "materialize", "-f", project, "--select", selection, "--partition-range", days,
    )  # fmt: skip


def shown(line: str) -> str | None:
    """What the screen gets of a line of Dagster's log: what the assets say, and what went wrong."""
    event = EVENT.search(line)
    if event is None or event["level"] not in SHOWN or UNSAID in event["text"]:
        return None
    return shorten(f"    {event['text']}", WIDTH)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def run(command: Sequence[str], env: Mapping[str, str], log: Path) -> float:
    """Run to the end; the seconds it took. Raises LocalError with the end of the log."""
    started = time.monotonic()
    log.touch()
    with running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S) as child:
        with log.open(errors="replace") as lines:
            ended = False
            while not ended:
                ended = child.exit_code() is not None
                _print_new(lines.readlines())
                time.sleep(0 if ended else POLL_S)
        if code := child.wait():
            raise LocalError(
                f"Dagster ended with exit code {code}; its log, {log}, ends with:\n{tail(log, 25)}"
            )
    return time.monotonic() - started


def _print_new(lines: Sequence[str]) -> None:
    for line in lines:
        if text := shown(line.rstrip("\n")):
            print(text, flush=True)
