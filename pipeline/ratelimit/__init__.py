"""The budget of an API key: requests per window and requests in flight, shared by all that use it.

In the order in which a request goes: ``limits`` (what the key allows), ``budget`` (permit, send
slot, send), ``reservation`` (when a request may go: the law, on a row of cells), ``state_layout``
(the row), ``usage_stats`` (what was used). The stores of the row are the family in ``stores``.
"""

from pipeline.ratelimit.budget import Budget, identity, open_budget, printable_location, usage
from pipeline.ratelimit.limits import Limits, RateWindow
from pipeline.ratelimit.usage_stats import BudgetStats, Minute, SendGrant

__all__ = [
    "Budget",
    "BudgetStats",
    "Limits",
    "Minute",
    "RateWindow",
    "SendGrant",
    "identity",
    "open_budget",
    "printable_location",
    "usage",
]
