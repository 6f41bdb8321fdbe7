"""``catalogue`` and ``new --from``, as commands."""

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.config import load_source
from sourcetool.__main__ import main
from sourcetool.catalogue import catalogue
from tests.sourcetool.manifests import manifest, stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "manifests"
    found.mkdir()
    in_xml = stream("rates", decoder={"type": "XmlDecoder"})
    python = stream("odd", transformations=[{"type": "X", "class_name": "source_odd.X"}])
    (found / "whole.yaml").write_text(yaml.safe_dump(manifest(stream())))
    (found / "part.yaml").write_text(yaml.safe_dump(manifest(stream(), in_xml, stream("more"))))
    (found / "none.yaml").write_text(yaml.safe_dump(manifest(python)))
    (found / "other.yaml").write_text("a: 1")
    return found


def test_the_figures_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["totals"] == {
        "files": 4,
        "connectors": 3,
        "connectors_whole": 1,
        "connectors_with_own_python": 1,
        "streams": 5,
        "streams_loaded": 3,
        "streams_with_own_python": 1,
        "columns_left_out": 0,
    }
    reasons = {one["ability"]: (one["streams"], one["connectors"]) for one in found["reasons"]}
    assert reasons == {"format": (1, 1), "python": (1, 1)}
    connectors = {one["name"]: one for one in found["connectors"]}
    assert connectors["part"]["loaded"] == 2
    assert list(connectors["part"]["left_out"]) == ["rates"]
    assert connectors["whole"]["whole"]
    assert "expected a declarative manifest" in connectors["other"]["problem"]


def test_the_figures_as_a_table_and_as_a_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalogue", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "3 of 5 streams convert and load: 75.0% of the 4 without Python of their own" in text
    assert "1 of 3 connectors do so whole: 50.0% of the 2" in text
    assert main(["catalogue", str(folder), "--markdown"]) == 0
    assert "| part | 3 | 2 | format |" in capsys.readouterr().out


def test_a_folder_without_manifests(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    assert catalogue(str(tmp_path), "table", console) == 2
    assert "expected a folder with manifests" in console.export_text()


def test_a_new_source_from_a_manifest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = tmp_path / "sources"
    given = ["new", "--from", str(folder / "part.yaml"), "--folder", str(sources)]
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "part.yaml: 2 of 3 endpoints. Next: set PART_START, then make check-source" in said
    assert "the YAML can't say a response that is not JSON" in said
    source = load_source(sources / "part.yaml", {"PART_START": "2026-11-01"})
    assert list(source.endpoints) == ["things", "more"]
    assert main(given) == 2
    assert "is there already" in capsys.readouterr().out
    assert main([*given, "--name", "shop", "--endpoints", "more"]) == 0
    source = load_source(sources / "shop.yaml", {"SHOP_START": "2026-11-01"})
    assert list(source.endpoints) == ["more"]
    capsys.readouterr()
    assert main([*given, "--name", "third", "--endpoints", "rates"]) == 2
    assert "rates can't be said in the YAML: decoder" in capsys.readouterr().out
    assert not (sources / "third.yaml").exists()


def test_new_wants_something_to_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["new"])
    assert "expected a URL, --from FILE or --curl" in capsys.readouterr().err
