"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence


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
