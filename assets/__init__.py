"""Dagster assets made from sources: one multi-asset, job, schedule and set of checks a source.

What a source becomes: ``specs`` and ``partitions`` (how Dagster sees an endpoint), ``factory`` (the
multi-asset), ``jobs`` (its job and schedule), ``sweeps`` (assets of the keys that are gone). How a
step runs: ``executor`` (in which process), ``step`` (the engine inside it), ``progress`` and
``plot`` (while it runs), ``recording``, ``metadata`` and ``checks`` (what Dagster is told of it),
``verdict`` and ``ending`` (when something failed). For all sources together: ``budgets``,
``maintenance``, ``lost_runs``.
"""

from assets.budgets import budget_page
from assets.executor import step_executor
from assets.factory import source_assets
from assets.jobs import source_job, source_schedule
from assets.lost_runs import lost_runs
from assets.maintenance import maintenance, maintenance_schedule
from assets.sweeps import source_sweeps

__all__ = [
    "budget_page",
    "lost_runs",
    "maintenance",
    "maintenance_schedule",
    "source_assets",
    "source_job",
    "source_schedule",
    "source_sweeps",
    "step_executor",
]
