"""Filters that keep secrets out of the logs of the HTTP libraries, at any level.

Some APIs take their key in the query, and repeat it in links and redirects.
"""

import logging

import httpx


def keep_secrets_out() -> None:
    """Add the filters. A filter that is there already is not added twice."""
    log = logging.getLogger("httpx")
    log.addFilter(_without_query)
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)  # a line a request is noise
    for name in ("httpcore.http11", "httpcore.http2"):
        logging.getLogger(name).addFilter(_without_headers)


def _without_query(record: logging.LogRecord) -> bool:
    """httpx logs each URL with its query."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            a.copy_with(query=None) if isinstance(a, httpx.URL) else a for a in record.args
        )
    return True


def _without_headers(record: logging.LogRecord) -> bool:
    """httpcore logs the headers of responses."""
    return "receive_response_headers.complete" not in record.getMessage()
