"""The API's own clock, as its responses say it (``Date``; RFC 9110, 6.6.1). Pure.

A window ends with the worker's clock, and rows are stamped by the API's. Where the API's is behind,
rows that are stamped after its first response would lie before the watermark, and no later window
would request them: so the watermark is the earlier of the two. A later response may be older than
the first one, from a cache on the way or a server that is behind: the earliest of all counts.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pipeline.messages import server_time

MOST_APART_S: Final = 5.0
"""Clocks that are kept by NTP differ by less, and ``Date`` has whole seconds."""


def clock_warning(
    headers: Mapping[str, str], sent_at: datetime, received_at: datetime
) -> str | None:
    """The sentence on clocks that differ, or None.

    :param sent_at: by the local clock, before the request; ``received_at`` after its response.
    """
    server = server_time(headers)
    if server is None or headers.get("age", "0").strip() not in ("", "0"):
        return None  # a cache's response has the Date of the first time that it was sent
    apart_s = max((sent_at - server).total_seconds(), (server - received_at).total_seconds())
    if apart_s <= MOST_APART_S:
        return None
    where = "behind" if server < sent_at else "ahead of"
    return (
        f"the API's clock (Date) is {apart_s:,.0f} s {where} this machine's: the watermark is the "
        "earlier of both. Check: 1. this machine's time (NTP); 2. a safety_margin_s that is longer"
    )
