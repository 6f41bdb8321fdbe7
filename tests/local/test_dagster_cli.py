"""Dagster's log on the screen: a bar on a terminal, plain lines elsewhere."""

import io

import pytest
from rich.console import Console

from local.dagster_cli import PROGRESS, BarScreen, PlainScreen, feed, reasons
from pipeline.run.runner import RunOutcome
from tests.assets.test_progress import line_of

HEAD = (
    "2026-11-30 05:00:00 +0000 - dagster - INFO - __ASSET_JOB - "
    "0e6a4c1e-1f0a-4d0c-9f57-0a3c5c7f3c11 - 4711 - shop - "
)
LINE = (
    "8,982 of 20,000 rows, 1,200 rows/s, 18 requests, 99% of the budget, 0 throttled, "
    "3 partitions committed, about 9 s left"
)


def test_the_line_that_a_step_logs_is_known() -> None:
    assert PROGRESS.search(line_of(RunOutcome(), limited=True))
    found = PROGRESS.search(LINE)
    assert found is not None
    assert found.groupdict() == {
        "rows": "8,982", "total": "20,000", "rate": "1,200", "partitions": "3", "left_s": "9",
    }  # fmt: skip


def test_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    for text in ("DEBUG of something", f"{HEAD}{LINE}", f"{HEAD}shop/orders: committed"):
        screen.take(text)
    screen.end()
    assert capsys.readouterr().out.splitlines() == [
        f"    {LINE}", "    shop/orders: committed"
    ]  # fmt: skip


def test_a_line_that_is_read_in_two_pieces_is_shown_once_and_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, screen = f"{HEAD}shop/orders: committed\n", PlainScreen()
    for cut in range(len(line)):
        rest = feed(line[:cut], screen)
        assert feed(rest + line[cut:], screen) == ""
    said = capsys.readouterr().out.splitlines()
    assert said == ["    shop/orders: committed"] * len(line)


def test_a_bar_on_a_terminal_and_other_lines_above_it() -> None:
    drawn = io.StringIO()
    screen = BarScreen(Console(file=drawn, force_terminal=True, width=120))
    screen.take(f"{HEAD}shop/orders: [committed]")
    screen.take(f"{HEAD}{LINE}")
    screen.end()
    said = drawn.getvalue()
    assert "shop/orders: [committed]\n" in said
    assert "8,982 of 20,000 rows, 1,200 rows/s, 3 committed, 9 s left" in said
    assert "requests" not in said


STACK = """
Stack Trace:
  File "/site-packages/dagster/_utils/__init__.py", line 394, in iterate_with_context
    next_output = next(iterator)
                  ^^^^^^^^^^^^^^
"""
FAILURE = f"""dagster._core.definitions.events.Failure: shop/orders 2026-11-01: the API refused.
1 partition of this run is committed, and stays.
{STACK}
The above exception was caused by the following exception:
pipeline.errors.HeadraceError: shop/orders 2026-11-01: the API refused.
1 partition of this run is committed, and stays.

"""


def test_the_reasons_of_a_failure_are_the_sentences_of_its_steps_each_once() -> None:
    other = FAILURE.replace("shop/orders", "shop/items")
    log = f"{HEAD}begun\n\n{FAILURE}{FAILURE}{other}{HEAD}ended\n\nError: Materialization failed.\n"
    stays = "1 partition of this run is committed, and stays."
    assert reasons(log).splitlines() == [
        "shop/orders 2026-11-01: the API refused.", stays,
        "shop/items 2026-11-01: the API refused.", stays,
    ]  # fmt: skip


def test_the_reasons_are_else_what_was_raised_and_else_the_last_lines() -> None:
    wrong = "dagster._core.errors.DagsterInvalidDefinitionError: shop.yaml:3: no key"
    assert reasons(f"{wrong}\n{STACK}") == "DagsterInvalidDefinitionError: shop.yaml:3: no key"
    assert reasons("KeyError: 'a'\n" + STACK) == "KeyError: 'a'"
    assert reasons(f"first\n{STACK}killed\n") == "first\nkilled"
    assert reasons("") == ""
