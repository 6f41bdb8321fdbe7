"""``./headrace load`` and ``state reload``, through Dagster, from a real API into a real S3."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunsFilter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from commands.__main__ import main
from local.services import S3
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.run.deletions import recorded_sweeps
from tests.support.responses import json_answer
from tests.support.runs import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DAYS = ["2026-11-01", "2026-11-02"]
YAML = """
source: shop
base_url: {url}
start: 2026-11-01
endpoints:
  things:
    request: {{params: {{from: "{{start}}", to: "{{end}}"}}}}
    key: [id]
    cursor: at
    sweep: true
    columns: {{id: int64, at: "timestamp[iso]", name: string}}
"""


@pytest.fixture
def rows(
    lake: Lake, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[dict[str, object]]]:
    """The rows of an API, whose source is all that the commands see."""
    found: list[dict[str, object]] = [
        {"id": n, "at": f"2026-11-0{1 + n % 2}T0{n}:00:00Z", "name": "old"} for n in range(6)
    ]

    async def things(request: Request) -> Response:
        begin, end = request.query_params.get("from", ""), request.query_params["to"]
        return json_answer([row for row in found if begin <= str(row["at"]) < end])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        (tmp_path / "shop.yaml").write_text(YAML.format(url=url))
        for name, value in {
            **s3.env(),
            "HEADRACE_LAKE": lake.root,
            "HEADRACE_SOURCES": str(tmp_path / "shop.yaml"),
            "HEADRACE_BUDGET": str(tmp_path / "budgets"),
            "DAGSTER_HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "temporary"),
        }.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "home").mkdir()
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", None)  # TMPDIR is read anew
        yield found
    tempfile.tempdir = None


def names(lake: Lake) -> set[tuple[str, str]]:
    table = dataset(lake, "shop", "things", dt=True).to_table()
    return {(row["dt"], row["name"]) for row in table.to_pylist()}


def test_days_are_loaded_and_one_is_read_again(
    lake: Lake, rows: list[dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", "shop/things", "--days", "...".join(DAYS)]) == 0
    said = capsys.readouterr().out
    assert "3 rows in 1 file, generation" in said
    assert "Done in " in said
    assert "\r" not in said, "a bar is for a terminal"
    assert names(lake) == {(day, "old") for day in DAYS}
    for row in rows:
        row["name"] = "new"
    assert main(["state", "reload", "shop/things", "--days", DAYS[0], "--yes"]) == 0
    assert names(lake) == {(DAYS[0], "new"), (DAYS[1], "old")}
    capsys.readouterr()
    rows.append({"id": 6, "at": f"{DAYS[0]}T23:59:59Z", "name": "new"})
    assert main(["load", "shop/things", "--days", DAYS[1], "--json"]) == 0
    printed = capsys.readouterr()
    [line] = printed.out.splitlines()
    assert json.loads(line)["partition"] == DAYS[1]
    assert f"things {DAYS[1]}: committed, 4 rows (1 late) in 1 file, generation" in printed.err
    assert names(lake) == {(day, "new") for day in DAYS}
    assert main(["verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"source": "shop", "endpoint": "things", "files": 2, "damaged": []}
    assert [*(tmp_path / "temporary").iterdir()] == [], "a success leaves nothing behind"


def test_a_sweep_says_to_a_program_how_many_keys_are_gone_and_back(
    lake: Lake, rows: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    def swept() -> dict[str, object]:
        capsys.readouterr()
        assert main(["sweep", "shop/things", "--json"]) == 0
        [line] = capsys.readouterr().out.splitlines()
        return dict(json.loads(line))

    rows.extend(
        {"id": n, "at": f"{DAYS[0]}T12:00:00Z", "name": "old"} for n in range(10, 32)
    )  # a sweep that misses more than a tenth reads again minutes later
    assert main(["load", "shop/things", "--days", "...".join(DAYS)]) == 0
    one = rows.pop()
    first = swept()
    assert (first["source"], first["endpoint"]) == ("shop", "things")
    assert (first["gone"], first["back"]) == (1, 0)
    assert first["swept_at"] in recorded_sweeps(lake, "shop", "things")
    assert swept() == first | {"swept_at": None, "gone": 0}, "nothing new, nothing recorded"
    rows.append(one)
    assert swept() | {"swept_at": None} == first | {"swept_at": None, "gone": 0, "back": 1}


def test_a_backfill_says_to_a_program_what_it_is_called(
    lake: Lake, rows: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backfill", "shop", "--days", "...".join(DAYS), "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    queued = json.loads(line)
    assert (queued["job"], queued["first"], queued["last"]) == ("shop_daily", *DAYS)
    with DagsterInstance.get() as instance:
        runs = instance.get_runs(RunsFilter(tags={"dagster/backfill": queued["backfill"]}))
    assert sorted(run.tags["dagster/partition"] for run in runs) == DAYS


def test_a_run_that_fails_ends_with_its_sentences_and_keeps_its_log(
    lake: Lake, rows: list[dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.append(rows[0] | {"name": "another"})
    assert main(["load", "shop/things", "--days", DAYS[0]]) == 1
    said = capsys.readouterr().err
    head, sentence = said.splitlines()
    named = re.fullmatch(r"headrace: Dagster ended with exit code 1; its whole log is (.*)\.", head)
    assert named is not None
    assert sentence.startswith(f"shop/things {DAYS[0]}: page: Two rows share the key")
    assert "such as `name`: add it to `key`" in sentence
    assert 'File "' not in said
    kept = Path(named[1])
    assert kept.is_relative_to(tmp_path / "temporary")
    assert "Stack Trace" in kept.read_text()
