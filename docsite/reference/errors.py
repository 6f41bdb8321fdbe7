"""`docs/reference/errors.md`: the errors by their text, read from the source of the engine.

An error's text has what was found, what was expected and the remedy; values are shown as `…`.
"""

import ast
import inspect
import re
from collections.abc import Iterator

from docsite.pages import ROOT
from docsite.reference.markdown import words
from pipeline import errors

_SHORTEST = 30
_MARKS = re.compile(r"([<\[\]*_{}])")
_OF_YAML = "ValueError"
"""What the models raise when they read a YAML file; the user sees it with file and line."""
_WHO = {
    "Permanent": "No retry: it would fail in the same way.",
    "Retryable": "Dagster starts the step again after a wait, and the attempt resumes.",
}


def page() -> str:
    """The page."""
    lines = [
        "# Errors",
        "",
        "Search this page for the beginning of the message that you see. `…` stands for a value.",
        "Each text says what was found, what was expected, and what to do.",
        "",
    ]
    texts = messages()
    lines += [
        "## A mistake in a YAML file",
        "",
        "The message begins with the file and the line.",
        "",
    ]
    lines += [f"- {text}" for text in sorted(texts[_OF_YAML], key=str.casefold)] + [""]
    for kind in kinds():
        if not texts.get(kind.__name__):
            continue
        who = next(text for base, text in _WHO.items() if issubclass(kind, getattr(errors, base)))
        lines += [f"## {kind.__name__}", "", words(_first(kind)), who, ""]
        lines += [f"- {text}" for text in sorted(texts[kind.__name__], key=str.casefold)]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def kinds() -> list[type[errors.HeadraceError]]:
    """The leaves of the tree of errors, in its order."""
    found = [each for each in vars(errors).values() if inspect.isclass(each)]
    return [each for each in found if issubclass(each, errors.Permanent | errors.Retryable)]


def messages() -> dict[str, set[str]]:
    """Maps the name of each kind to the texts with which the engine raises it."""
    names = {_OF_YAML, *(each.__name__ for each in kinds())}
    found: dict[str, set[str]] = {}
    for folder in ("pipeline", "resources", "sourcetool", "commands"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and _name(node.func) in names:
                    text = " ".join("".join(_text(node.args[0])).split())
                    if len(text) >= _SHORTEST:
                        found.setdefault(_name(node.func), set()).add(_safe(text))
    return found


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _text(node: ast.expr) -> Iterator[str]:
    """The text of an expression; what is only known when it runs is `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _text(part)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _text(node.left)
        yield from _text(node.right)
    else:
        yield "…"


def _safe(text: str) -> str:
    """As Markdown: nothing of it is HTML, a link or emphasis; what is in backticks stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return "`` " + text + " ``"
    return "`".join(part if i % 2 else _MARKS.sub(r"\\\1", part) for i, part in enumerate(parts))


def _first(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0]
