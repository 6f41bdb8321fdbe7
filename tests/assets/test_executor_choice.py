"""The executor is the deployment's choice: by setting, with its configuration checked at load."""

from pathlib import Path

import dagster as dg
import pytest

from assets import chosen_executor, step_executor
from pipeline.errors import ConfigError

OTHER = "dagster:in_process_executor"


def config(folder: Path, text: str) -> str:
    (folder / "executor.yaml").write_text(text)
    return "executor.yaml"


def test_without_a_setting_it_is_the_projects_own(tmp_path: Path) -> None:
    assert chosen_executor(None, None, tmp_path) is step_executor


def test_an_executor_is_named_by_module_and_attribute(tmp_path: Path) -> None:
    assert chosen_executor(OTHER, None, tmp_path) is dg.in_process_executor


def test_a_configuration_that_suits_is_taken(tmp_path: Path) -> None:
    file = config(tmp_path, "execution: {config: {retries: {disabled: {}}}}")
    chosen = chosen_executor(OTHER, file, tmp_path)
    assert isinstance(chosen, dg.ExecutorDefinition)
    assert chosen is not dg.in_process_executor


def test_none_lets_a_project_with_its_own_executor_be_merged(tmp_path: Path) -> None:
    ours = dg.Definitions(executor=chosen_executor("none", None, tmp_path))
    theirs = dg.Definitions(executor=dg.in_process_executor)
    assert dg.Definitions.merge(ours, theirs).executor is dg.in_process_executor


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("dagster_celery.celery_executor", "expected `module:attribute`"),
        ("no_such_module_at_all:executor", "can't be loaded: No module named"),
        ("dagster:no_such_executor", "can't be loaded: .* has no attribute 'no_such_executor'"),
        ("dagster:asset", "a function: expected a Dagster `ExecutorDefinition`"),
    ],
)
def test_a_wrong_reference_is_one_sentence(tmp_path: Path, reference: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        chosen_executor(reference, None, tmp_path)
    assert str(caught.value).startswith(f"HEADRACE_EXECUTOR is `{reference}`")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("marker_to_close: a", "has no `execution: config:`"),
        ("", "has no `execution: config:`"),
        ("execution: {config: {brokr: a}}", "does not suit the executor: .*brokr"),
    ],
)
def test_a_wrong_configuration_is_found_at_load(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        chosen_executor(OTHER, config(tmp_path, text), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"HEADRACE_EXECUTOR_CONFIG: .*missing\.yaml can't be"):
        chosen_executor(OTHER, "missing.yaml", tmp_path)
