"""The UI's server and the daemon: runs side by side, a backfill, a run that is terminated."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.testing import Emulator, running
from local.browser import browser
from local.dagster_cli import dagster
from local.services import S3
from pipeline.lake.read import dataset, manifests
from tests.assets.project import Project, Server, is_staged, project, served, wait_for
from tests.assets.support import FIRST_BACK, SECRET, day, day_s

pytestmark = pytest.mark.slow
ENDS = ("SUCCESS", "FAILURE", "CANCELED")
GAMES = 20_000
CHANGED = 3_000
IN_FLIGHT = 8


@pytest.fixture(scope="module")
def api() -> Iterator[Emulator]:
    with running(
        games=GAMES, rows={"genres": 20, "themes": 15, "covers": 30, "age_ratings": 40},
        client_secret=SECRET, until=day(FIRST_BACK - 1), warm=["games"],
    ) as emulator:  # fmt: skip
        yield emulator


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, s3: S3, api: Emulator) -> Project:
    return project(tmp_path_factory.mktemp("dag-dev"), s3, api)


@pytest.fixture(scope="module")
def server(fresh: Project) -> Iterator[Server]:
    with served(fresh) as found:
        yield found


def test_a_terminated_run_stops_at_once_and_a_new_one_goes_on(
    fresh: Project, server: Server, api: Emulator
) -> None:
    api.reset()
    first = server.launch(["games"], day(FIRST_BACK))
    wait_for(lambda: api.stats()["requests"] >= 20, log=server.log)
    wait_for(lambda: is_staged(fresh.lake, "games", day(FIRST_BACK)), log=server.log)
    api.faults({"kind": "stall"})  # no response ends any more: a run that waits for one stays
    wait_for(lambda: api.stats()["open"], log=server.log)
    sent = api.stats()["requests"]
    server.terminate(first)
    assert server.wait(first, *ENDS) == "CANCELED"
    wait_for(lambda: api.stats()["open"] == 0, log=server.log)
    assert api.stats()["requests"] <= sent + IN_FLIGHT, "nothing is retried, and no page follows"
    api.clear_faults()
    baseline = [day(FIRST_BACK)]
    assert not list(manifests(fresh.lake, "igdb", "games", baseline))
    second = server.launch(["games"], day(FIRST_BACK))
    assert server.wait(second, *ENDS) == "SUCCESS"
    (manifest,) = manifests(fresh.lake, "igdb", "games", baseline)
    assert manifest.resumed_pages >= 4  # a batch of 2,000 rows, at least
    ids = dataset(fresh.lake, "igdb", "games", baseline).to_table(columns=["id"])["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert set(ids) >= {
        row["id"] for row in api.rows("games", f"updated_at < {day_s(FIRST_BACK - 1)}")
    }


def test_four_runs_at_once_share_one_budget(fresh: Project, server: Server, api: Emulator) -> None:
    days = [day(back) for back in (5, 4, 3, 2)]
    for one in days:
        api.touch("games", count=CHANGED, updated_at=f"{one}T12:00:00+00:00")
    api.reset()
    runs = [server.launch(["games"], one) for one in days]
    assert [server.wait(run, *ENDS) for run in runs] == ["SUCCESS"] * 4
    stats = api.stats()
    assert stats["max_in_1s"] <= 4
    # A process that a busy machine stalls between its slot and its send leaves late. If each run
    # had the quota to itself, three of four requests were refused.
    assert stats["throttled"] <= len(runs)
    assert {each.partition for each in manifests(fresh.lake, "igdb", "games")} >= set(days)


def test_a_backfill_from_the_command_line_is_done_by_the_daemon(
    fresh: Project, server: Server
) -> None:
    days = [day(back) for back in (FIRST_BACK, FIRST_BACK - 1)]
    code, said = fresh.run(
        dagster(
            "job", "backfill", "-w", "workspace.yaml", "-j", "igdb_daily", "--from", days[0],
            "--to", days[-1], "--noprompt",
        )
    )  # fmt: skip
    assert code == 0, said

    def filled() -> list[dict[str, Any]]:
        found = server.ask(RUNS)["runsOrError"]["results"]
        return [run for run in found if {"key": "dagster/backfill"} in run["tags"]]

    def finished() -> bool:
        found = filled()
        assert not [run for run in found if run["status"] == "FAILURE"]
        return bool(found) and all(run["status"] == "SUCCESS" for run in found)

    wait_for(finished, 180, server.log)
    assert len(filled()) <= len(days)
    for name in ("genres", "themes"):
        made = {each.partition for each in manifests(fresh.lake, "igdb", name)}
        assert made >= set(days)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_asset_graph_and_a_materialization_show_in_a_browser(server: Server) -> None:
    yesterday = day(1)  # asked for once: midnight may pass meanwhile
    assert server.wait(server.launch(["genres"], yesterday), *ENDS) == "SUCCESS"
    server.ask("mutation { setNuxSeen }")
    with browser() as page:
        page.open(f"{server.url}/locations/headrace/asset-groups/igdb/lineage", "% filled")
        assert "covers" in page.text()
        view = f"view=partitions&partition={yesterday}"
        page.open(f"{server.url}/assets/igdb/genres?{view}", "watermark")
        assert "requests_over_time" in page.text()
        assert "Show Markdown" not in page.text(), "pictures are shown in place"
        drawn = "[...document.querySelectorAll('img[src^=\"data:image/svg\"]')]"
        widths = page.evaluate(f"{drawn}.map(image => image.naturalWidth)")
        assert len(widths) == 4
        assert all(widths)


RUNS = """{ runsOrError {
  ... on Runs { results { status tags { key } } } } }"""
