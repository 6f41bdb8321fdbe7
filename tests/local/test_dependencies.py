"""What is installed: a lower bound for each dependency, and constraints that fit all of them."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from local.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [
    (where, Requirement(text))
    for where, texts in {"": PROJECT["dependencies"], **EXTRAS}.items()
    for text in texts
    if not text.startswith("headrace[")
]
LEAST = {
    "aiohttp": "3.14.3",
    "boto3": "1.36",
    "jinja2": "3.1.6",
    "orjson": "3.11.5",
    "pydantic": "2.10",
    "starlette": "0.49.1",
    "urllib3": "2.6",
}
"""Where a known vulnerability is mended, or what the code calls is there."""


def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = (line.split("#")[0].split("==") for line in lines if "==" in line.split("#")[0])
    return {canonicalize_name(name.strip()): Version(version.strip()) for name, version in pairs}


@pytest.mark.parametrize(
    ("where", "wanted"), WANTED, ids=lambda each: str(each) if isinstance(each, str) else each.name
)
def test_each_dependency_has_a_lower_bound_that_the_constraints_keep(
    where: str, wanted: Requirement
) -> None:
    assert any(each.operator in (">=", "==", "~=") for each in wanted.specifier), wanted
    tested = constraints()[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(tested, prereleases=True), (wanted, tested)


@pytest.mark.parametrize("name", LEAST)
def test_no_version_with_a_known_vulnerability_is_taken(name: str) -> None:
    bounds = [each for _, each in WANTED if canonicalize_name(each.name) == name]
    assert bounds
    for each in bounds:
        least = max(Version(one.version) for one in each.specifier if one.operator != "<")
        assert least >= Version(LEAST[name])


def test_each_package_runs_on_the_oldest_python_that_the_readme_names() -> None:
    """Debian's Python 3.11 is 3.11.2: a package for 3.11.5 can't be installed there."""
    oldest = next(iter(SpecifierSet(PROJECT["requires-python"]))).version + ".0"
    newer = {
        each.metadata["Name"]: wanted
        for each in distributions()
        if (wanted := each.metadata["Requires-Python"])
        and canonicalize_name(each.metadata["Name"]) in constraints()
        and not SpecifierSet(wanted).contains(oldest)
    }
    assert newer == {}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_each_extra_installs_under_the_constraints(extra: str) -> None:
    target = f"{ROOT}[{extra}]" if extra else str(ROOT)
    options = ["install", "--dry-run", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    if shutil.which("uv"):
        command = ["uv", "pip", *options, "--python", sys.executable, target]
    else:
        command = [sys.executable, "-m", "pip", *options, target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("there is neither uv nor pip")
    assert done.returncode == 0, done.stderr
