"""The four places that rest on private behaviour of Dagster's pinned version, and nothing else.

Each has its test in ``tests/assets/test_compat.py``: who moves the pin runs those first.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

AssetJob: TypeAlias = "UnresolvedAssetJobDefinition"
"""The type that ``define_asset_job`` returns: it has no public name."""

WITHOUT_MATERIALIZATION: Final[Mapping[str, bool]] = {"__source_asset_observation__": True}
"""Metadata of a result for which Dagster records no materialization, as an earlier attempt has,
while assets downstream go on. Dagster has it for bodies that log events themselves; a version that
no longer knew it would record twice."""

HARMLESS_THREADS: Final = frozenset({"termination-handler", "QueueFeederThread"})
"""Names of the threads of a run that the UI or the daemon has started: one waits for *Terminate*,
the other for messages to the server when the run ends. A step's process uses the locks of neither.
"""


def log_check(context: dg.AssetExecutionContext, result: dg.AssetCheckResult) -> None:
    """Log a check's result as an event, which stays though the step fails: Dagster has no public
    way to make an evaluation, with the materialization that it is of, from a result."""
    step = context.get_step_execution_context()
    context.log_event(result.to_asset_check_evaluation(step))


def with_executor_config(
    context: dg.InitExecutorContext, config: Mapping[str, Any]
) -> dg.InitExecutorContext:
    """The context of an executor's creation, with another configuration: a named tuple today."""
    return context._replace(executor_config=config)
