"""Pieces of Markdown, and what docstrings say of fields (``:ivar name: meaning``) as such."""

import inspect
import re
from collections.abc import Iterable, Sequence

_IVAR = re.compile(r":ivar (\w+): (.*?)(?=\n\s*:|\Z)", re.DOTALL)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; a ``|`` in a cell is escaped."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    return lines


def cell(text: str) -> str:
    """A text as one cell: in one line, with its ``|`` escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A text as code; empty stays empty."""
    return f"`{text}`" if text else ""


def words(docstring: str) -> str:
    """A docstring's text as Markdown: double backticks become single ones."""
    return " ".join(docstring.split()).replace("``", "`")


def meanings(of: type) -> dict[str, str]:
    """Maps each field that the docstring of ``of`` names to its meaning."""
    return {name: words(text) for name, text in _IVAR.findall(inspect.getdoc(of) or "")}
