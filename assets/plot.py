"""Requests over time as a picture for the materialization's metadata."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def requests_over_time(sends: Sequence[tuple[float, int]], bin_s: float, limit: float) -> str:
    """Markdown: one bar a bin, the scale, and the limit.

    :param sends: (unix time of the bin's start, requests in it); ``limit`` in requests a second.
    """
    if not sends:
        return "no requests"
    rates = [count / bin_s for _, count in sends]
    top = max([*rates, limit])
    bars = "".join(_BARS[min(7, int(rate / top * 7.999))] for rate in rates)
    return (
        f"`{bars}`\n\none bar = {bin_s:g} s, full height = {top:g} requests/s, "
        f"limit = {limit:g} requests/s"
    )
