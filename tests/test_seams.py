"""Each family of kinds has a test of its seam, and CONTRIBUTING.md says where to begin.

The tests themselves are in ``tests/seams``: each adds a kind from its own file through the registry
alone, reads a partition with it over real HTTP into a real S3, and resumes it.
"""

import sys
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


@pytest.mark.parametrize("kinds", FAMILIES, ids=lambda kinds: kinds.family)
def test_a_base_shows_an_example_to_paste(kinds: Kinds[Any]) -> None:
    text = f"{kinds.base.__doc__} {sys.modules[kinds.base.__module__].__doc__}"
    assert f"{registry_name(kinds)}.register(" in text
