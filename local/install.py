"""`python local/install.py EXTRA`: install the project's packages with pip, and say how far it is.

pip reads the index of each package and unpacks it on one core, one after the other. So several of
them install side by side what `constraints.txt` pins, without a look at what needs what. Then one
holds that against `pyproject.toml`, and brings what is missing.

Runs with the new environment's own Python, before any package is there: only the standard library.
On a terminal one line changes in place; elsewhere a line comes now and then.
"""

import os
import queue
import re
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

_PACKAGE = re.compile(r"^(?:Collecting ([\w.-]+)|Processing .*/([\w.-]+?)-\d)")
_SIZE = re.compile(r"^\s+(?:Downloading|Using cached) \S+ \(([\d.]+) ([kMG])B\)")
_UNITS = {"k": 1e-3, "M": 1.0, "G": 1e3}
_SECTION = re.compile(r"^# (\w+): ")
_OF_PROJECT = re.compile(r"^headrace\[(.*)\]$")
_EVERY = 50
_POLL_S = 0.5
_LAST_LINES = 60
_AT_ONCE = 3
_NEVER_IMPORTED = "/(tests?|pip|setuptools|pkg_resources)/"
"""As ``setup.sh`` has it."""


def pins(constraints: str, extra: str) -> list[str]:
    """The packages of an extra at their versions: its section, and those above it.

    >>> pins("# demo: both\\na==1\\n\\n# dev: besides\\nb==2", "demo")
    ['a==1']
    """
    packages: list[str] = []
    section = ""
    for line in constraints.splitlines():
        if match := _SECTION.match(line):
            if section == extra:
                break
            section = match[1]
        elif "==" in line:
            packages.append(line.strip())
    return packages


def requirements(pyproject: str, extra: str) -> list[str]:
    """What the project and an extra need, as ``pyproject.toml`` says it."""
    project = tomllib.loads(pyproject)["project"]
    extras = project.get("optional-dependencies", {})

    def of(name: str) -> Iterator[str]:
        for text in extras[name]:
            if match := _OF_PROJECT.match(text):
                for other in match[1].split(","):
                    yield from of(other.strip())
            else:
                yield text

    return [*project.get("dependencies", ()), *of(extra)]


class InstallProgress:
    """What pip has said so far: packages, megabytes, and which comes now.

    >>> progress = InstallProgress(96)
    >>> progress.take("Collecting pyarrow>=25 (from headrace==0.1.0)")
    True
    >>> progress.take("  Downloading pyarrow-25.0.0-cp311-cp311-manylinux.whl (47.7 MB)")
    True
    >>> progress.text(12)
    '1 of 96 packages, 48 MB, 12 unpacked: pyarrow'
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.packages = 0
        self.megabytes = 0.0
        self.name = ""

    def take(self, line: str) -> bool:
        """Take a line of pip's. :return: whether it says something new."""
        if match := _PACKAGE.match(line):
            self.packages, self.name = self.packages + 1, match[1] or match[2]
        elif match := _SIZE.match(line):
            self.megabytes += float(match[1]) * _UNITS[match[2]]
        else:
            return False
        return True

    def text(self, unpacked: int) -> str:
        """One line, without its end."""
        total = max(self.total, self.packages)
        return (
            f"{self.packages} of {total} packages, {self.megabytes:,.0f} MB, "
            f"{unpacked} unpacked: {self.name}"
        )


class Screen:
    """One line that changes in place on a terminal; else a line now and then."""

    def __init__(self, write: Callable[[str], object], *, terminal: bool) -> None:
        self._write = write
        self._terminal = terminal
        self._shown = 0

    def show(self, number: int, text: str) -> None:
        """:param number: of steps so far: elsewhere than on a terminal some are passed over."""
        if self._terminal:
            self._write(f"\r\x1b[K  {text}")
        elif number // _EVERY > self._shown // _EVERY:
            self._write(f"  {text}\n")
        self._shown = number

    def end(self) -> None:
        if self._terminal and self._shown:
            self._write("\r\x1b[K")
        self._shown = 0


def unpacked_in(site: Path) -> int:
    """How many packages lie in the folder."""
    return sum(1 for _ in site.glob("*.dist-info"))


def follow(
    lines: Iterable[str | None],
    progress: InstallProgress,
    screen: Screen,
    site: Path,
    before: int = 0,
) -> None:
    """Show what pip does until it ends.

    :param lines: what it prints, and None where it has printed nothing for a while.
    :param site: the folder of the packages: while pip unpacks, it says nothing.
    :param before: how many packages were there before the first pip.
    """
    try:
        for line in lines:
            if line is None or progress.take(line):
                unpacked = unpacked_in(site) - before
                screen.show(progress.packages + unpacked, progress.text(unpacked))
    finally:
        screen.end()


