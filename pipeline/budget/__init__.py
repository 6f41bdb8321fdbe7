"""One budget an API key: requests per window and requests in flight, shared by all that use it.

Read in the order in which a request goes: ``limits`` (what the key allows), ``where`` (which
store), ``budget`` (place, slot, send), ``places`` (in flight), ``stores`` (what a store does;
memory), ``folder`` (its ``files``), ``postgres`` and ``redis_lua`` (``remote``: what they share),
``slots`` (when a request may go: the law), ``ring``, ``margin``, ``told``, ``minutes`` and
``cells`` (its state), ``stats``.
"""

from pipeline.budget.budget import Budget
from pipeline.budget.limits import Limits, RateWindow
from pipeline.budget.stats import BudgetStats, Grant, Minute
from pipeline.budget.where import open_budget, usage

__all__ = [
    "Budget",
    "BudgetStats",
    "Grant",
    "Limits",
    "Minute",
    "RateWindow",
    "open_budget",
    "usage",
]
