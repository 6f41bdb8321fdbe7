"""The pages of docs/reliability name tests that exist, and all tests of tests/faults."""

import ast
import re
from functools import cache
from pathlib import Path

from local.paths import ROOT

PAGES = ROOT / "docs" / "reliability"
FAULTS = Path(__file__).parents[1] / "faults"


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
