"""Pictures for Dagster's pages: small SVGs inside Markdown, drawn without a library.

    rows_by_partition(axis), bytes_by_partition(axis)   a bar a partition, late rows marked
    coverage_calendar(axis)                             committed, empty, missing, today
    request_chart(bins)                                 requests over time, the limit, waits, 429s

Dagster's page shows an image whose address is the image itself (``data:``), and shows Markdown in
place only if it has less than 1,000 characters, the image among them: a longer one hides behind a
link. So all bars of one colour are one path, runs of equal bars are one piece of it, and what still
does not fit is drawn simpler: without gaps, then with fewer partitions. Sizes are in pixels;
colours are readable on Dagster's light and dark pages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from pipeline.lake.manifest import Manifest
from pipeline.partitions.calendar import Calendar

MOST_PARTITIONS: Final = 90
SHOWN_CHARS: Final = 1_000
"""Markdown of fewer characters is shown in place (1.13: `MarkdownMetadataEntry` of the web app)."""
_FEWER: Final = (90, 60, 40, 20)
_WIDTH: Final = 400
_PLOT: Final = 56
_STRIP: Final = 12
_WIDEST: Final = 26
_CELL: Final = 12
_STEP: Final = _CELL + 2
_DAY: Final = timedelta(days=1)
_TALL: Final = 3.0
"""A baseline that is so many times as tall as every other bar goes beyond the picture."""
_COLOURS: Final = {
    "committed": ("mediumseagreen", "green"),
    "empty": ("paleturquoise", "pale"),
    "missing": ("crimson", "red"),
    "not taken": ("silver", "grey"),
}


@dataclass(frozen=True)
class _Band:
    """Where bars stand in a picture, from its top, in pixels."""

    y: int
    height: int


_PLOT_BAND: Final = _Band(0, _PLOT)


@dataclass(frozen=True)
class PartitionAxis:
    """The newest partitions of an endpoint, with what is committed of each.

    :ivar keys: in order; those that are not committed, too.
    :ivar today: the partition that now lies in.
    :ivar counts_missing: False of a snapshot: a past partition can't be taken any more.
    """

    calendar: Calendar
    keys: Sequence[str]
    committed: Mapping[str, Manifest]
    today: str
    counts_missing: bool

    @classmethod
    def of(
        cls,
        calendar: Calendar,
        manifests: Sequence[Manifest],
        now: datetime,
        *,
        counts_missing: bool = True,
    ) -> "PartitionAxis":
        """The last partitions up to now, from the source's first one on."""
        committed = {each.partition: each for each in manifests if calendar.has(each.partition)}
        today = calendar.of(now)
        keys = [max([today, *committed])]
        while len(keys) < MOST_PARTITIONS and (before := calendar.previous(keys[0])) is not None:
            keys.insert(0, before)
        return cls(calendar, keys, committed, today, counts_missing)

    def last(self, most: int) -> "PartitionAxis":
        """The same with fewer partitions."""
        return replace(self, keys=self.keys[-most:])

    def state(self, key: str) -> str:
        """``committed``, ``empty``, ``missing``, ``not taken`` (a snapshot), or ``not yet``."""
        manifest = self.committed.get(key)
        if manifest is not None:
            return "committed" if manifest.rows else "empty"
        if key >= self.today:
            return "not yet"
        return "missing" if self.counts_missing else "not taken"


@dataclass(frozen=True)
class RequestBins:
    """The requests of a run, or of a budget, over time.

    :ivar rates: requests a second in each bin. :ivar waits: requests that were waiting, on average.
    :ivar throttled: responses with status 429.
    """

    bin_s: float
    limit_per_s: float | None
    rates: Sequence[float]
    waits: Sequence[float] = ()
    throttled: Sequence[int] = ()

    @property
    def top(self) -> float:
        """The full height of the chart, in requests a second."""
        return max([*self.rates, self.limit_per_s or 0.0])


def rows_by_partition(axis: PartitionAxis) -> str:
    """Markdown: a bar of rows for each partition, with the late rows of it in orange."""
    rows = {key: each.rows for key, each in axis.committed.items()}
    late = {key: each.late_rows for key, each in axis.committed.items()}

    def words(keys: Sequence[str]) -> str:
        lates = sum(late.get(key, 0) for key in keys)
        of_them = f", {lates:,} late (orange)" if lates else ""
        return f"{sum(rows.get(key, 0) for key in keys):,} rows{of_them}"

    return _bar_chart(axis, "rows", rows, late, words, "{:,.0f}".format)


