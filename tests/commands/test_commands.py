"""``./headrace``: what it shows of a lake in a real S3, and what it says when there is nothing."""

import csv
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from commands import __main__ as commands
from commands.__main__ import main
from commands.dagster_runs import selection
from commands.lake_table import gaps
from commands.query import run as query
from local.paths import ROOT
from local.services import S3
from pipeline.errors import ConfigError, ReadRefused
from pipeline.lake.index import manifest_of
from pipeline.lake.manifest import Manifest
from pipeline.lake.parquet import encode
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake
from pipeline.lake.takeover import open_attempt
from pipeline.partitions.window import Window, WindowKind
from tests.support.responses import json_answer
from tests.support.runs import extract, serving
from tests.support.yaml_sources import source_of

DAYS = ["2026-11-01", "2026-11-02"]
ROWS = [{"id": n, "at": f"2026-11-0{1 + n % 2}T0{n % 9}:00:00Z", "name": f"n{n}"} for n in range(6)]


@pytest.fixture
def committed(lake: Lake, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake with two days of one endpoint, in the environment of the command."""

    async def things(request: Request) -> Response:
        begin, end = request.query_params.get("from", ""), request.query_params["to"]
        return json_answer([row for row in ROWS if begin <= str(row["at"]) < end])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: shop
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                request: {{params: {{from: "{{start}}", to: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )
        extract(source, lake, "things", DAYS, datetime(2026, 11, 4, tzinfo=UTC))
    for name, value in s3.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEADRACE_LAKE", lake.root)
    return lake


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("committed")
def test_the_lake_is_shown_a_line_a_partition(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "lake")
    assert [day in shown for day in DAYS] == [True, True]
    assert "shop/things" in shown
    newest = rows_of(printed(capsys, "lake", "shop/things", "--last", "1", "--json"))
    assert [(one["partition"], one["source"]) for one in newest] == [(DAYS[1], "shop")]
    assert "1 older partition is not shown" in printed(capsys, "lake", "shop", "--last", "1")


@pytest.mark.usefixtures("committed")
def test_a_query_sees_the_rows_and_the_current_state(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sql = "SELECT count(*) AS rows, min(dt) AS first FROM shop.things"
    assert rows_of(printed(capsys, "query", sql, "--json")) == [{"rows": 6, "first": DAYS[0]}]
    sql = "SELECT id, name FROM shop.things_current ORDER BY id LIMIT 2"
    assert printed(capsys, "query", sql, "--csv").split() == ['"id","name"', '0,"n0"', '1,"n1"']
    file = tmp_path / "out.parquet"
    printed(capsys, "query", "FROM shop.things_current", "--parquet", str(file))
    assert pq.read_table(file).num_rows == 6
    assert "6" in printed(capsys, "query", "SELECT count(*) FROM shop.things")


def commit(lake: Lake, source: str, endpoint: str, rows: pa.Table) -> None:
    window = Window("snapshot", None, datetime(2026, 11, 2, tzinfo=UTC), 0.0)
    attempt = open_attempt(
        lake, PartitionPaths(source, endpoint, DAYS[0]), definition="d", window=window, run_id="r"
    )
    staged = {"rows": rows.num_rows, "schema": rows.schema}
    attempt.stage(encode(rows), progress={}, counters={}, **staged)
    attempt.commit(lambda _: Manifest())


@pytest.mark.parametrize("source", ["memory", "temp", "system", "information_schema", "pg_catalog"])
def test_a_source_whose_name_is_duckdbs_own_has_tables(
    lake: Lake, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    commit(lake, source, "tables", pa.table({"id": [1]}))
    assert query(lake, f"SELECT id FROM {source}_.tables", as_json=True, parquet=None) == 0
    assert rows_of(capsys.readouterr().out) == [{"id": 1}]


def test_a_name_of_duckdbs_own_is_told_as_such(lake: Lake) -> None:
    commit(lake, "memory", "orders", pa.table({"id": [1]}))
    with pytest.raises(ReadRefused, match=r"has a `memory` of its own: say `memory_\.orders`"):
        query(lake, "SELECT id FROM memory.orders", parquet=None)


def test_csv_has_lists_and_objects_as_json(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table({"id": [1, 2], "tags": [["a", "é"], None], "at": [{"x": 1}, {"x": None}]})
    commit(lake, "shop", "orders", rows)
    query(lake, "SELECT * EXCLUDE (dt) FROM shop.orders", csv=True, parquet=None)
    assert list(csv.DictReader(capsys.readouterr().out.splitlines())) == [
        {"id": "1", "tags": '["a", "é"]', "at": '{"x": 1}'},
        {"id": "2", "tags": "", "at": '{"x": null}'},
    ]


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("arguments", [[], [""], ["show tables;"], ["SHOW ALL TABLES"]])
def test_without_sql_there_are_the_tables(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows_of(printed(capsys, "query", *arguments, "--json")) == [
        {"table": "shop.things"},
        {"table": "shop.things_current"},
    ]


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM shop.nothing", "does not exist"),
        ("SELECT nam FROM shop.things", "Candidate bindings"),
    ],
)
def test_a_query_that_is_wrong_is_one_sentence_with_the_tables(
    capsys: pytest.CaptureFixture[str], sql: str, why: str
) -> None:
    assert main(["query", sql]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert why in said
    assert "DuckDB refused the query" in said
    assert "`shop.things`, `shop.things_current`" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("committed")
def test_an_endpoint_without_data_is_named_with_the_command_that_loads_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.yaml").write_text(
        "source: shop\nbase_url: https://example.org\nstart: 2026-11-01\nendpoints:\n"
        "  orders: {key: [id], columns: {id: int64}}\n"
    )
    monkeypatch.setenv("HEADRACE_SOURCES", str(tmp_path))
    sql = "SELECT * FROM shop.things JOIN shop.orders_current USING (id)"
    assert main(["query", sql]) == 2
    said = capsys.readouterr().err
    assert "Of `shop.orders` nothing is committed" in said
    assert "`./headrace load shop/orders`" in said
    assert "Of `shop.things`" not in said
    assert "Did you mean" not in said


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_a_misspelt_table_gets_the_nearest_one_and_no_load_of_what_no_source_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["query", "FROM shop.thing_current"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean `shop.things_current`?" in said
    assert "headrace load" not in said
    assert "schema" not in said
    assert main(["query", "FROM shop.things JOIN shop.thingz USING (id)"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean `shop.things`?" in said
    assert said.count("id you mean") == 1
    assert main(["query", "FROM zoo.animals"]) == 2
    assert (
        "Of `zoo.animals` nothing is committed, and no source that loads has it"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_partitions_that_are_missing_between_the_first_and_the_last_are_named(
    committed: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "missing" not in printed(capsys, "lake")

    shown: list[Manifest] = []

    def gap_of(
        days: Sequence[str], endpoint: str = "things", kind: WindowKind = "incremental"
    ) -> None:
        shown.extend(
            Manifest(source="shop", endpoint=endpoint, partition=day, endpoint_kind=kind)
            for day in days
        )

    gap_of(["2026-11-01", "2026-11-02", "2026-11-04"])
    assert gaps(shown) == ["1 day is missing between the first and the last: 2026-11-03"]
    gap_of(["2026-10-01", "2026-11-02"], "orders")
    gap_of(["2026-10-01", "2026-11-02"], "stock", kind="snapshot")
    assert gaps(shown)[1:] == [
        "shop/orders: 31 days are missing between the first and the last: "
        "2026-10-02, 2026-10-03, 2026-10-04, 2026-10-05, 2026-10-06 and 26 more"
    ]
    assert gaps(shown)[0].startswith("shop/things: 1 day is missing")
    newest = manifest_of(committed, "shop", "things", DAYS[1])
    assert newest is not None
    later = replace(newest, partition="2026-11-04", files=(), rows=0).to_json()
    key = PartitionPaths("shop", "things", "2026-11-04").manifest
    committed.put(key, later.encode(), replaces=None)
    assert "2026-11-03" not in printed(capsys, "lake", "--last", "1")
    text = printed(capsys, "lake")
    assert text.endswith("1 day is missing between the first and the last: 2026-11-03\n")
    assert "missing" not in printed(capsys, "lake", "--json")


def test_an_empty_lake_is_said(
    committed: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_LAKE", f"{committed.root}-empty")
    assert main(["lake", "shop"]) == 1
    assert f"Nothing of shop is committed in {committed.root}-empty/" in capsys.readouterr().err


def test_a_setting_that_is_missing_is_one_sentence_that_names_the_files_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADRACE_LAKE", raising=False)
    there = tmp_path / "env"
    there.touch()
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    servers = {"`make ui`": there, "the shop": tmp_path / "not there"}
    monkeypatch.setattr(commands, "_SETTINGS_FILES", servers)
    assert main(["lake"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("headrace: `HEADRACE_LAKE` is not set")
    assert said.endswith(
        "prefix. `. env` sets it for `make ui`; docs/how-to/run.md has all settings\n"
    )


def test_no_command_shows_what_there_is_and_a_wrong_argument_the_usage_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "materialize partitions with Dagster" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["state", "show", "--days", "2026-11-01"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: headrace state show ")
    assert "unrecognized arguments: --days" in said


@pytest.mark.parametrize("command", [["lake"], ["verify"], ["state", "show"]], ids=" ".join)
@pytest.mark.usefixtures("committed")
def test_a_misspelt_name_gets_the_nearest_one_that_is_in_the_lake(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "shopp"]) == 1
    assert capsys.readouterr().err.endswith("/: did you mean `shop`?\n")
    assert main([*command, "shop/thing"]) == 1
    assert capsys.readouterr().err.endswith("/: did you mean `shop/things`?\n")
    assert main([*command, "igdb"]) == 1
    assert capsys.readouterr().err.endswith("/; there is: `shop`.\n")


@pytest.mark.usefixtures("committed")
def test_a_partition_that_is_not_there_is_not_as_it_was_committed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", "shop", "--partition", DAYS[0], "--partition", "2026-12-01"]) == 1
    said = capsys.readouterr()
    assert "Nothing of shop in 2026-12-01 is committed in " in said.err
    assert said.out.endswith("1 file, all as they were committed\n")
    assert main(["verify", "shop", "--partition", DAYS[0]]) == 0


@pytest.mark.parametrize("last", ["0", "-3", "x"])
def test_a_number_of_partitions_begins_at_one(
    last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["lake", f"--last={last}"])
    assert f"argument --last: expected a number from 1, found `{last}`" in capsys.readouterr().err


def test_names_become_selections() -> None:
    assert selection("igdb") == "group:igdb"
    assert selection("igdb/games") == 'key:"igdb/games"'
    with pytest.raises(ConfigError, match="expected SOURCE or SOURCE/ENDPOINT, found `a; b`"):
        selection("a; b")


@pytest.mark.slow
def test_the_script_runs_from_another_folder(committed: Lake, tmp_path: Path) -> None:
    ran = subprocess.run(
        [ROOT / "headrace", "lake", "--json"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert committed.root
    assert len(ran.stdout.splitlines()) == 2
