"""`python local/install.py EXTRA`: install the project's packages with pip, and say how far it is.

Runs with the new environment's own Python, before any package is there: only the standard library.
On a terminal one line changes in place; elsewhere a line comes every `_EVERY` packages.
"""

import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PACKAGES = {"demo": 117, "dev": 225}
"""About how many packages an extra brings: pip tells only when all are found."""
_COLLECTING = re.compile(r"^Collecting ([A-Za-z0-9_.-]+)")
_SIZE = re.compile(r"^\s+(?:Downloading|Using cached) \S+ \(([\d.]+) ([kMG])B\)")
_UNITS = {"k": 1e-3, "M": 1.0, "G": 1e3}
_ALL = re.compile(r"^Installing collected packages: (.*)")
_EVERY = 25
_POLL_S = 0.5
_LAST_LINES = 60


class InstallProgress:
    """What pip has said so far: packages, megabytes, and which comes now.

    >>> progress = InstallProgress(96)
    >>> progress.take("Collecting pyarrow>=25 (from headrace==0.1.0)")
    True
    >>> progress.take("  Downloading pyarrow-25.0.0-cp311-cp311-manylinux.whl (47.7 MB)")
    True
    >>> progress.text
    '1 of about 96 packages, 48 MB: pyarrow'
    """

    def __init__(self, about: int) -> None:
        self.about = about
        self.found = 0
        self.megabytes = 0.0
        self.name = ""
        self.unpacking = 0

    def take(self, line: str) -> bool:
        """Take a line of pip's. :return: whether it says something new."""
        if match := _COLLECTING.match(line):
            self.found, self.name = self.found + 1, match[1]
        elif match := _SIZE.match(line):
            self.megabytes += float(match[1]) * _UNITS[match[2]]
        elif match := _ALL.match(line):
            self.unpacking = match[1].count(",") + 1
        else:
            return False
        return True

    @property
    def text(self) -> str:
        """One line, without its end."""
        about = max(self.about, self.found)
        return f"{self.found} of about {about} packages, {self.megabytes:,.0f} MB: {self.name}"


def unpacked(site: Path) -> int:
    """How many packages lie in the environment."""
    return sum(1 for _ in site.glob("*.dist-info"))


class Screen:
    """One line that changes in place on a terminal; else a line now and then."""

    def __init__(self, write: Callable[[str], object], *, terminal: bool) -> None:
        self._write = write
        self._terminal = terminal
        self._shown = 0

    def show(self, number: int, text: str) -> None:
        """:param number: of packages: elsewhere than on a terminal some are passed over."""
        if self._terminal:
            self._write(f"\r\x1b[K  {text}")
        elif number // _EVERY > self._shown // _EVERY:
            self._write(f"  {text}\n")
        self._shown = number

    def end(self) -> None:
        if self._terminal and self._shown:
            self._write("\r\x1b[K")
        self._shown = 0


def follow(lines: Iterable[str], progress: InstallProgress, screen: Screen, site: Path) -> None:
    """Show what pip does until it ends."""
    ended = threading.Event()
    watcher: threading.Thread | None = None
    try:
        for line in lines:
            if progress.take(line):
                screen.show(progress.found, progress.text)
            if progress.unpacking and watcher is None:
                screen.end()
                of = (ended, progress.unpacking, unpacked(site), screen, site)
                watcher = threading.Thread(target=_watch, args=of)
                watcher.start()
    finally:
        ended.set()
        if watcher is not None:
            watcher.join()
        screen.end()


def _watch(ended: threading.Event, total: int, before: int, screen: Screen, site: Path) -> None:
    """While pip unpacks, it says nothing: count what lies there."""
    while not ended.wait(_POLL_S):
        done = min(total, unpacked(site) - before)
        screen.show(done, f"unpacking: {done} of {total} packages")


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


def reason(lines: Iterable[str]) -> str:
    """One sentence on why pip failed, or its own last words."""
    said = [line.strip() for line in lines]
    for pattern, sentence in _REASONS:
        if any(re.search(pattern, line) for line in said):
            return sentence
    errors = [line for line in said if line.startswith("ERROR")] or said[-3:]
    return "; ".join(errors[-2:])


def remembered(lines: Iterable[str], last: deque[str]) -> Iterator[str]:
    """The lines, of which the last ones are kept for a sentence on what went wrong."""
    for line in lines:
        last.append(line)
        yield line


def main(extra: str) -> int:
    """Install an extra. :return: pip's exit code."""
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile",
        "--progress-bar", "off", "--constraint", "constraints.txt", f".[{extra}]",
    ]  # fmt: skip
    began, last = time.monotonic(), deque[str](maxlen=_LAST_LINES)
    screen = Screen(sys.stderr.write, terminal=sys.stderr.isatty())
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PIP_NO_INPUT": "1"},
    ) as pip:
        assert pip.stdout is not None
        progress = InstallProgress(PACKAGES.get(extra, PACKAGES["dev"]))
        lines = remembered(pip.stdout, last)
        follow(lines, progress, screen, Path(sysconfig.get_path("purelib")))
    if pip.returncode:
        print(f"{reason(last)}. `make setup` tries again.", file=sys.stderr)
        return pip.returncode
    said = f"{progress.unpacking} packages" if progress.unpacking else "Nothing new"
    print(f"  {said} in {time.monotonic() - began:.0f} s.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
