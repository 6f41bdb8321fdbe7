"""Two deployments that load one lake, each with a budget of its own."""

from dataclasses import replace
from pathlib import Path

from pipeline.lake.budget_record import KEY
from tests.assets.support import Headrace, day


def test_a_second_budget_of_an_api_key_is_said_in_the_log_and_at_the_asset(
    headrace: Headrace, tmp_path: Path
) -> None:
    first = headrace.run(["genres"], day(1))
    assert "HEADRACE_BUDGET" not in first.log
    other = replace(headrace, budget=tmp_path / "other")
    second = other.run(["genres"], day(1))
    assert second.success
    sentence = f"in `{headrace.budget} of "
    assert sentence in second.log
    assert f"in the budget `{other.budget} of " in second.log
    (_, _, metadata) = second.materializations()[0]
    assert sentence in str(metadata["other_budgets"].value)


def test_a_record_that_nobody_may_write_fails_no_run(headrace: Headrace) -> None:
    headrace.lake.put(KEY, b'{"version": 99}', replaces=None)
    assert headrace.run(["genres"], day(1)).success
