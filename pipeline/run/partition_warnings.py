"""The warnings of a partition: what a person should look at, though all of its rows are proved.

Pure functions of what is known once all pages came. The warnings stay with the partition, in its
manifest; those on the window's bounds are checks besides.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pipeline.config.endpoint import Endpoint
from pipeline.decode.body_checks import NO_UTF8
from pipeline.errors import cut
from pipeline.extract.early_times import coarser_type
from pipeline.lake.manifest import Manifest
from pipeline.partitions.window import Window
from pipeline.run.partition_progress import PartitionCounts, ReadingNotes
from pipeline.run.stale_rows import GONE_LANES, without_unknown_regions
from pipeline.run.verify import Check
from pipeline.timestamps import EPOCH, as_iso

_NAIVE_CURSOR: Final = (
    "the times of {} have no time zone, and are read as UTC: rows are lost where they are not. "
    "Say in which zone the API writes them, e.g. window: {{timezone: America/Chicago}}, or "
    "timezone: UTC"
)
_NAIVE: Final = (
    "the times of {} have no time zone, and are read as UTC: say in which zone the API writes "
    "them, e.g. window: {{timezone: America/Chicago}}, or timezone: UTC"
)
_EARLY: Final = (
    "no time of `{0}` is later than {1}: they are declared {2}, and seem to be {3}, in which the "
    "latest is {4}. Set columns: {{{0}: {3}}}, and materialize the partitions again"
)
_AFTER_END: Final = (
    "{:,} rows that have not changed meanwhile came from behind the window's end, {}: the API "
    "seems to read the bound in another time zone (window.timezone says in which), or to round it. "
    "Rows at the window's begin may be missing for the same reason"
)
_EMPTY_BASELINE: Final = (
    "the first partition (everything up to its end) has no rows. Check: 1. the names of the "
    "window's parameters (some servers ignore or reject them silently); 2. the form of its bounds: "
    "an API that wants milliseconds (`epoch_ms`) finds none before seconds (`epoch_s`); "
    "3. `window.floor`, if the request without {start} means something else; 4. `start`, which may "
    "lie before the first row"
)
_OTHER_EPOCH: Final = {"epoch_s": "epoch_ms", "epoch_ms": "epoch_s"}
_NO_ROWS_BY_EPOCH: Final = (
    "no row has come so far, by bounds in {}: an API that reads these numbers in another unit "
    "finds none. Check: 1. `window: {{format: {}}}`; 2. `start`, which may lie before the first row"
)
_WINDOW_FINDS_ROWS: Final = "window_finds_rows"
_NO_CHILDREN: Final = (
    "no row came for any of the parents. Check: 1. `path` and the parameters with {parent}; "
    "2. `parents.column`, whose values go there; 3. `answers.empty`, with which a wrong address "
    "means no rows, too; 4. if the API has rows, materialize this partition again: it may have "
    "been away"
)
_MANY_ROWS: Final = 20
_SHRUNK: Final = (
    "{:,} rows came, and {:,} in {}: has the API lost them, or did it respond in part? If the rows "
    "are there, materialize this partition again"
)
_NO_VALUES: Final = (
    "there are no values to read: the committed rows of {} have none{}; is its column right, and "
    "the filter?"
)
_GONE_VALUES: Final = (
    "no longer among the values of each: {}. Their rows stay in the partitions that are "
    "committed, and are lost to one that is materialized again"
)
_TAIL: Final = (
    "the API adds rows faster than the end can be confirmed. This partition has every row that was "
    "there when the end was reached; {:,} newer rows are left to the next partition. If their "
    "cursor lies before its safety margin, materialize this partition again"
)
_NO_UTF8: Final = (
    "characters that are no UTF-8 came ({:,}), and stand in the rows as U+FFFD: the API writes "
    "another charset, and its Content-Type does not name it. Ask its operator to name it there"
)
_LONGEST_LIST: Final = 300


def in_short(names: Sequence[str]) -> str:
    """The names in a row, cut where there are many."""
    return cut(", ".join(names), _LONGEST_LIST)


@dataclass(frozen=True)
class StagedRows:
    """How many rows are staged, and for which values they were read.

    :ivar values: of a fan-out, as the manifest lists them; None: it lists none.
    :ivar upstream: the endpoints whose rows the values are from.
    """

    rows: int
    values: tuple[Any, ...] | None
    upstream: Collection[str]


def warning_of(
    spec: Endpoint,
    window: Window,
    notes: ReadingNotes,
    counts: PartitionCounts,
    newest: Manifest | None,
    staged: StagedRows,
) -> str:
    """All warnings of a partition in one text; empty: none.

    :param newest: the newest partition that is committed.
    """
    tail = _TAIL.format(notes.tail_rows) if notes.tail_rows and notes.unproved is None else ""
    of_times = _of_times(spec, window, counts, newest)
    of_children = spec.parents is not None and not spec.incremental
    if of_children and not staged.rows and window.kind != "snapshot":
        of_rows = _of_no_children(window, newest, notes.fan_out.get("asked", 0))
    else:
        of_rows = _of_rows(spec, window, newest, staged)
    broken = counts.reading.converted.get(NO_UTF8, 0)
    of_text = _NO_UTF8.format(broken) if broken else ""
    return "; ".join(filter(None, (tail, *of_times, of_rows, of_text)))


def checks_of_times(spec: Endpoint, window: Window, counts: PartitionCounts) -> Iterator[Check]:
    """Checks of the window: only if it could not be kept, or is not known."""
    if of_cursor := [name for name in spec.cursors if name in counts.reading.naive_columns]:
        sentence = _NAIVE_CURSOR.format(in_short(of_cursor))
        yield Check("cursor_has_a_zone", False, sentence, blocking=False)
    for name, latest_us in counts.reading.latest_us.items():
        column = spec.columns.get(name)
        if column is not None and (coarser := coarser_type(column.type, latest_us)):
            text, at = coarser
            latest = as_iso(EPOCH + timedelta(microseconds=latest_us))
            sentence = _EARLY.format(name, latest, column.type, text, as_iso(at))
            yield Check("times_are_in_their_unit", False, sentence, blocking=False)
    if rows := counts.reading.rows_after_end:
        sentence = _AFTER_END.format(rows, as_iso(window.end))
        yield Check("window_end_is_kept", False, sentence, blocking=False)


def check_of_epoch(spec: Endpoint, rows: int, newest: Manifest | None) -> Iterator[Check]:
    """A check of the unit of the window's bounds: only if no partition has had a row so far.

    :param newest: the newest partition that is committed.
    """
    form = spec.window.format
    unknown = newest is None or any(check["name"] == _WINDOW_FINDS_ROWS for check in newest.checks)
    if form in _OTHER_EPOCH and spec.cursor and not rows and unknown:
        sentence = _NO_ROWS_BY_EPOCH.format(form, _OTHER_EPOCH[form])
        yield Check(_WINDOW_FINDS_ROWS, False, sentence, blocking=False)


def _of_times(
    spec: Endpoint,
    window: Window,
    counts: PartitionCounts,
    newest: Manifest | None,
) -> Iterator[str]:
    yield from (check.detail for check in checks_of_times(spec, window, counts))
    others = counts.reading.naive_columns - {*spec.cursors}
    if others and newest is None:
        yield _NAIVE.format(in_short(sorted(others)))


def _of_rows(
    spec: Endpoint,
    window: Window,
    newest: Manifest | None,
    staged: StagedRows,
) -> str:
    rows, values = staged.rows, staged.values
    if values == ():
        filtered = " that meet `where`" if spec.each and spec.each.where else ""
        return _NO_VALUES.format(", ".join(staged.upstream), filtered)
    gone_values = _gone_values(newest, values)
    if spec.each is not None and spec.each.found_in_run:
        gone_lanes = without_unknown_regions(gone_values, values or ())
        if gone_lanes:
            return GONE_LANES.format(in_short(gone_lanes))
    if window.kind == "snapshot" and newest is not None and newest.rows >= _MANY_ROWS:
        shrank = rows * 10 < newest.rows
        return _SHRUNK.format(rows, newest.rows, newest.partition) if shrank else ""
    if window.kind == "baseline":
        return _EMPTY_BASELINE if rows == 0 else ""
    if window.start is not None and gone_values:
        return _GONE_VALUES.format(in_short(gone_values))
    return ""


def _of_no_children(window: Window, newest: Manifest | None, parents: int) -> str:
    """Of children without a row: most parents have none, and many of them seldom all at once."""
    is_odd = newest is not None and min(newest.rows, parents) >= _MANY_ROWS
    return _NO_CHILDREN if parents and (is_odd or window.kind == "baseline") else ""


def _gone_values(newest: Manifest | None, values: tuple[Any, ...] | None) -> list[str]:
    """The values that the newest partition was read for, and this one is not."""
    known = (newest.notes.each if newest else None) or ()
    now = {*map(str, known if values is None else values)}
    return [str(value) for value in known if str(value) not in now]
