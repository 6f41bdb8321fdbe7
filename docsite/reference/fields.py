"""What docstrings say of the fields of a dataclass: `:ivar name: meaning`."""

import inspect
import re

from docsite.reference.markdown import words

_IVAR = re.compile(r":ivar (\w+): (.*?)(?=\n\s*:|\Z)", re.DOTALL)


def meanings(of: type) -> dict[str, str]:
    """Maps each field that the docstring of ``of`` names to its meaning."""
    return {name: words(text) for name, text in _IVAR.findall(inspect.getdoc(of) or "")}


def about(of: type) -> str:
    """The first paragraph of a docstring."""
    return words((inspect.getdoc(of) or "").split("\n\n")[0])
