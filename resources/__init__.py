"""Dagster resources: the ``lake``, the ``budget``, and the ``api`` clients that share it.

``deployment`` puts them together from the settings. ``rows`` gives what is in the lake to assets of
other projects.
"""

from resources.api import ApiResource
from resources.budget import BudgetResource
from resources.deployment import deployment_resources
from resources.lake import LakeResource
from resources.rows import LakeRows

__all__ = ["ApiResource", "BudgetResource", "LakeResource", "LakeRows", "deployment_resources"]
