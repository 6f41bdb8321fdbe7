"""What the demo prints: a table of manifests, the pace that the API saw, and the comparison."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from local.manifests import Committed

HEADINGS = (
    "endpoint", "partition", "window (UTC)", "rows", "late", "files", "KiB",
    "requests", "429s", "proved",
)  # fmt: skip
LEFT_ALIGNED = 3


def moment(text: str | None) -> str:
    """An ISO 8601 instant, short; the open start of a baseline is a dash."""
    if text is None:
        return "—"
    return f"{datetime.fromisoformat(text):%m-%d %H:%M}"


def cells(one: Committed) -> tuple[str, ...]:
    return (
        one.endpoint,
        one.partition,
        f"{moment(one.start):>11} … {moment(one.end)}",
        f"{one.rows:,}",
        str(one.late_rows),
        str(len(one.paths)),
        f"{one.bytes / 1024:,.0f}",
        str(one.requests),
        str(one.throttled),
        "yes" if one.contiguous else "NO",
    )


def table(partitions: Sequence[Committed]) -> str:
    """The partitions that have rows; below it how many have none."""
    shown = [one for one in partitions if one.rows]
    rows = [HEADINGS, *(cells(one) for one in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_line(row, widths) for row in rows]
    empty = len(partitions) - len(shown)
    below = (
        [f"{empty} more are committed without rows: empty is known, not guessed."] if empty else []
    )
    return "\n".join([lines[0], rule, *lines[1:], rule, *below])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        text.ljust(width) if column < LEFT_ALIGNED else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def pace(stats: Mapping[str, Any], limit_per_s: int) -> str:
    """One sentence on what the API saw, from the emulator's own count of arrivals."""
    requests, throttled = int(stats["accepted"]), int(stats["throttled"])
    first, last = stats["first_monotonic_s"], stats["last_monotonic_s"]
    counted = f"{requests} requests, {throttled} answered 429"
    if requests < 2:
        return f"The API saw {counted}."
    if last - first < 1:  # so few may go at once: that is no rate
        return f"The API saw {counted}, within a second."
    if requests <= 2 * limit_per_s:  # a first and a last burst, and hardly a time between them
        most = stats["max_in_window"]
        return (
            f"The API saw {counted}, in {last - first:.1f} s: at most {most} in any second, of the "
            f"{limit_per_s} allowed."
        )
    rate = (requests - 1) / (last - first)
    return (
        f"The API saw {counted}: {rate:.2f} a second of the {limit_per_s} allowed "
        f"({100 * rate / limit_per_s:.0f} %), at most {stats['max_in_window']} in any second."
    )
