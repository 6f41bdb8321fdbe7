"""Dagster assets made from sources: one multi-asset, job, schedule and set of checks a source.

What a source becomes: ``specs`` and ``partitions`` (how Dagster sees an endpoint), ``assets`` (the
multi-asset), ``jobs`` (its job and schedule), ``deletions`` (assets of the keys that are gone). How
a step runs: ``executors`` (in which process), ``executor_choice`` (in the one that the deployment
names), ``step`` (the engine inside it), ``progress`` and ``sparkline`` (while it runs),
``materializations``, ``metadata`` and ``asset_checks`` (what Dagster is told of it),
``failure_report`` and ``failures`` (when something failed). For all sources together: ``usage``,
``maintenance``, ``sensors``.
"""

from assets.assets import source_assets
from assets.deletions import source_sweeps
from assets.executor_choice import chosen_executor
from assets.executors import step_executor
from assets.jobs import source_job, source_schedule
from assets.maintenance import maintenance, maintenance_schedule
from assets.sensors import lost_runs
from assets.usage import budget_page

__all__ = [
    "budget_page",
    "chosen_executor",
    "lost_runs",
    "maintenance",
    "maintenance_schedule",
    "source_assets",
    "source_job",
    "source_schedule",
    "source_sweeps",
    "step_executor",
]
