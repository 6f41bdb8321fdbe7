"""Pictures for Dagster's pages: small SVGs inside Markdown, drawn without a library.

    rows_by_partition(axis), bytes_by_partition(axis)   a bar a partition, late rows marked
    coverage_calendar(axis)                             committed, empty, missing, today
    request_chart(bins)                                 requests over time, the limit, waits, 429s

Dagster's page shows an image whose address is the image itself (``data:``). All bars of one colour
are one path, so that a picture of 90 partitions takes some 2 KB in Dagster's database. Sizes are in
pixels; colours are readable on Dagster's light and dark pages.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

from pipeline.lake.manifest import Manifest
from pipeline.partitions.calendar import Calendar

MOST_PARTITIONS: Final = 90
_WIDTH: Final = 440
_PLOT: Final = 64
_STRIP: Final = 12
_TEXT: Final = "#7a808c"
_BLUE, _ORANGE, _RED = "#4f7cac", "#e8890c", "#d64545"
_GREEN, _PALE, _GREY, _TODAY = "#2ea56f", "#a5dcc0", "#b9bec7", "#2563eb"
_CELL: Final = 12
_STEP: Final = _CELL + 2
_ACROSS: Final = 15
_DAY: Final = timedelta(days=1)
_TALL: Final = 3.0
"""A baseline that is so many times as tall as every other bar goes beyond the picture."""


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
        """What the full height means, in requests a second."""
        return max([*self.rates, self.limit_per_s or 0.0])


def rows_by_partition(axis: PartitionAxis) -> str:
    """Markdown: a bar of rows for each partition, late rows in orange and marked below the axis."""
    rows = {key: each.rows for key, each in axis.committed.items()}
    late = {key: each.late_rows for key, each in axis.committed.items()}
    picture, beyond = _bar_chart(axis, rows, late)
    shown = sum(rows.get(key, 0) for key in axis.keys)
    lates = sum(late.get(key, 0) for key in axis.keys)
    caption = f"{shown:,} rows, {lates:,} of them late (orange)" if lates else f"{shown:,} rows"
    return _markdown("rows by partition", picture, caption + beyond)


def bytes_by_partition(axis: PartitionAxis) -> str:
    """Markdown: a bar of bytes for each partition."""
    sizes = {key: each.total_bytes for key, each in axis.committed.items()}
    picture, beyond = _bar_chart(axis, sizes, {}, _size)
    total = sum(sizes.get(key, 0) for key in axis.keys)
    return _markdown("bytes by partition", picture, _size(total) + beyond)


def coverage_calendar(axis: PartitionAxis) -> str:
    """Markdown: a cell for each partition; days stand in weeks, from Monday to Sunday."""
    colours = {"committed": _GREEN, "empty": _PALE, "missing": _RED, "not taken": _GREY}
    places, labels, width, height = _grid(axis)
    paths: dict[str, list[str]] = {}
    for key, (x, y) in places.items():
        paths.setdefault(axis.state(key), []).append(f"M{x} {y}h{_CELL}v{_CELL}h-{_CELL}z")
    parts = [*labels]
    for state, colour in colours.items():
        if state in paths:
            parts.append(f'<path fill="{colour}" d="{"".join(paths[state])}"/>')
    if axis.today in places:
        x, y = places[axis.today]
        parts.append(
            f'<rect x="{x - 1}" y="{y - 1}" width="{_CELL + 2}" height="{_CELL + 2}" fill="none" '
            f'stroke="{_TODAY}" stroke-width="2"/>'
        )
    for number, (state, colour) in enumerate([*colours.items(), ("now", "none")]):
        count = len(paths.get(state, ()))
        text = f"{count} {state}" if state != "now" else f"now: {axis.today}"
        line = f' stroke="{_TODAY}" stroke-width="2"' if state == "now" else ""
        if count or state == "now":
            y = 6 + 18 * number
            parts.append(
                f'<rect x="{width + 12}" y="{y}" width="10" height="10" fill="{colour}"{line}/>'
                + _text(width + 28, y + 9, text)
            )
    counts = ", ".join(f"{len(paths[state])} {state}" for state in colours if state in paths)
    return _markdown("coverage", _svg(max(height, 96), parts), f"{counts}; framed: {axis.today}")


def request_chart(bins: RequestBins) -> str:
    """The picture alone, as Markdown: bars, the limit as a dashed line, waits and 429s below."""
    step = _WIDTH / max(1, len(bins.rates))
    top = bins.top or 1.0
    parts = [_bars(bins.rates, top, step, 4, _PLOT, _BLUE)]
    if bins.limit_per_s is not None:
        y = round(4 + _PLOT * (1 - bins.limit_per_s / top), 1)
        parts.append(
            f'<path d="M0 {y}h{_WIDTH}" stroke="{_RED}" stroke-dasharray="5 3" fill="none"/>'
        )
    height = _PLOT + 8
    for name, values, colour in (("waits", bins.waits, _GREY), ("429", bins.throttled, _RED)):
        if any(values):
            parts.append(_bars(values, max(values), step, height + 2, _STRIP, colour))
            parts.append(_text(_WIDTH - 2, height + 11, name, "end"))
            height += _STRIP + 6
    return _image("requests over time", _svg(height, parts))


# ---- below: how


def _bar_chart(
    axis: PartitionAxis,
    values: Mapping[str, int],
    late: Mapping[str, int],
    words: Callable[[float], str] = "{:,.0f}".format,
) -> tuple[str, str]:
    """The picture, and a clause on a first bar that is taller than the picture."""
    keys, baseline = axis.keys, axis.calendar.first
    heights = [values.get(key, 0) for key in keys]
    others = max((values.get(key, 0) for key in keys if key != baseline), default=0)
    top, beyond = max([*heights, 1]), ""
    if baseline in keys and others and values.get(baseline, 0) > _TALL * others:
        top = round(1.2 * others) or 1
        beyond = f"; the baseline's {words(values[baseline])} go beyond the picture"
    step = _WIDTH / len(keys)
    lates = [late.get(key, 0) for key in keys]
    parts = [_bars([min(top, each) for each in heights], top, step, 14, _PLOT, _BLUE)]
    if any(lates):
        parts.append(_bars([min(top, each) for each in lates], top, step, 14, _PLOT, _ORANGE))
        marks = (round((at + 0.5) * step, 1) for at, each in enumerate(lates) if each)
        drawn = "".join(f"M{x} {_PLOT + 16}l3 5h-6z" for x in marks)
        parts.append(f'<path fill="{_ORANGE}" d="{drawn}"/>')
    parts += [
        f'<path d="M0 {_PLOT + 14.5}h{_WIDTH}" stroke="{_TEXT}" fill="none"/>',
        _text(0, 10, words(top)),
        _text(0, _PLOT + 33, keys[0]),
    ]
    if len(keys) > 1:
        parts.append(_text(_WIDTH, _PLOT + 33, keys[-1], "end"))
    return _svg(_PLOT + 38, parts), beyond


def _bars(
    values: Sequence[float], top: float, step: float, y: float, height: float, colour: str
) -> str:
    """Bars that stand on ``y + height``; every value above zero can be seen."""
    wide = round(max(1.0, min(24.0, step * 0.8)), 1)
    drawn = []
    for at, value in enumerate(values):
        if value > 0:
            tall = round(max(1.5, height * min(1.0, value / top)), 1)
            drawn.append(f"M{round((at + 0.5) * step, 1):g} {y + height:g}v-{tall:g}")
    return f'<path stroke="{colour}" stroke-width="{wide:g}" fill="none" d="{"".join(drawn)}"/>'


def _grid(
    axis: PartitionAxis,
) -> tuple[dict[str, tuple[int, int]], list[str], int, int]:
    """Where each partition's cell is, the labels, and the width and the height of it all."""
    calendar = axis.calendar
    begins = {key: calendar.begins(key).astimezone(calendar.zone) for key in axis.keys}
    places, labels = dict[str, tuple[int, int]](), list[str]()
    if abs(calendar.ends(axis.keys[-1]) - calendar.begins(axis.keys[-1]) - _DAY) < _DAY / 12:
        left, above = 28, 16
        first = begins[axis.keys[0]].date()
        monday = first - timedelta(days=first.weekday())
        for key, at in begins.items():
            week = (at.date() - monday).days // 7
            places[key] = left + week * _STEP, above + at.weekday() * _STEP
            if at.day == 1 or key == axis.keys[0]:
                labels.append(_text(places[key][0], 10, f"{at:%b}"))
        if len(labels) > 1 and begins[axis.keys[0]].day > 20:  # no place for two names
            labels.pop(0)
        labels += [
            _text(0, above + row * _STEP + 10, f"{_MONDAY + row * _DAY:%a}") for row in (0, 2, 4)
        ]
        across, down = max(x for x, _ in places.values()) + _STEP, above + 7 * _STEP
        return places, labels, across, down
    for number, key in enumerate(axis.keys):
        row, column = divmod(number, _ACROSS)
        places[key] = 110 + column * _STEP, row * _STEP + 2
        if column == 0:
            labels.append(_text(0, row * _STEP + 12, key))
    return places, labels, 110 + _ACROSS * _STEP, (len(axis.keys) // _ACROSS + 1) * _STEP


_MONDAY: Final = datetime(2026, 11, 2)  # noqa: DTZ001  for its name alone


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{side}>{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {_WIDTH} {height:g}" font-family="sans-serif" font-size="10" '
        f'fill="{_TEXT}">{"".join(parts)}</svg>'
    )


def _image(alt: str, svg: str) -> str:
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _markdown(alt: str, svg: str, caption: str) -> str:
    return f"{_image(alt, svg)}\n\n{caption}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} TiB"
