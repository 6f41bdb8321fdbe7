"""Requests over time as a picture for the materialization's metadata."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 80


def requests_over_time(
    sends: Sequence[tuple[float, int]], bin_s: float, limit: float | None
) -> str:
    """Markdown: one bar a bin, the scale, and the limit.

    :param sends: (unix time of the bin's start, requests in it).
    :param limit: in requests a second; None: the API has none.
    """
    if not any(count for _, count in sends):
        return "no requests"
    merge = -(-len(sends) // MOST_BARS)
    counts = [count for _, count in sends]
    bin_s *= merge
    rates = [sum(counts[i : i + merge]) / bin_s for i in range(0, len(counts), merge)]
    top = max([*rates, limit or 0.0])
    of = "no limit" if limit is None else f"limit = {limit:g} requests/s"
    bars = "".join(_BARS[min(7, int(rate / top * 7.999))] for rate in rates)
    return f"`{bars}`\n\none bar = {bin_s:g} s, full height = {top:g} requests/s, {of}"
