"""`python docs/images/terminal.py`: run `make demo`, and draw its output as `demo.svg` beside this.

The picture is the demo's own output in its colours; long lines are cut. No font is fetched.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("demo.svg")
WIDTH = 112
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def recorded() -> str:
    """The demo's output, with the colours of a terminal."""
    command = [sys.executable, "-m", "local", "demo"]
    env = {**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def draw(text: str) -> str:
    """An SVG of a terminal with this text in it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("[bold green]$[/] make demo")
    for line in Text.from_ansi(text).split(allow_blank=True):
        line.truncate(WIDTH, overflow="ellipsis")
        console.print(line, highlight=False)
    svg = _FONT_FACE.sub("", console.export_svg(title="make demo", theme=MONOKAI))
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


def main() -> None:
    FILE.write_text(draw(recorded()), encoding="utf-8")


if __name__ == "__main__":
    main()
