"""Each family of kinds has a test of its seam, and CONTRIBUTING.md says where to begin.

The tests themselves are in ``tests/seams``: each adds a kind from its own file through the registry
alone, reads a partition with it over real HTTP into a real S3, and resumes it.
"""

import inspect
import sys
from itertools import groupby
from textwrap import dedent
from typing import Any

import pytest

from local.paths import ROOT
from pipeline.kinds import Kinds
from tests.test_architecture import FAMILIES

SEAMS = sorted((ROOT / "tests" / "seams").glob("test_*.py"))
DOOR = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def registry_name(kinds: Kinds[Any]) -> str:
    home = sys.modules[kinds.base.__module__]
    return next(name for name, value in vars(home).items() if value is kinds)


@pytest.mark.parametrize("kinds", FAMILIES, ids=lambda kinds: kinds.family)
def test_a_family_has_a_test_of_its_seam(kinds: Kinds[Any]) -> None:
    name = registry_name(kinds)
    of_family = [file.name for file in SEAMS if name in file.read_text(encoding="utf-8")]
    assert of_family, f"no test in tests/seams uses {name}"
    assert any(f"`{name}` | `tests/seams/{file}`" in DOOR for file in of_family)


def example_of(kinds: Kinds[Any]) -> str:
    """The code that adds a kind, as the docstring of the base or of its module shows it."""
    for text in (kinds.base.__doc__, sys.modules[kinds.base.__module__].__doc__):
        lines = inspect.cleandoc(text or "").splitlines()
        for code, block in groupby(lines, lambda line: not line or line.startswith("    ")):
            example = dedent("\n".join(block))
            if code and f"{registry_name(kinds)}.register(" in example:
                return example
    raise AssertionError(f"no docstring shows a kind of {kinds.family}")


def stubs_of(base: type) -> set[str]:
    """What a kind has to say itself: without it, only a run would fail."""
    members = {name: getattr(value, "fget", value) for name, value in vars(base).items()}
    bodies = {n: inspect.getsource(f) for n, f in members.items() if inspect.isfunction(f)}
    return {n for n, text in bodies.items() if text.rstrip().endswith("raise NotImplementedError")}


@pytest.mark.parametrize("kinds", FAMILIES, ids=lambda kinds: kinds.family)
def test_the_example_of_a_base_is_a_whole_kind(kinds: Kinds[Any]) -> None:
    example, abridged, _ = example_of(kinds).partition("…")
    names: dict[str, Any] = {"__name__": "example"}
    if abridged:  # an object store is a hundred lines: the test of its seam has them all
        names = {**vars(sys.modules[kinds.base.__module__]), **names}
    before = set(kinds.names)
    try:
        exec(compile(example, "example", "exec", dont_inherit=True), names)  # noqa: S102
        (added,) = set(kinds.names) - before
        kind = kinds[added]
        missing = {n for n in stubs_of(kinds.base) if getattr(kind, n) is getattr(kinds.base, n)}
        assert missing == set()
        assert inspect.isabstract(kind) == bool(abridged)
    finally:
        for name in set(kinds.names) - before:
            kinds.forget(name)
