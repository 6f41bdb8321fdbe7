"""The only way out: whatever is sent to an API goes through here, within the rate limit.

From the outside in: ``cache``, with its entries in ``response_store``, and ``request_batching``
stand before ``client`` and have its interface; ``client`` sends, by ``classify`` (the meaning of a
response, and the errors) and ``retry`` (the waits, and the breaker); ``rate_limit_headers`` reads
the quota and the waits that a response names, and reports them to the budget. Below it ``session``
builds each request, with the cookies of the run, and has it signed by ``pipeline.auth``;
``transport`` takes a permit and a send slot, bounds the wait, and has the connections, by the proxy
and the certificates of ``network``; ``response_body`` reads a body, and ``connection_faults`` says
why there is none. ``reading_time`` is the time that a reading has: waits for
a turn are not its own.
"""
