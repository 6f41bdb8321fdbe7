"""The pages of docs/reliability name tests that exist, and all tests of tests/faults."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from local.paths import ROOT

PAGES = ROOT / "docs" / "reliability"
FAULTS = Path(__file__).parents[1] / "faults"
SAYING = ("pipeline", "assets", "resources", "commands", "sourcetool", "definitions.py")
"""What has sentences for a user."""
NOT_OURS = {
    "child process for step igdb_extract unexpectedly exited",  # Dagster's
    "Can't locate revision identified by",  # Alembic's
    "dagster instance migrate",  # a command
}
LEAST_WORDS = 3
"""A fragment of fewer words is in some text by chance."""


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The test functions of a file, as pytest would collect them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


def named() -> list[tuple[str, str]]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md")))
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def test_every_test_that_is_named_exists() -> None:
    assert named()
    for path, name in named():
        assert (ROOT / path).is_file(), path
        assert name in functions_of(ROOT / path), f"{path}::{name}"


def test_every_test_of_faults_is_named() -> None:
    have = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sorted(FAULTS.glob("test_*.py"))
        for name in functions_of(path)
    }
    assert have - set(named()) == set()


def quotes() -> Iterator[tuple[str, str]]:
    """The page, and what its rows quote of what is seen: the last column but one, in backticks."""
    for page in sorted(PAGES.glob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("|") and "::" in line:
                shown = re.split(r" \| ", line.strip("| "))[-2]
                for quote in re.findall(r"``\s?(.+?)\s?``(?!`)|`([^`]+)`", shown):
                    yield page.name, "".join(quote)


def fragments(quote: str) -> list[str]:
    """What of a quote stands in the code as it is: between numbers, and ``…`` for what varies."""
    parts = [part.strip(" .:,;()`") for part in re.split(r"…|\b\d[\d,.]*\b", quote)]
    return [part for part in parts if len(part.split()) >= LEAST_WORDS]


@cache
def texts_of_the_code() -> str:
    """Every string of the code, also those between the placeholders of an f-string."""
    files = [
        file for name in SAYING for file in ROOT.glob(name if "." in name else f"{name}/**/*.py")
    ]
    return "\n".join(
        " ".join(node.value.replace("{{", "{").replace("}}", "}").split())
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_the_sentences_that_are_quoted_are_said() -> None:
    said_nowhere = [
        (page, part)
        for page, quote in quotes()
        for part in fragments(quote)
        if part not in texts_of_the_code() and part not in NOT_OURS
    ]
    assert said_nowhere == [], "quote the code, with `…` for what varies"
    assert fragments("after 6 tries") == []
    assert fragments("no answer in time … tries") == ["no answer in time"]
    assert "no answer in time" not in texts_of_the_code()
