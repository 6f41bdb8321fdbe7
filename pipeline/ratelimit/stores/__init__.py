"""The family of budget stores: where the users of one budget meet.

``base``: the family (``BudgetStore``, ``StateStore``, the registry), with a whole example. One file
a kind: ``memory``, ``folder``, ``postgres``, ``redis``; ``server``: the part shared by stores on a
server. ``lock_holders``: which processes hold a folder's locks. ``registry``: from
``HEADRACE_BUDGET`` to a budget.
"""
