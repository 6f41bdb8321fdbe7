"""``examples/another_project.py``: a code location of its own, beside Headrace's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator.testing import Emulator, running
from local.dagster_cli import dagster
from local.ports import free_port
from local.services import S3
from local.ui import wait_until_ready
from pipeline.lake.read import dataset
from tests.assets.project import Server, project, wait_for
from tests.assets.support import ROOT, SECRET, day

pytestmark = pytest.mark.slow


@pytest.fixture
def api() -> Iterator[Emulator]:
    with running(games=600, rows={"genres": 20}, client_secret=SECRET, until=day(0)) as emulator:
        yield emulator


def test_a_day_that_headrace_materializes_starts_the_same_day_there(
    tmp_path: Path, s3: S3, api: Emulator
) -> None:
    fresh = project(tmp_path / "two", s3, api)
    fresh.env["PYTHONPATH"] = str(ROOT)
    files = {"headrace": "definitions.py", "reports": "examples/another_project.py"}
    workspace = tmp_path / "workspace.yaml"
    entries = [
        {"relative_path": str(ROOT / file), "working_directory": str(ROOT), "location_name": name}
        for name, file in files.items()
    ]
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": e} for e in entries]}))
    port, log = free_port(), fresh.folder / "dagster.log"
    command = dagster("dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port))
    with fresh.started(command, log) as child:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(child, url, log)
        server = Server(url, log, child)
        wait_for(lambda: ticks(server), log=log)  # what was there before the first is not new
        run = server.launch(["games"], day(1))
        assert server.wait(run, "SUCCESS", "FAILURE") == "SUCCESS"
        (made,) = wait_for(lambda: materializations(server), log=log)
    assert made["partition"] == day(1)
    ratings = dataset(fresh.lake, "igdb", "games", day(1)).to_table()["rating"].to_pylist()
    shown = {one["label"]: one.get("intValue") for one in made["metadataEntries"]}
    assert shown["dagster/row_count"] == len([one for one in ratings if one is not None])


def materializations(server: Server) -> list[dict[str, Any]]:
    found = server.ask(QUERY)["assetNodes"]
    return [made for node in found for made in node["assetMaterializations"]]


def ticks(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask(TICKS)["sensorOrError"]["sensorState"]["ticks"]
    return [tick for tick in found if tick["status"] != "STARTED"]


TICKS = """{ sensorOrError(sensorSelector: {repositoryLocationName: "reports",
  repositoryName: "__repository__", sensorName: "automation"}) {
  ... on Sensor { sensorState { ticks(limit: 5) { status } } } } }"""
QUERY = """{ assetNodes(assetKeys: [{path: ["reports", "rated"]}]) {
  assetMaterializations { partition metadataEntries { label ... on IntMetadataEntry { intValue } } }
} }"""
