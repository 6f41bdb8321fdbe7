"""Dagster assets made from sources: one multi-asset, job, schedule and set of checks a source."""

from assets.factory import source_assets
from assets.jobs import source_job, source_schedule

__all__ = ["source_assets", "source_job", "source_schedule"]