def bytes_by_partition(axis: PartitionAxis) -> str:
    """Markdown: a bar of bytes for each partition."""
    sizes = {key: each.total_bytes for key, each in axis.committed.items()}

    def words(keys: Sequence[str]) -> str:
        return _size(sum(sizes.get(key, 0) for key in keys))

    return _bar_chart(axis, "bytes", sizes, {}, words, _size)


def coverage_calendar(axis: PartitionAxis) -> str:
    """Markdown: a cell for each partition; days stand in weeks, from Monday to Sunday."""

    def drawn(most: int, *, with_names: bool) -> str:
        shown = axis.last(most)
        places, names, width, height = _grid(shown)
        parts, counts = list[str](), list[str]()
        for state, (colour, word) in _COLOURS.items():
            keys = [key for key in shown.keys if shown.state(key) == state]
            if keys:
                counts.append(f"{len(keys)} {state} ({word})")
                cells = _cells([places[key] for key in keys])
                parts.append(
                    f"<path stroke='{colour}' stroke-width='{_CELL}' "
                    f"stroke-dasharray='{_CELL},{_STEP - _CELL}' d='{cells}'/>"
                )
        if shown.today in places:
            x, y = places[shown.today]
            parts.append(
                f"<path fill='none' stroke='royalblue' stroke-width='2' "
                f"d='M{x - 1},{y - 1}h{_STEP}v{_STEP}h-{_STEP}z'/>"
            )
            counts.append(f"{shown.today} is framed")
        if with_names:
            parts += [f"<text x='{x}' y='{y}'>{name}</text>" for name, (x, y) in names.items()]
        style = "font-family='sans-serif' font-size='10' fill='gray'"
        return _markdown("coverage", width, height, parts, ", ".join(counts), style)

    return _first_that_fits(
        drawn(most, with_names=names) for most in _FEWER for names in (True, False)
    )


