"""The only way out: whatever is sent to an API goes through here, in its turn.

From the outside in: ``cache`` and ``packing`` stand before ``client`` and have its interface
(``cache_store`` and ``pack`` are their data); ``client`` sends, by ``classify``, ``retry``,
``breaker`` and ``refusal``, and ``hearing`` passes on what answers say of the quota; ``auth`` and
``token_auth`` (by the ``grants``) sign; ``transport`` asks the budget, ``in_time`` bounds the wait,
``connections`` are aiohttp's under httpx, ``received`` reads a body; ``spelled`` and
``secret_logs`` keep secrets out of what is said.
"""
