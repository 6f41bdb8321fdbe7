"""What the HTTP libraries log, without secrets, at any level.

Some APIs take their key in the query, and say it again in links and redirects.
"""

import logging

import httpx


def keep_secrets_out() -> None:
    """Filter them. It may be called often: a filter that is there already is not added again."""
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
    """httpcore logs the headers of answers."""
    return "receive_response_headers.complete" not in record.getMessage()
