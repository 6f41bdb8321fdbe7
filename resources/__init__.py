"""Dagster resources: the ``lake``, the ``budget``, and the ``api`` clients that share it.

``deployment`` puts them together from the settings.
"""

from resources.api import ApiResource
from resources.budget import BudgetResource
from resources.deployment import deployment_resources
from resources.lake import LakeResource

__all__ = ["ApiResource", "BudgetResource", "LakeResource", "deployment_resources"]
