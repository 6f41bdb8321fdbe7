"""Which executor runs the steps: the deployment's choice, by ``HEADRACE_EXECUTOR``.

    HEADRACE_EXECUTOR=dagster_celery:celery_executor
    HEADRACE_EXECUTOR_CONFIG=deploy/celery.yaml

Without it steps are processes of the run's machine (``executors``). ``none`` leaves the executor
out of our ``Definitions``, so that those of another project, with an executor of their own, can be
merged with them.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from assets.executors import step_executor
from pipeline.errors import ConfigError

NONE = "none"


def chosen_executor(
    reference: str | None, config_file: str | None, folder: Path
) -> dg.ExecutorDefinition | None:
    """The executor of ``Definitions``; None leaves it to Dagster or to whoever merges them.

    :param reference: ``module:attribute``; None for the project's own, ``none`` for no executor.
    :param config_file: a YAML file with ``execution: config:``, as Dagster's own commands read it.
    :param folder: a relative ``config_file`` is looked for here.
    :raises ConfigError: no such executor, or it refuses the configuration.
    """
    if reference == NONE:
        return None
    executor = _load(reference) if reference else step_executor
    if config_file is None:
        return executor
    config = _read(folder / config_file)
    _validate(executor, config, config_file)
    return executor.configured(config)


def _load(reference: str) -> dg.ExecutorDefinition:
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`: expected `module:attribute`, for example "
            f"`dagster_celery:celery_executor`, or `{NONE}`"
        )
    try:
        executor = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`, which can't be loaded: {error}. Check: 1. the "
            "spelling; 2. that its package is installed wherever a run can start"
        ) from None
    if not isinstance(executor, dg.ExecutorDefinition):
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`, a {type(executor).__name__}: expected a Dagster "
            "`ExecutorDefinition`"
        )
    return executor


def _read(file: Path) -> dict[str, Any]:
    """The settings under ``execution: config:``. A flat file is refused: Dagster ignores it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        config = content["execution"]["config"]
    except OSError as error:
        raise ConfigError(f"HEADRACE_EXECUTOR_CONFIG: {file} can't be read: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ConfigError(
            f"HEADRACE_EXECUTOR_CONFIG: {file} has no `execution: config:`: expected a YAML file "
            "with the executor's configuration under these two keys"
        ) from None
    return dict(config or {})


def _validate(executor: dg.ExecutorDefinition, config: dict[str, Any], file: str) -> None:
    """Find out now what each run would fail with."""

    @dg.job(executor_def=executor)
    def nothing() -> None: ...

    try:
        dg.validate_run_config(nothing, {"execution": {"config": config}})
    except dg.DagsterInvalidConfigError as error:
        reasons = "; ".join(problem.message for problem in error.errors)
        raise ConfigError(
            f"HEADRACE_EXECUTOR_CONFIG: {file} does not suit the executor: {reasons}"
        ) from None
