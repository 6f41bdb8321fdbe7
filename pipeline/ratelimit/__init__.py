"""One budget an API key: requests per window and requests in flight, shared by all that use it.

Read in the order in which a request goes: ``limits`` (what the key allows), ``registry`` (which
store), ``budget`` (place, slot, send), ``permits`` (in flight), ``base`` (what a store does;
memory), ``folder`` (its ``files``), ``postgres`` and ``redis`` (``server``: what they share),
``reservation`` (when a request may go: the law), ``ring``, ``send_margin``, ``advertised_limit``,
``usage_histogram`` and ``state_layout`` (its state), ``stats``.
"""

from pipeline.ratelimit.budget import Budget
from pipeline.ratelimit.limits import Limits, RateWindow
from pipeline.ratelimit.stats import BudgetStats, Minute, SendGrant
from pipeline.ratelimit.stores.registry import open_budget, usage

__all__ = [
    "Budget",
    "BudgetStats",
    "Limits",
    "Minute",
    "RateWindow",
    "SendGrant",
    "open_budget",
    "usage",
]
