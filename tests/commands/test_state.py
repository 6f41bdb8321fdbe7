"""``./headrace state``: what is kept, a dry run before anything is changed, and what is refused."""

import json
from datetime import UTC, datetime

import pytest

from commands.__main__ import main
from pipeline.lake.index import manifest_of
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.lake.takeover import open_attempt
from pipeline.partitions.window import Window
from tests.commands.test_commands import DAYS, committed

__all__ = ["committed"]  # a fixture


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["state", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def days_there(lake: Lake) -> list[str]:
    return [day for day in DAYS if manifest_of(lake, "shop", "things", day)]


def begin(lake: Lake, day: str) -> None:
    """A run that has taken a partition over, and is writing it."""
    window = Window("baseline", None, datetime(2026, 11, 2, tzinfo=UTC), 0.0)
    open_attempt(
        lake,
        PartitionPaths("shop", "things", day),
        definition="other",
        window=window,
        run_id="4711",
    )


@pytest.mark.usefixtures("committed")
def test_what_is_kept_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show")
    assert code == 0
    assert "shop/things" in out
    assert "2026-11-03 00:00" in out
    code, out, _ = run(capsys, "show", "shop/things", "--json")
    known = json.loads(out)
    assert (known["partitions"], known["rows"], known["in_work"]) == (2, 6, [])
    assert run(capsys, "show", "shop/nothing")[0] == 1


@pytest.mark.slow
def test_a_drop_says_first_what_it_would_do(
    committed: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "drop", "shop/things", "--days", DAYS[0])
    assert code == 0
    assert "1 partition with 3 rows" in out
    assert "Nothing is changed yet: add --yes" in out
    assert days_there(committed) == DAYS
    assert run(capsys, "drop", "shop/things", "--days", DAYS[0], "--yes")[0] == 0
    assert days_there(committed) == DAYS[1:]
    assert dataset(committed, "shop", "things").count_rows() == 3
    code, out, _ = run(capsys, "drop", "shop", "--yes", "--json")
    assert [json.loads(line)["partition"] for line in out.splitlines()] == DAYS[1:]
    assert list(committed.list("")) == []
    code, _, err = run(capsys, "drop", "shop", "--yes")
    assert (code, "Nothing of shop is committed" in err) == (1, True)


@pytest.mark.usefixtures("committed")
def test_a_reload_of_what_is_dropped_names_the_command_that_loads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = ("shop/things", "--days", DAYS[0], "--yes")
    said = run(capsys, "drop", *chosen)[1]
    assert "1 partition with 3 rows" in said
    assert "leaves the lake" in said
    code, _, err = run(capsys, "reload", *chosen)
    assert code == 1
    assert f"To read it from the API: ./headrace load shop/things --days {DAYS[0]}" in err


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["drop", "reload"])
def test_what_a_run_is_writing_is_refused(
    committed: Lake, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(committed, DAYS[1])
    code, _, err = run(capsys, verb, "shop/things", "--yes")
    assert code == 2
    assert f"`shop/things {DAYS[1]}` (run 4711, 0 rows staged" in err
    assert "--staged" in err
    assert days_there(committed) == DAYS
    assert f"shop/things {DAYS[1]}: run 4711" in run(capsys, "show")[1]


@pytest.mark.slow
def test_what_a_dead_run_has_staged_goes_too_if_that_is_said(
    committed: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(committed, DAYS[1])
    assert run(capsys, "drop", "shop/things", "--staged", "--yes")[0] == 0
    assert list(committed.list("")) == []


def test_a_reload_without_yes_changes_nothing(
    committed: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "reload", "shop/things")
    assert code == 0
    assert "2 partitions with 6 rows" in out
    assert "are read again from the API. Nothing is changed yet" in out
    assert days_there(committed) == DAYS


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drop", "a; b"), "expected SOURCE or SOURCE/ENDPOINT, found `a; b`"),
        (
            ("drop", "shop", "--days", "2026-11-02...2026-11-01"),
            "the earlier partition comes first",
        ),
        (
            ("drop", "shop", "--days", "2026-11-31"),
            "--days names `2026-11-31`: expected a partition such as `2026-11-01`",
        ),
        (("drop", "shop", "--days", ""), "--days is ``: expected one partition, or two as A...B"),
        (("drop", "shop", "--days", "...2026-11-01"), "expected one partition, or two as A...B"),
        (
            ("drop", "shop", "--days", "2026-11-01..2026-11-02"),
            "expected one partition, or two as A...B, with three dots",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["drop", "--help"], ["reload", "--help"], ["show", "--help"]):
        with pytest.raises(SystemExit):
            main(["state", *arguments])
        assert "example:\n  ./headrace state" in capsys.readouterr().out
