"""Headrace in a Dagster project of somebody else: `dg` as its users type it, over a real lake."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets.component import SourceAttributes, attributes_of
from local.instance import create_storage
from local.paths import ROOT
from local.services import S3
from pipeline.config.loader import source_of_text
from pipeline.errors import ConfigError
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import serving

pytestmark = pytest.mark.slow
TYPE = "assets.component.SourceComponent"
PYPROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "shopping"
registry_modules = ["assets.component"]
[tool.dg.cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder
@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
ATTRIBUTES = """type: assets.component.SourceComponent
attributes:
  source: shop
  description: a shop
  base_url: ${SHOP_URL}
  start: 2026-11-01
  budgets_key_is_here: no
  endpoints:
    things:
      description: what the shop sells
      paging: {kind: none}
      whole: true
      key: [id]
      columns: {id: int64}
"""
IN_A_FILE = """source: stock
base_url: ${SHOP_URL}
start: 2026-11-01
owners: [team:shop]
endpoints:
  things: {paging: {kind: none}, whole: true, key: [id], columns: {id: int64}}
"""


@dataclass
class DgProject:
    """A project made as `dg` makes one, with Headrace on its PYTHONPATH."""

    folder: Path
    env: dict[str, str]

    def dg(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [Path(sys.executable).parent / "dg", *arguments],
            cwd=self.folder, env=self.env, check=False, text=True, timeout=240,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def write(self, name: str, text: str) -> Path:
        file = self.folder / "shopping" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


@pytest.fixture
def shop(tmp_path: Path, s3: S3) -> Iterator[DgProject]:
    async def things(_: Request) -> Response:
        return json_answer([{"id": 1}, {"id": 2}])

    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    create_storage(tmp_path / "home")
    with serving(Starlette(routes=[Route("/things", things)])) as url:
        env = {
            **os.environ,
            **s3.env(),
            "DAGSTER_HOME": str(tmp_path / "home"),
            "HEADRACE_LAKE": f"s3://lake/{tmp_path.name}",
            "HEADRACE_BUDGET": str(tmp_path / "budget"),
            "SHOP_URL": url,
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "COLUMNS": "300",
        }
        project = DgProject(folder, env)
        project.write("__init__.py", "")
        project.write("definitions.py", DEFINITIONS)
        project.write("defs/__init__.py", "")
        yield project


def good(text: str) -> str:
    return text.replace("  budgets_key_is_here: no\n", "")


@pytest.mark.timeout(600)
def test_a_source_is_a_component(shop: DgProject, s3: S3) -> None:
    shop.write("defs/shop/defs.yaml", good(ATTRIBUTES))
    shop.write("defs/stock/defs.yaml", f"type: {TYPE}\nattributes: {{file: stock.yaml}}\n")
    shop.write("defs/stock/stock.yaml", IN_A_FILE)
    shop.write("defs/headrace/defs.yaml", "type: assets.component.OperationsComponent\n")
    code, said = shop.dg("check", "defs")
    assert code == 0, said
    assert "All component YAML validated successfully." in said
    code, said = shop.dg("list", "defs", "--json")
    assert code == 0, said
    names = ("shop/things", "stock/things", "shop_daily", "stock_sync", "lost_runs", "maintenance")
    assert [name for name in names if f'"{name}"' not in said] == []
    code, said = shop.dg("launch", "--assets", "shop/things")
    assert code == 0, said
    lake = Lake(s3.client(), shop.env["HEADRACE_LAKE"])
    (manifest,) = manifests(lake, "shop", "things")
    assert manifest.rows == 2


def test_a_mistake_in_the_attributes_is_said_with_its_line(shop: DgProject) -> None:
    file = shop.write("defs/shop/defs.yaml", ATTRIBUTES)
    code, said = shop.dg("check", "yaml")
    assert code != 0
    line = ATTRIBUTES.splitlines().index("  budgets_key_is_here: no") + 1
    assert f"{file}:{line}" in said
    assert "budgets_key_is_here" in said
    with pytest.raises(ConfigError) as why:
        source_of_text(str(file), attributes_of(file, "shop"), {"SHOP_URL": "http://shop.test"})
    assert str(why.value).startswith(f"{file}:{line}: budgets_key_is_here: ")


def test_file_and_attributes_together_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"expected `file` alone.*found both: `source`"):
        SourceAttributes.model_validate({"file": "shop.yaml", "source": "shop"})


def test_what_is_scaffolded_loads(shop: DgProject) -> None:
    code, said = shop.dg("scaffold", "defs", TYPE, "shelves")
    assert code == 0, said
    assert (shop.folder / "shopping/defs/shelves/shelves.yaml").exists()
    code, said = shop.dg("list", "defs", "--json")
    assert code == 0, said
    assert '"shelves/things"' in said
