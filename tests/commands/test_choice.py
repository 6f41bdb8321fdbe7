"""What ``load`` and its kin refuse before Dagster starts: one sentence, exit code 2."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands.__main__ import main
from commands.choice import endpoint_named, near, partitions_chosen
from local import dagster_cli
from pipeline.errors import ConfigError, WindowRefused

YAML = """
source: parts
base_url: https://example.org
start: 2026-11-24
endpoints:
  parts: {key: [id], columns: {id: int64}}
"""
NOW = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one source; Dagster may not start."""
    (tmp_path / "parts.yaml").write_text(YAML)
    monkeypatch.setenv("HEADRACE_SOURCES", str(tmp_path))
    monkeypatch.setenv("HEADRACE_LAKE", "s3://lake/parts")

    def started(*_: object, **__: object) -> float:
        pytest.fail("Dagster was started")

    monkeypatch.setattr(dagster_cli, "run", started)
    return tmp_path


REFUSED = {
    "a misspelt endpoint": (
        ["load", "parts/part"],
        "there is no endpoint `parts/part`: did you mean `parts/parts`?",
    ),
    "another endpoint": (
        ["load", "parts/xyz"],
        "there is no endpoint `parts/xyz`; there is: `parts/parts`",
    ),
    "a misspelt source": (
        ["load", "part"],
        "there is no source `part` in `{sources}`: did you mean `parts`?",
    ),
    "a day before the start": (
        ["load", "parts/parts", "--days", "2026-11-20"],
        "`2026-11-20` is before the first partition, `2026-11-24` "
        "(`start` in {sources}/parts.yaml)",
    ),
    "a day in the future": (
        ["load", "parts/parts", "--days", "2026-11-25...2126-11-26"],
        "`2126-11-26` is in the future: the newest partition is `20",
    ),
    "no day": (
        ["load", "parts", "--days", "yesterday"],
        "Partition `yesterday` is not one of a source with partitions by day",
    ),
    "days from a variable that is not set": (
        ["load", "parts/parts", "--days", ""],
        "--days is ``: expected one partition, or two as A...B",
    ),
    "two dots": (
        ["load", "parts/parts", "--days", "2026-11-25..2026-11-26"],
        "--days is `2026-11-25..2026-11-26`: expected one partition, or two as A...B",
    ),
    "four dots": (
        ["load", "parts/parts", "--days", "2026-11-25.....2026-11-26"],
        "expected one partition, or two as A...B",
    ),
    "the later one first": (
        ["load", "parts/parts", "--days", "2026-11-26...2026-11-25"],
        "the earlier partition comes first: 2026-11-25...2026-11-26",
    ),
    "a sweep of nothing": (["sweep", "parts/part"], "did you mean `parts/parts`?"),
    "a sweep that is not wanted": (["sweep", "parts/parts"], "`parts/parts` has no sweep"),
    "a sync of nothing": (["sync", "part"], "did you mean `parts`?"),
    "a backfill of nothing": (
        ["backfill", "part", "--days", "2026-11-25"],
        "did you mean `parts`?",
    ),
    "a sync of an endpoint": (
        ["sync", "parts/parts"],
        "sync takes a source: expected SOURCE, found `parts/parts`",
    ),
    "a backfill of an endpoint": (
        ["backfill", "parts/parts", "--days", "2026-11-25"],
        "backfill takes a source: expected SOURCE, found `parts/parts`",
    ),
    "a backfill before the start": (
        ["backfill", "parts", "--days", "2026-11-20...2026-11-25"],
        "`2026-11-20` is before the first partition",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_one_sentence_before_dagster_starts(
    name: str, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, sentence = REFUSED[name]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert sentence.format(sources=sources) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["load", "parts"], ["sync"], ["sync", "parts"], ["backfill", "parts", "--days", "2026-11-25"]],
)
def test_a_lake_that_is_not_set_is_one_sentence(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADRACE_LAKE")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "`HEADRACE_LAKE` is not set" in said
    assert said.count("\n") == 1


def test_a_lake_that_can_lie_nowhere_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_LAKE", "/proc/nowhere")
    assert main(["load", "parts"]) == 2
    said = capsys.readouterr().err
    assert "`HEADRACE_LAKE` is `/proc/nowhere`; expected" in said
    assert said.count("\n") == 1


def test_a_mistake_in_the_yaml_is_its_own_sentence(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources / "parts.yaml").write_text(YAML.replace("key:", "kee:"))
    assert main(["load", "parts/parts"]) == 2
    assert (
        "parts.yaml:6: endpoints.parts.kee: 'kee' is not a known key: did you"
        in capsys.readouterr().err
    )


def test_a_name_that_comes_from_a_setting_is_found(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / "parts.yaml").write_text(YAML.replace("source: parts", "source: ${SHOP}"))
    monkeypatch.setenv("SHOP", "shop")
    assert endpoint_named("shop/parts").source == "shop"


def test_two_files_of_one_name_are_named(sources: Path) -> None:
    (sources / "more.yaml").write_text(YAML)
    with pytest.raises(ConfigError, match=r"more\.yaml` and `.*parts\.yaml` define the source"):
        endpoint_named("parts")


def test_the_partition_that_is_running_may_be_loaded_and_is_the_default() -> None:
    source = endpoint_named("parts")
    assert partitions_chosen(source, None, NOW) == ("2026-11-29", "2026-11-29")
    chosen = partitions_chosen(source, "2026-11-24...2026-11-29", NOW)
    assert chosen == ("2026-11-24", "2026-11-29")
    with pytest.raises(WindowRefused, match="the newest partition is `2026-11-29`"):
        partitions_chosen(source, "2026-11-30", NOW)


def test_the_day_is_of_the_time_zone_of_the_source(sources: Path) -> None:
    (sources / "parts.yaml").write_text(YAML + "timezone: Europe/Berlin\n")
    assert partitions_chosen(endpoint_named("parts"), None, NOW) == ("2026-11-30", "2026-11-30")


def test_of_many_names_some_are_listed() -> None:
    said = near("zzz", [f"part_{n}" for n in range(7)])
    assert said.startswith("; there are: `part_0`, ")
    assert said.endswith("`part_4` and 2 more")
