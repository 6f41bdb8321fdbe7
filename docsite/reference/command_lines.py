"""`docs/reference/commands.md`: what `make`, `./headrace` and `sourcetool` say of themselves."""

import argparse
import re
from collections.abc import Iterator

from commands.__main__ import _parser as headrace_parser
from docsite.pages import ROOT
from docsite.reference.markdown import code, table
from sourcetool.__main__ import _parser as sourcetool_parser

_TARGET = re.compile(r"^([a-z-]+):.*## (.*)$", re.MULTILINE)
_WIDTH = 96


def page() -> str:
    """The page."""
    lines = [
        "# Commands",
        "",
        "## make",
        "",
        "Each target sets up `.venv` by itself. `ARGS` passes further arguments.",
        "",
        *table(("target", "meaning"), targets()),
        "",
        "## ./headrace",
        "",
        "See a lake, query it, and load it. Exit codes: 0 done, 1 something is wrong with the",
        "data, 2 the command could not run.",
        "",
        *_verbs(headrace_parser(), "./headrace"),
        "## python -m sourcetool",
        "",
        "Tools for authors of sources; `make new-source` and `make check-source` call them.",
        "",
        *_verbs(sourcetool_parser(), "python -m sourcetool"),
    ]
    return "\n".join(lines).rstrip() + "\n"


def targets() -> list[tuple[str, str]]:
    """Each target of the Makefile that says what it is for."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return [(code(f"make {name}"), about) for name, about in _TARGET.findall(text)]


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a program, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _verbs(parser: argparse.ArgumentParser, program: str) -> Iterator[str]:
    for name, verb in verbs(parser).items():
        verb.prog = f"{program} {name}"
        verb.formatter_class = _Formatter
        yield from (f"### {program} {name}", "", "```text", verb.format_help().rstrip(), "```", "")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Of one width, whatever the terminal's."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)
