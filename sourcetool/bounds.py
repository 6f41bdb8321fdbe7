"""Whether an API keeps to the bounds of a window: with both, with an earlier end, without a start.

The first partition has no lower bound. What is left of a request without ``{start}`` may mean
something else: Parse Server finds nothing by ``{$gte: {__type: Date}}``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config.each import lists_of
from sourcetool.probe import ProbeResult

_FLOOR = "window: {floor: '1970-01-01'} gives {start} a value there too; see 'The window'"


@dataclass(frozen=True)
class Finding:
    """Something suspicious that an API did, and its remedy.

    :ivar breaks: it would lose or mix up rows.
    """

    text: str
    remedy: str
    breaks: bool = False


def bounds(probe: ProbeResult) -> Iterator[Finding]:
    """What is suspicious of the bounds of a window that has rows."""
    if probe.half is not None and probe.half.info.rows == 0:
        yield Finding(
            "requested a part of the window that has rows, the API gave none: every day that has "
            "ended would be empty",
            "correct the parameter that carries {end}, or window.format",
            breaks=True,
        )
    if probe.later:
        yield Finding(
            f"requested a part of the window, {probe.later:,} rows came that lie after its end: an "
            "API that compares times as texts would leave out others at its start",
            "write the bounds as its rows are, e.g. window: {format: '%Y-%m-%d %H:%M:%S.000Z'}",
        )
    yield from _without_start(probe)


def _without_start(probe: ProbeResult) -> Iterator[Finding]:
    if probe.ever_error is not None:
        yield Finding(
            f"requested everything up to now, as the first partition will be: {probe.ever_error}",
            f"if the API wants a lower bound always, {_FLOOR}",
            breaks=True,
        )
    if probe.ever is None:
        return
    head, ever = probe.pages[0].info, probe.ever.info
    ends = not (ever.token or ever.url)
    fewer = head.total is not None and ever.total is not None and ever.total < head.total
    if (ever.rows == 0 and ends) or fewer:
        yield Finding(
            f"{head.total if fewer else head.rows:,} rows came, but asked for everything up to "
            f"now, without {{start}}, the API gave {ever.total if fewer else 0:,}: the first "
            "partition would lack them",
            f"what is left of the request without {{start}} means something else: {_FLOOR}",
            breaks=True,
        )


def no_parent(probe: ProbeResult) -> Finding:
    """The finding about an endpoint of children whose parents have no rows."""
    above = ", ".join(
        value_list.endpoint for value_list in lists_of(probe.endpoint) if value_list.endpoint
    )
    return Finding(
        f"no rows of {above} came, so that there was nothing to ask for",
        f"see what was said of {above}, or look further back: ARGS='--days 30'",
    )


def nothing(probe: ProbeResult) -> Finding:
    """The finding about a window without rows."""
    if probe.ever is None:
        return Finding(
            "no rows came, so that nothing could be checked", "is the path to rows right?"
        )
    if probe.ever.info.rows:
        return Finding(
            "no rows came of these days, so that little could be checked",
            "look further back: ARGS='--days 30'",
        )
    return Finding(
        "no rows came, not even of everything up to now: the first partition would be empty",
        "is a parameter misspelt? Request the API without it: some return nothing for a filter "
        "that they don't know",
    )
