"""The commands and code of the README and its first pages, run as they stand there."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from docsite.reference import PAGES as PAGES_MADE
from emulator.testing import Emulator
from emulator.testing import running as emulator_running
from local.instance import prepare_home
from local.services import S3, child_env, seaweedfs
from pipeline.config import load_source

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    page: (ROOT / page).read_text()
    for page in ("README.md", "docs/how-to/run.md", "docs/how-to/read.md")
}
README = "\n".join(PAGES.values())
START, LAST = "2026-11-01", "2026-11-20"
SHOWN = {"lake": LAST, "query": START}
FEW = ("games", "genres", "covers")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3, Emulator]]:
    folder = tmp_path_factory.mktemp("readme")
    with (
        seaweedfs(folder / "s3", buckets=["bucket"]) as s3,
        emulator_running(games=400, rate=0) as api,
    ):
        yield s3, api


@pytest.fixture(scope="module")
def env(services: tuple[S3, Emulator], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of the README's table; of the 69 endpoints a few, so that it takes seconds."""
    s3, api = services
    folder = tmp_path_factory.mktemp("settings")
    source = yaml.safe_load((ROOT / "sources" / "igdb.yaml").read_text())
    source["endpoints"] = {name: source["endpoints"][name] for name in FEW}
    sources = folder / "sources"
    sources.mkdir()
    (sources / "igdb.yaml").write_text(yaml.safe_dump(source))
    settings = {
        **api.env(),
        "HEADRACE_LAKE": "s3://bucket/prefix",
        "HEADRACE_SOURCES": str(sources),
        "HEADRACE_BUDGET": str(folder / "budgets"),
        "DAGSTER_HOME": str(prepare_home(folder / "dagster")),
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
    }
    return child_env(s3.env(), settings)


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command in commands("make")} <= targets
    assert commands("make")


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in link
        and not (page.parent / link).exists()
        and (page.parent / link).resolve().relative_to(ROOT).as_posix() not in PAGES_MADE
    ]
    assert not missing


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_the_settings_are_those_that_the_code_reads() -> None:
    named = set(re.findall(r"`(HEADRACE_[A-Z_]+|IGDB_[A-Z_]+)`", README))
    yaml_text = (ROOT / "sources" / "igdb.yaml").read_text()
    read = set(re.findall(r"\$\{(IGDB_[A-Z_]+)", yaml_text))
    settings = (ROOT / "pipeline" / "config" / "settings.py").read_text()
    read |= set(re.findall(r"HEADRACE_[A-Z]+(?:_[A-Z]+)*", settings))
    assert named == read


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_dagster_commands_run(env: dict[str, str], services: tuple[S3, Emulator]) -> None:
    today = datetime.now(UTC).date().isoformat()
    assert today > LAST, "the README's dates have to be past"
    found = commands("dagster")
    assert [shlex.split(line)[1:3] for line in found[:2]] == [
        ["definitions", "validate"],
        ["asset", "materialize"],
    ]
    for line in found:
        if " job backfill " in line:
            continue  # queues runs for a daemon: tests/assets runs one
        done = subprocess.run(
            shlex.split(line), cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_commands_of_the_lake_run(env: dict[str, str]) -> None:
    """After the commands above: partitions are committed."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    found = [line for line in lines if line.startswith("./headrace ")]
    assert found
    for line in found:
        done = subprocess.run(
            shlex.split(line), cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        assert SHOWN[shlex.split(line)[1]] in done.stdout, done.stdout


def test_the_whole_source_loads(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    source = load_source(file, {"SHOP_BASE_URL": "https://shop.test", "SHOP_TOKEN": "secret"})
    assert list(source.endpoints) == ["orders"]


@pytest.mark.slow
def test_the_python_code_runs(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch, services: tuple[S3, Emulator]
) -> None:
    """After the commands above: the table of games is what the API has."""
    _, api = services
    for name in ("HEADRACE_LAKE", *(n for n in env if n.startswith("AWS_"))):
        monkeypatch.setenv(name, env[name])
    [code] = blocks("python")
    found: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), found)  # noqa: S102 (the README's own code)
    games, days = found["games"], found["days"]
    end = "2026-11-21"
    until = int(datetime.fromisoformat(f"{end}T00:00:00+00:00").timestamp())
    expected = api.rows("games", f"updated_at < {until} | updated_at = null")
    assert games.num_rows == len(expected)  # type: ignore[attr-defined]
    assert "dt" in days.schema.names  # type: ignore[attr-defined]


def test_the_sql_is_what_duckdb_understands(tmp_path: Path) -> None:
    [query] = blocks("sql")
    folder = tmp_path / "dt=2026-11-01"
    folder.mkdir()
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS id) TO '{folder}/part.parquet' (FORMAT parquet)")
        local = query.replace("s3://bucket/prefix/igdb/games", str(tmp_path))
        assert [row[1] for row in connection.execute(local).fetchall()] == [1]
