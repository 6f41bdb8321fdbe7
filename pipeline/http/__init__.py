"""The only way out: whatever is sent to an API goes through here, in its turn.

From the outside in: ``cache`` and ``request_batching`` stand before ``client`` and have its
interface (``cache_store`` and ``request_batch`` are their data); ``client`` sends, by ``classify``,
``retry``, ``breaker`` and ``error_messages``, and ``rate_limit_headers`` passes on what answers say
of the quota; ``auth`` and ``token_auth`` (by the ``oauth``) sign; ``budgeted_transport`` asks the
budget, ``deadlines`` bounds the wait, ``aiohttp_transport`` are aiohttp's under httpx,
``response_body`` reads a body; ``redaction`` and ``log_filters`` keep secrets out of what is said.
"""
