"""What is installed: a lower bound for each dependency, and constraints that fit all of them."""

import re
import tomllib
from importlib.metadata import distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from local.install import pins, requirements
from local.paths import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
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
    pins = (re.split("[#;]", line)[0].split("==") for line in lines)
    pairs = (pin for pin in pins if len(pin) == 2)
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
        if "Requires-Python" in each.metadata
        and (wanted := each.metadata["Requires-Python"])
        and canonicalize_name(each.metadata["Name"]) in constraints()
        and not SpecifierSet(wanted).contains(oldest)
    }
    assert newer == {}


def needed_by(extra: str) -> list[Requirement]:
    """The closure of an extra, as the packages of this environment say it."""
    waiting = [Requirement(text) for text in requirements(PYPROJECT, extra)]
    needed: list[Requirement] = []
    walked = set[tuple[str, ...]]()
    while waiting:
        wanted = waiting.pop()
        needed.append(wanted)
        if (wanted.name, *wanted.extras) in walked:
            continue
        walked.add((wanted.name, *wanted.extras))
        for need in map(Requirement, requires(wanted.name) or []):
            extras = ("", *wanted.extras)
            if need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras):
                waiting.append(need)
    return needed


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_can_be_installed_under_the_constraints(extra: str) -> None:
    tested = constraints()
    misfits = [
        str(wanted)
        for wanted in needed_by(extra)
        if (version := tested.get(canonicalize_name(wanted.name))) is not None
        and not wanted.specifier.contains(version, prereleases=True)
    ]
    assert misfits == []


def test_the_sections_of_the_constraints_are_what_their_extras_need() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    of_venv = {"pip", "setuptools"}
    of_demo, of_dev = (
        {canonicalize_name(pin.split("==")[0]) for pin in pins(text, extra)}
        for extra in ("demo", "dev")
    )
    assert of_demo < of_dev
    assert {canonicalize_name(each.name) for each in needed_by("demo")} - of_venv == of_demo
    assert {canonicalize_name(each.name) for each in needed_by("dev")} - of_venv <= of_dev