def request_chart(bins: RequestBins, caption: str) -> str:
    """Markdown: bars, the limit as a dashed line, waits (grey) and 429s (red) below."""

    def drawn(merge: int, *, strips: bool) -> str:
        some = _merged(bins, merge)
        step = max(1, min(_WIDEST, _WIDTH // len(some.rates)))
        top, width = some.top or 1.0, step * len(some.rates)
        parts = [_bars(some.rates, top, step, _PLOT_BAND, "steelblue")]
        if some.limit_per_s is not None:
            y = round(_PLOT * (1 - some.limit_per_s / top)) + 1
            parts.append(f"<path stroke='crimson' stroke-dasharray='5,3' d='M0,{y}h{width}'/>")
        height = _PLOT + 2
        rows = ((some.waits, "silver"), (some.throttled, "crimson"))
        for values, colour in rows[0 if strips else 1 :]:
            if any(values):
                parts.append(_bars(values, max(values), step, _Band(height + 2, _STRIP), colour))
                height += _STRIP + 4
        return _markdown("requests over time", width, height, parts, caption)

    return _first_that_fits(
        drawn(n, strips=strips) for n in (1, 2, 4, 8) for strips in (True, False)
    )


# ---- below: how


def _bar_chart(
    axis: PartitionAxis,
    what: str,
    values: Mapping[str, int],
    late: Mapping[str, int],
    words: Callable[[Sequence[str]], str],
    size_of: Callable[[float], str],
) -> str:
    """:param words: the sum of partitions. :param size_of: the size of one bar."""

    def drawn(most: int, *, gaps: bool) -> str:
        keys, baseline = axis.last(most).keys, axis.calendar.first
        others = max((values.get(key, 0) for key in keys if key != baseline), default=0)
        top, beyond = max([*(values.get(key, 0) for key in keys), 1]), ""
        if baseline in keys and others and values.get(baseline, 0) > _TALL * others:
            top, beyond = others, f"; the baseline, {size_of(values[baseline])}, goes beyond it"
        step = max(3, min(_WIDEST, _WIDTH // len(keys)))
        heights = [min(top, values.get(key, 0)) for key in keys]
        lates = [min(top, late.get(key, 0)) for key in keys]
        parts = [_bars(heights, top, step, _PLOT_BAND, "steelblue", gaps=gaps)]
        if any(lates):
            parts.append(_bars(lates, top, step, _PLOT_BAND, "darkorange", least=4, gaps=gaps))
        parts.append(f"<path stroke='gray' d='M0,{_PLOT + 1}h{step * len(keys)}'/>")
        span = keys[0] if len(keys) == 1 else f"{keys[0]} … {keys[-1]}"
        caption = f"{span}: {words(keys)}\n\nfull height: {size_of(top)}{beyond}"
        return _markdown(what, step * len(keys), _PLOT + 2, parts, caption)

    return _first_that_fits(drawn(most, gaps=gaps) for most in _FEWER for gaps in (True, False))


def _first_that_fits(drawn: Iterable[str]) -> str:
    """The first that is shown in place, else the last one."""
    text = ""
    for text in drawn:
        if len(text) < SHOWN_CHARS:
            break
    return text


def _bars(
    values: Sequence[float],
    top: float,
    step: int,
    band: _Band,
    colour: str,
    *,
    least: int = 1,
    gaps: bool = False,
) -> str:
    """Bars that stand on the band's foot, as one outline; every value above zero can be seen."""
    base, gap = band.y + band.height, min(6, step // 4) if gaps else 0
    tall = [
        max(least, round(band.height * min(1.0, value / top))) if value > 0 else 0
        for value in values
    ]
    drawn = f"M0,{base}"
    for each, run in groupby(tall):
        count = len([*run])
        if each and gap:
            drawn += f"V{base - each}h{step - gap}V{base}h{gap}" * count
        else:
            drawn += f"V{base - each}h{step * count}"
    return f"<path fill='{colour}' d='{drawn}V{base}z'/>"


def _cells(places: Sequence[tuple[int, int]]) -> str:
    """Cells that stand below each other are one dashed line."""
    drawn, run = "", 0
    for number, (x, y) in enumerate(places):
        run += 1
        follows = number + 1 < len(places) and places[number + 1] == (x, y + _STEP)
        if not follows:
            drawn += f"M{x + _CELL // 2},{y - (run - 1) * _STEP}v{run * _STEP - 2}"
            run = 0
    return drawn


def _grid(
    axis: PartitionAxis,
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int, int]:
    """The grid of a calendar: the partitions' cells, the months' names, the width and height."""
    calendar = axis.calendar
    names = dict[str, tuple[int, int]]()
    if abs(calendar.ends(axis.keys[-1]) - calendar.begins(axis.keys[-1]) - _DAY) >= _DAY / 12:
        cells = {
            key: (2 + number // 7 * _STEP, 2 + number % 7 * _STEP)
            for number, key in enumerate(axis.keys)
        }
        return cells, names, 4 + -(-len(cells) // 7) * _STEP, 4 + 7 * _STEP
    begins = {key: calendar.begins(key).astimezone(calendar.zone) for key in axis.keys}
    first = begins[axis.keys[0]].date()
    monday = first - timedelta(days=first.weekday())
    places = {}
    for key, at in begins.items():
        week = (at.date() - monday).days // 7
        places[key] = 2 + week * _STEP, 16 + at.weekday() * _STEP
        if at.day == 1:
            names[f"{at:%b}"] = places[key][0], 10
    return places, names, max(x for x, _ in places.values()) + 3 * _STEP, 18 + 7 * _STEP


def _merged(bins: RequestBins, merge: int) -> RequestBins:
    """The same with fewer bars."""

    def mean(values: Sequence[float]) -> list[float]:
        groups = [values[i : i + merge] for i in range(0, len(values), merge)]
        return [sum(group) / len(group) for group in groups]

    throttled = [sum(bins.throttled[i : i + merge]) for i in range(0, len(bins.throttled), merge)]
    rates, waits = mean(bins.rates), mean(bins.waits)
    return replace(bins, bin_s=bins.bin_s * merge, rates=rates, waits=waits, throttled=throttled)


def _markdown(
    alt: str, width: int, height: int, parts: Sequence[str], caption: str, style: str = ""
) -> str:
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' {style}>"
        f"{''.join(parts)}</svg>"
    )
    for letter, code in (("<", "%3C"), (">", "%3E"), ("#", "%23"), (" ", "%20")):
        svg = svg.replace(letter, code)
    return f"![{alt}](data:image/svg+xml,{svg})\n\n{caption}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} TiB"
