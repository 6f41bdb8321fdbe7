"""The Dockerfile: a small image that is safe to run, and that holds all that a run needs."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.deploy import image
from tests.deploy.compose import ROOT

INSTRUCTIONS = image.instructions()
NAMES = [name for name, _ in INSTRUCTIONS]


def only(name: str) -> list[str]:
    return [rest for one, rest in INSTRUCTIONS if one == name]


def test_the_base_is_pinned_by_a_tag() -> None:
    (base,) = only("FROM")
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)


def test_the_process_is_not_root() -> None:
    assert only("USER") == ["headrace"]
    after = NAMES[NAMES.index("USER") :]
    assert not {"RUN", "COPY"} & {*after}
    assert any("useradd --uid 10001" in run for run in only("RUN"))


def test_packages_are_those_that_are_tested_and_are_compiled() -> None:
    (install,) = [run for run in only("RUN") if "pip install" in run]
    assert "--constraint constraints.txt '.[deploy]'" in install
    assert "PIP_NO_CACHE_DIR=1" in only("ENV")[0]
    compiled = [run for run in only("RUN") if "compileall" in run]
    assert len(compiled) == 2
    (version,) = re.findall(r"python:(3\.\d+)", only("FROM")[0])
    assert f"/usr/local/lib/python{version}" in compiled[0]


def test_a_package_that_fails_to_install_fails_the_build() -> None:
    (install,) = [run for run in only("RUN") if "pip install" in run]
    assert "||" not in install
    assert ";" not in install


def test_packages_come_before_the_code() -> None:
    install = INSTRUCTIONS.index(
        next(one for one in INSTRUCTIONS if one[0] == "RUN" and "pip install" in one[1])
    )
    before = [rest for name, rest in INSTRUCTIONS[:install] if name == "COPY"]
    assert before == ["pyproject.toml constraints.txt ./"]


def test_it_copies_by_name_and_says_how_it_is_healthy() -> None:
    assert "ADD" not in NAMES
    assert not [sources for sources, _ in image.copies() if "." in sources]
    assert len(only("HEALTHCHECK")) == len(only("CMD")) == 1
    assert only("WORKDIR") == [image.WORKDIR]
    assert " CMD [" in f" {only('HEALTHCHECK')[0]}"


def test_only_what_is_copied_reaches_the_build() -> None:
    copied = {source for sources, _ in image.copies() for source in sources}
    assert image.sent() == copied
    assert image.IGNORE_FILE.read_text().splitlines()[1] == "*"


def test_all_that_the_definitions_import_is_in_it(tmp_path: Path) -> None:
    image.build(tmp_path)
    code = tmp_path / "headrace"
    packages = {file.name for file in code.iterdir() if (file / "__init__.py").exists()}
    ours = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    imports = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
    named = {name for file in code.rglob("*.py") for name in imports.findall(file.read_text())}
    assert named & ours == packages


@pytest.mark.parametrize("package", ["dagster-celery", "dagster-k8s", "dagster-postgres"])
def test_dagsters_integrations_are_of_one_release(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {one.split("==")[0]: one for one in project["dependencies"]}
    release = pins["dagster-aws"].split("==")[1]
    assert f"{package}=={release}" in project["optional-dependencies"]["deploy"]
    assert f"{package}=={release}" in (ROOT / "constraints.txt").read_text().splitlines()
