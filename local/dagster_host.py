"""Dagster's command line in a process that has imported it: each command is a fork of it.

    with dagster_host(["assets"], env, log=folder / "host.log") as host:
        run(materialize("key:igdb/games", first, last), env, folder / "run.log", start=host.start)

Dagster and the project take seconds to import, in every process anew. The host does so once, while
other things start, and waits for commands. A command is Dagster's own, as its console script has
it: it reads ``definitions.py`` with the settings that come with it, in a process of its own.

Elsewhere than on Linux some libraries break in a forked process: there each command is started as
by a shell. Units: seconds.

As a program, `python -m local.dagster_host MODULE…`, it reads a command from each line of standard
input (`Command`), and ends with its input.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Protocol

from local.paths import ROOT
from local.process import Child, LocalError, running, tail

GRACE_S = 6.0
POLL_S = 0.05


class Running(Protocol):
    """A command of Dagster's that was started."""

    def exit_code(self) -> int | None:
        """None while it runs."""

    def wait(self) -> int:
        """Its exit code, once it has ended."""


Start = Callable[[Sequence[str], Mapping[str, str], Path], AbstractContextManager[Running]]
"""Starts a command with an environment; its output goes to a log. It ends with the `with`."""


@contextmanager
def as_a_shell_does(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[Running]:
    """A process of its own, from the beginning."""
    with running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S) as child:
        yield child


@dataclass(frozen=True)
class Command:
    """What the host reads: a line of JSON.

    :ivar arguments: those behind the word ``dagster``.
    :ivar log: takes its output.
    :ivar code_file: takes its exit code when it has ended.
    """

    arguments: Sequence[str]
    env: Mapping[str, str]
    log: str
    code_file: str


@dataclass(frozen=True)
class _Forked:
    """A command in a fork of the host."""

    host: "DagsterHost"
    code_file: Path

    def exit_code(self) -> int | None:
        """None while it runs. :raises LocalError: the host has ended before it."""
        ended = self.host.child.exit_code()  # first: the file may come between the two looks
        if self.code_file.exists():
            return int(self.code_file.read_text())
        if ended is None:
            return None
        log = self.host.log
        raise LocalError(
            f"Dagster could not be started (exit code {ended}); the whole log is {log}, which ends "
            f"with:\n{tail(log)}"
        )

    def wait(self) -> int:
        while (code := self.exit_code()) is None:
            time.sleep(POLL_S)
        return code


@dataclass(frozen=True)
class DagsterHost:
    """A host that runs, and imports or waits."""

    child: Child
    requests: IO[bytes]
    log: Path

    @contextmanager
    def start(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[Running]:
        """Run a command line as `dagster_cli.dagster` makes it. Only the host's end ends it early.

        One at a time: a second one begins when the first has ended.
        """
        code_file = log.with_suffix(".code")
        code_file.unlink(missing_ok=True)
        arguments = command[command.index("dagster") + 1 :]
        line = json.dumps(asdict(Command(arguments, dict(env), str(log), str(code_file))))
        with suppress(BrokenPipeError):  # it has ended: whoever waits for the command is told
            self.requests.write(f"{line}\n".encode())
        yield _Forked(self, code_file)


@contextmanager
def dagster_host(modules: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[Start]:
    """A host that imports Dagster and ``modules`` meanwhile; yields how it starts a command.

    :param env: of its imports: each command has its own.
    """
    if sys.platform != "linux":
        yield as_a_shell_does
        return
    read_fd, write_fd = os.pipe()
    with ExitStack() as stack:
        requests = stack.enter_context(open(write_fd, "wb", buffering=0))
        try:
            command = [sys.executable, "-m", "local.dagster_host", *modules]
            child = stack.enter_context(
                running(command, env=env, cwd=ROOT, log=log, grace_s=GRACE_S, stdin=read_fd)
            )
        finally:
            os.close(read_fd)
        yield DagsterHost(child, requests, log).start


def _serve(requests: IO[str], dagster: Callable[[], int | None]) -> None:
    """Run a command for each line. In a fork this does not return: it ends as the command does."""
    for line in iter(requests.readline, ""):
        command = Command(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            _become(command)
            sys.exit(dagster())
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        partial = Path(f"{command.code_file}.partial")
        partial.write_text(str(code if code >= 0 else 128 - code))
        partial.replace(command.code_file)


def _become(command: Command) -> None:
    """Take a command's environment, output and words, as if it had been started with them."""
    os.environ.clear()
    os.environ.update(command.env)
    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, of in ((0, nothing), (1, log), (2, log)):
        os.dup2(of, fd)
    sys.argv = ["dagster", *command.arguments]


def main(modules: Sequence[str]) -> None:
    """Import, then serve. What is imported stays: the collector need not look through it."""
    gc.disable()
    (script,) = entry_points(group="console_scripts", name="dagster")
    dagster = script.load()
    for module in modules:
        import_module(module)
    gc.freeze()
    gc.enable()
    _serve(sys.stdin, dagster)


if __name__ == "__main__":
    main(sys.argv[1:])
