"""What a component in Python leaves: a module that imports, and says what each has to do."""

import importlib
import io
import json
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.pagination.page import PageInfo, PageRequest
from sourcetool.import_source import import_source
from sourcetool.importers.airbyte import convert
from sourcetool.importers.manifest import manifest_of
from sourcetool.importers.render import render
from tests.sourcetool.manifests import Data, manifest, stream

SIGNED = stream("signed", authenticator={"type": "Custom", "class_name": "source_shop.c.OwnSigner"})
PAGED = stream("paged", paginator={"type": "Custom", "class_name": "source_shop.c.OwnPages"})
SHAPED = stream(
    "shaped", transformations=[{"type": "Custom", "class_name": "source_shop.c.Flatten"}]
)
SLICED = stream("sliced", partition_router={"class_name": "source_shop.c.OwnRouter"})


def imported(document: Data, folder: Path) -> tuple[int, str]:
    file = folder / "shop.yaml"
    file.write_text(json.dumps(document))
    out = io.StringIO()
    console = Console(file=out, width=400)
    code = import_source(str(file), None, "shop", str(folder / "stubbed"), [], console)
    return code, out.getvalue()


def test_each_component_in_python_leaves_a_stub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = imported(manifest(stream(), SIGNED, PAGED, SHAPED, SLICED), tmp_path)
    assert code == 0
    assert "shop_components.py says what its components in Python have to do" in said
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("stubbed.shop_components")
    flow = module.OwnSigner("k").auth_flow(httpx.Request("GET", "http://127.0.0.1:1"))
    with pytest.raises(NotImplementedError, match="what OwnSigner puts there"):
        next(flow)
    with pytest.raises(NotImplementedError, match=r"dataclasses\.replace"):
        module.own_pages(PageRequest(10), PageInfo(10))
    with pytest.raises(NotImplementedError, match="from_pylist"):
        module.flatten(pa.table({"id": [1]}))
    text = Path(str(module.__file__)).read_text()
    assert "transform: stubbed.shop_components:flatten" in text
    assert "# source_shop.c.OwnRouter (partition_router) of sliced: nothing in the YAML" in text


def test_a_connector_of_python_alone_leaves_its_stub_and_no_yaml(tmp_path: Path) -> None:
    code, said = imported(manifest(SIGNED), tmp_path)
    assert code == 2
    assert "can be said in the YAML" in said
    assert [file.name for file in (tmp_path / "stubbed").iterdir()] == ["shop_components.py"]


def test_a_stub_that_was_filled_in_stays(tmp_path: Path) -> None:
    (tmp_path / "stubbed").mkdir()
    mine = tmp_path / "stubbed" / "shop_components.py"
    mine.write_text("mine = 1\n")
    _, said = imported(manifest(stream(), SIGNED), tmp_path)
    assert "is there, and stays" in said
    assert mine.read_text() == "mine = 1\n"


def test_without_python_there_is_no_stub(tmp_path: Path) -> None:
    imported(manifest(stream()), tmp_path)
    assert [file.name for file in (tmp_path / "stubbed").iterdir()] == ["shop.yaml"]


def test_a_newer_version_is_said(tmp_path: Path) -> None:
    newer = convert(manifest_of(manifest(stream()) | {"version": "9.1.0"}, "shop"))
    assert "the manifest is of version 9.1.0, and those up to 7 are known here" in " ".join(
        newer.notes
    )
    assert "9.1.0" in render(newer, "x")
    assert not convert(manifest_of(manifest(stream()), "shop")).notes
