"""Dagster's own command line, run as a child whose log is followed on the screen."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from local.dagster_host import Start, as_a_shell_does
from local.process import LocalError

if TYPE_CHECKING:
    from rich.console import Console

POLL_S = 0.2
WIDTH = 150
EVENT = re.compile(
    r" - dagster - (?P<level>[A-Z]+) - \S+ - [0-9a-f-]{36} - "
    r"(?:\d+ - )?(?:[\w\[\]]+ - )?(?P<text>.*)$"
)
"""Level, job, run, sometimes a pid, the step, and what was said."""

UNSAID = "did not yield or return expected outputs"
"""Dagster's word for an asset that was skipped, which the assets have said themselves."""

FURTHER = "· "
"""Begins the second and each further line of those that the assets have written as one entry."""

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
    if line.startswith(FURTHER):
        return shorten(f"    {line.removeprefix(FURTHER)}", WIDTH)
    event = EVENT.search(line)
    if event is None or event["level"] not in SHOWN or UNSAID in event["text"]:
        return None
    return shorten(f"    {event['text']}", WIDTH)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


PROGRESS = re.compile(
    r"(?P<rows>[\d,]+) of (?P<total>[\d,]+) rows?, (?P<rate>[\d,]+) rows/s, .*?"
    r"(?P<partitions>[\d,]+) partitions? committed(?:, about (?P<left_s>[\d,]+) s left)?"
)
"""The line of progress that a step logs every few seconds (`assets.progress`)."""


class PlainScreen:
    """Prints what the assets say, line by line.

    :param file: None: standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    def take(self, line: str) -> None:
        """Take a line of Dagster's log."""
        if text := shown(line):
            print(text, file=self._file, flush=True)

    def end(self) -> None:
        """The command has ended."""


class BarScreen(PlainScreen):
    """For a terminal: the lines of progress are one bar, and the others stand above it."""

    def __init__(self, console: "Console | None" = None) -> None:
        super().__init__()
        # rich is imported where there is a terminal to draw on.
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("Dagster starts", total=None)
        self._progress.start()

    def take(self, line: str) -> None:
        text = shown(line)
        if text is None:
            return
        found = PROGRESS.search(text)
        if found is None:
            self._progress.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        rows, total = (int(found[name].replace(",", "")) for name in ("rows", "total"))
        left = f", {found['left_s']} s left" if found["left_s"] else ""
        self._progress.update(
            self._bar,
            description=f"{rows:,} of {total:,} rows, {found['rate']} rows/s, "
            f"{found['partitions']} committed{left}",
            completed=rows,
            total=total or None,
        )

    def end(self) -> None:
        self._progress.stop()


def feed(text: str, show: PlainScreen) -> str:
    """Show the lines that have ended. :return: the beginning of one that is still being written."""
    *lines, rest = text.split("\n")
    for line in lines:
        show.take(line)
    return rest


def run(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    screen: Callable[[], PlainScreen] | None = None,
    start: Start = as_a_shell_does,
) -> float:
    """Run to the end; the seconds it took. Raises LocalError with the log's name and the reasons.

    :param screen: shows the log; None: a bar on a terminal, plain lines elsewhere.
    :param start: of a `dagster_host`; else the command is a process of its own from the beginning.
    """
    started = time.monotonic()
    log.touch()
    show = (screen or (BarScreen if sys.stdout.isatty() else PlainScreen))()
    try:
        with start(command, env, log) as child:
            with log.open(errors="replace") as lines:
                ended, rest = False, ""
                while not ended:
                    ended = child.exit_code() is not None
                    rest = feed(rest + lines.read(), show)
                    time.sleep(0 if ended else POLL_S)
                show.take(rest)
            code = child.wait()
    finally:
        show.end()
    if code:
        said = reasons(log.read_text(errors="replace"))
        raise LocalError(f"Dagster ended with exit code {code}; its whole log is {log}.\n{said}")
    return time.monotonic() - started


_FAILURE = re.compile(
    r"^dagster\._core\.definitions\.events\.Failure: (?P<said>.*?)"
    r"(?=\n\nStack Trace:|\n\n\d{4}-\d\d-\d\d |\Z)",
    re.DOTALL | re.MULTILINE,
)
"""How Dagster writes the sentences with which a step ends for good (`assets.failures`)."""
_RAISED = re.compile(r"^(?:[\w.]+\.)?(?P<said>\w+(?:Error|Exception|Exit|Interrupt)\b.*)$")
_FRAMES = ("  ", "Stack Trace:", "The above exception", "Traceback", "Usage:", "Try ")
_MOST_LINES = 5


def reasons(log: str) -> str:
    """Why a command of Dagster's failed, without anybody's stack frames.

    :param log: all of it.
    :return: the sentences of the steps that failed, each once; if there are none, the exceptions
        that were raised last; else the last lines.
    """
    if failed := dict.fromkeys(found["said"].strip() for found in _FAILURE.finditer(log)):
        return "\n".join(failed)
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(_FRAMES)]
    raised = [found["said"] for line in lines if (found := _RAISED.match(line))]
    return "\n".join(list(dict.fromkeys(raised or lines))[-_MOST_LINES:])
