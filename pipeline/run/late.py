"""Late rows of a partition: those that lie before it, and that the partition before lacks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pipeline.config.endpoint import Endpoint
from pipeline.extract.fan_out import PartitionValue
from pipeline.lake.current_rows import LateRows
from pipeline.lake.manifest import ManifestFile
from pipeline.lake.read import late_rows
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext

_NOT_COUNTED: Final = "late rows are not counted, since {} can't be read: {}"
_NONE: Final = LateRows(0, 0, None)


def late_rows_of(
    run: RunContext,
    endpoint: str,
    partition: str,
    window: Window,
    values: Sequence[PartitionValue],
    files: Sequence[ManifestFile],
) -> tuple[LateRows, str]:
    """The late rows of files that are complete, and a sentence if they can't be counted.

    Rows of values that were read from further back are not late.
    """
    spec = run.source.endpoints[endpoint]
    column, boundary = _edge(spec, window)
    previous = run.calendar.previous(partition)
    if window.bookmarks is not None:
        previous = window.bookmarks.partition
    further_back = any(value.window is not None for value in values)
    if column is None or boundary is None or previous is None:
        return _NONE, ""
    if not files or further_back or not spec.key:
        return _NONE, ""
    look = run.index.get_then_fresh(run.source.source, endpoint, previous)
    sentences: list[str] = []
    late = late_rows(
        run.lake,
        files,
        look,
        key=spec.key,
        cursor=column,
        boundary=boundary,
        on_damage=lambda error: sentences.append(_NOT_COUNTED.format(previous, error)),
    )
    return late, "; ".join(sentences)


def _edge(spec: Endpoint, window: Window) -> tuple[str | None, datetime | int | None]:
    """The column, and its first value that lies in the partition itself and not in its margin."""
    span = window.bookmarks
    if spec.bookmark is None or span is None:
        return spec.cursor, window.boundary
    start = span.start.value if span.start and spec.bookmark.margin else None
    return spec.bookmark.column, start + 1 if isinstance(start, int) else None
