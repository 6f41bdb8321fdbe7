"""The resources of a deployment, from its settings."""

from functools import lru_cache
from typing import Any

from dagster_aws.s3 import S3Resource

from pipeline.config.settings import Settings
from resources.api import ApiResource
from resources.budget import BudgetResource, default_budget_folder
from resources.lake import LakeResource


@lru_cache(maxsize=1)
def deployment_resources(settings: Settings) -> dict[str, Any]:
    """``lake`` and ``api``, by the names by which assets have them.

    The same settings give the same objects: Dagster merges definitions only if the resources of one
    name are one object.
    """
    budget = BudgetResource(where=settings.budget or default_budget_folder())
    return {
        "lake": LakeResource(url=settings.lake, s3=S3Resource()),
        "api": ApiResource(budget=budget, cache=settings.cache, metrics=settings.metrics),
    }
