"""docs/reliability.md names tests that exist, and all tests of this folder."""

import ast
import re
from functools import cache
from pathlib import Path

from local.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"
HERE = Path(__file__).parents[1] / "faults"


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The test functions of a file, as pytest would collect them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


def named() -> list[tuple[str, str]]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def test_every_test_that_is_named_exists() -> None:
    assert named()
    for path, name in named():
        assert (ROOT / path).is_file(), path
        assert name in functions_of(ROOT / path), f"{path}::{name}"


def test_every_test_of_faults_is_named() -> None:
    have = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sorted(HERE.glob("test_*.py"))
        for name in functions_of(path)
    }
    assert have - set(named()) == set()