class Pips:
    """Several of pip's installs side by side.

    :ivar last_lines: the last ones of all, for a sentence on what went wrong.
    """

    def __init__(self, installs: Sequence[Sequence[str]]) -> None:
        """:param installs: the arguments of each."""
        self.last_lines = deque[str](maxlen=_LAST_LINES)
        self._installs = installs
        self._failed = 0

    def lines(self) -> Iterator[str | None]:
        """Run them; what they print as it comes, and None where nothing comes for a while."""
        printed: queue.SimpleQueue[str | int] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._run, args=(install, printed))
            for install in self._installs
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            try:
                line = printed.get(timeout=_POLL_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(line, int):
                running -= 1
                self._failed += line != 0
            else:
                self.last_lines.append(line)
                yield line
        for thread in threads:
            thread.join()

    @property
    def failed(self) -> bool:
        return self._failed > 0

    def _run(self, install: Sequence[str], printed: "queue.SimpleQueue[str | int]") -> None:
        command = [
            sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile",
            "--progress-bar", "off", *install,
        ]  # fmt: skip
        status = 1  # whatever happens, its end is told: the reader waits for it
        try:
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "PIP_NO_INPUT": "1"},
            ) as pip:
                assert pip.stdout is not None
                for line in pip.stdout:
                    printed.put(line)
            status = pip.returncode
        except OSError as error:
            printed.put(f"ERROR: pip can't be started: {error}\n")
        finally:
            printed.put(status)


_REASONS = (
    (r"No space left on device|Errno 28", "The disk is full: make room for some 1.5 GB here"),
    (
        r"Disk quota exceeded|Errno 122",
        "The disk's quota is used up: make room for some 1.5 GB here",
    ),
    (
        r"ProxyError|Cannot connect to proxy|Tunnel connection failed",
        "The proxy does not let pip through: check HTTPS_PROXY and its password",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "pip does not trust the package index's certificate: name your company's in PIP_CERT",
    ),
    (
        r"name resolution|NewConnectionError|Network is unreachable|Connection refused|"
        r"Max retries exceeded|ConnectTimeout|Read timed out",
        "The package index can't be reached: check the network, HTTPS_PROXY if there is a proxy, "
        "and PIP_INDEX_URL if you have an index of your own",
    ),
    (r"Permission denied|Errno 13", "A file can't be written: check who owns this folder"),
)


def known_reason(lines: Iterable[str]) -> str | None:
    """One sentence on what keeps pip from working here, whatever it installs."""
    text = "\n".join(lines)
    return next((sentence for pattern, sentence in _REASONS if re.search(pattern, text)), None)


def reason(lines: Iterable[str]) -> str:
    """One sentence on why pip failed, or its own last words."""
    last = [line.strip() for line in lines]
    errors = [line for line in last if line.startswith("ERROR")] or last[-3:]
    return known_reason(last) or "; ".join(errors[-2:])


@contextmanager
def compiling(site: Path) -> Iterator[None]:
    """Compile what is there, while this holds at least: pip's last look takes one core alone.

    ``setup.sh`` compiles what is missing then. Its output is not shown: some packages have files
    for other versions of Python.
    """
    command = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-j",
        "0",
        "-x",
        _NEVER_IMPORTED,
        str(site),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def main(extra: str) -> int:
    """Install an extra of the project in the working folder. :return: 0, or 1 if pip failed."""
    began = time.monotonic()
    packages = pins(Path("constraints.txt").read_text("utf-8"), extra)
    site = Path(sysconfig.get_path("purelib"))
    progress = InstallProgress(len(packages))
    screen = Screen(sys.stderr.write, terminal=sys.stderr.isatty())
    parts = [part for at in range(_AT_ONCE) if (part := packages[at::_AT_ONCE])]
    side_by_side = Pips([["--no-deps", *part] for part in parts])
    before = unpacked_in(site)
    follow(side_by_side.lines(), progress, screen, site, before)
    # What would keep the next one from working, too, is said now; else that one tries it all again.
    why = known_reason(side_by_side.last_lines) if side_by_side.failed else None
    if not why:
        needed = requirements(Path("pyproject.toml").read_text("utf-8"), extra)
        whole = Pips([["--constraint", "constraints.txt", *needed]])
        with nullcontext() if side_by_side.failed else compiling(site):
            follow(whole.lines(), progress, screen, site, before)
        why = reason(whole.last_lines) if whole.failed else None
    if why:
        again = "setup" if extra == "dev" else "install"
        print(f"{why}. `make {again}` tries again.", file=sys.stderr)
        return 1
    what = f"{progress.packages} packages" if progress.packages else "Nothing new"
    print(f"  {what} in {time.monotonic() - began:.0f} s.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
