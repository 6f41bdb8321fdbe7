"""The only way out: whatever is sent to an API goes through here, within the rate limit.

From the outside in: ``cache`` (by ``cache_store``) and ``request_batching`` stand before ``client``
and have its interface; ``client`` sends, by ``classify``, ``retry`` and ``breaker``; its errors are
in the words of ``error_messages``; ``rate_limit_headers`` reports the quota to the budget, by
``waits`` (how long a header says to wait) and ``throttle_pace`` (how long where none does). Below
it ``budgeted_transport`` asks the budget, ``deadlines`` bounds the wait, ``aiohttp_transport`` has
the connections, by the proxy and the certificates of ``network``, ``cookies`` are none unless the
YAML wants them, and ``response_body`` reads a body.
``log_filters`` keep secrets out of the libraries' logs. Requests are signed by ``pipeline.auth``.
"""
