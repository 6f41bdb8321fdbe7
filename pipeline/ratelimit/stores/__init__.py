"""The family of budget stores: where the users of one budget meet.

``base``: the family (``BudgetStore``, ``StateStore``, the registry), with a whole example. One file
a kind: ``memory``, ``folder``, ``postgres``, ``redis``; ``server``: the part shared by stores on a
server; ``pages``: a row of which only the parts that are needed are moved.
"""

# The kinds that ship; importing a store's module registers it.
from pipeline.ratelimit.stores import folder, memory, postgres, redis

__all__ = ["folder", "memory", "postgres", "redis"]
