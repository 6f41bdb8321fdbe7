"""Dagster assets made from sources: one multi-asset, job, schedule and set of checks a source."""

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
