"""Late rows: rows in a partition's safety margin that the previous partition lacks.

Also the reverse: rows of the previous partition that lie in the margin, and so have to come again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from pipeline.config.endpoint import Endpoint
from pipeline.decode.types import INSTANT
from pipeline.errors import ContractBroken, HeadraceError
from pipeline.extract.partition_values import PartitionValue
from pipeline.lake.files import again_if_vanished, files_of, of_files, of_manifests
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext
from pipeline.timestamps import as_iso


class LateRows(NamedTuple):
    """Rows of a partition that lie before it.

    :ivar margin_rows: rows whose cursor lies before the boundary.
    :ivar late_rows: those of them that the partition before does not have.
    :ivar latest_by: how far before the boundary the earliest of those lies: in seconds, or in
        numbers where the cursor is one.
    """

    margin_rows: int
    late_rows: int
    latest_by: float | None


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
    late, damage = late_rows(
        run.lake,
        files,
        look,
        key=spec.key,
        cursor=column,
        boundary=boundary,
    )
    return late, _NOT_COUNTED.format(previous, damage) if damage else ""


def _edge(spec: Endpoint, window: Window) -> tuple[str | None, datetime | int | None]:
    """The column, and its first value that lies in the partition itself and not in its margin."""
    span = window.bookmarks
    if spec.bookmark is None or span is None:
        return spec.cursor, window.boundary
    start = span.start.value if span.start and spec.bookmark.margin else None
    return spec.bookmark.column, start + 1 if isinstance(start, int) else None


def late_rows(
    lake: ObjectStore,
    files: Iterable[ManifestFile],
    previous: Callable[[], Manifest | None],
    *,
    key: Sequence[str],
    cursor: str,
    boundary: datetime | int,
) -> tuple[LateRows, HeadraceError | None]:
    """Count the rows of new files, not committed yet, before the boundary, and the late rows.

    :param previous: reads the manifest of the partition before; None if it isn't committed. That
        one may be replaced while it is read, and is then asked for again.
    :param boundary: where the margin ends: the window's start plus the safety margin; a number
        where the cursor is one.
    :return: with the error if the partition before can't be read. No row is counted as late then:
        a statistic must not keep this partition from being committed.
    """
    names = list(dict.fromkeys([*key, cursor]))

    def margin_of(some: pds.FileSystemDataset) -> pa.Table | None:
        """None: the rows are of another key or cursor, and there is nothing to compare."""
        if not set(names) <= set(some.schema.names):
            return None
        edge = _bound(boundary, some.schema.field(cursor).type)
        return some.to_table(columns=names, filter=pc.field(cursor) < edge)

    mine = list(files)
    margin = again_if_vanished(lake, lambda: margin_of(of_files(lake, mine)), lambda: mine)
    if margin is None:
        return _NONE, None
    damage: HeadraceError | None = None
    reading: list[Manifest] = []

    def before() -> pa.Table | None:
        manifest = previous() if margin.num_rows else None
        if manifest is None:
            return None
        reading[:] = [manifest]
        if not manifest.files:
            return margin.schema.empty_table()
        return margin_of(of_manifests(lake, [manifest]))

    try:
        earlier = again_if_vanished(lake, before, lambda: files_of(reading))
    except (HeadraceError, pa.ArrowException) as error:
        damage = error if isinstance(error, HeadraceError) else ContractBroken(str(error))
        earlier = None
    return _lateness(margin, earlier, cursor, boundary), damage


def rows_to_come_again(run: RunContext, endpoint: str, partition: str, window: Window) -> int:
    """How many rows the previous partition has in the safety margin of a window: the API gives them
    again, unless they are deleted. 0 where that can't be known."""
    spec, previous = run.source.endpoints[endpoint], run.calendar.previous(partition)
    start, boundary = window.start, window.boundary
    if spec.cursor is None or previous is None or start is None or boundary is None:
        return 0
    look = run.index.get_then_fresh(run.source.source, endpoint, previous)
    cursor, reading = spec.cursor, list[Manifest]()

    def in_margin() -> int:
        manifest = look()
        reading[:] = [manifest] if manifest and manifest.files else []
        schema = of_manifests(run.lake, reading).schema if reading else pa.schema([])
        if cursor not in schema.names or not pa.types.is_timestamp(schema.field(cursor).type):
            return 0
        at, kind = pc.field(cursor), schema.field(cursor).type
        rows = of_manifests(run.lake, reading)
        within = (at > _bound(start, kind)) & (at < _bound(boundary, kind))
        return int(rows.count_rows(filter=within))

    try:
        return again_if_vanished(run.lake, in_margin, lambda: files_of(reading))
    except (HeadraceError, pa.ArrowException):  # told where late rows are counted
        return 0


def _lateness(
    margin: pa.Table, before: pa.Table | None, cursor: str, boundary: datetime | int
) -> LateRows:
    """Count late rows.

    :param margin: key and cursor of the rows whose cursor lies before the boundary.
    :param before: the same of the partition before; None if it was never committed, or has other
        columns, in which case nothing can be late.
    """
    if before is None or not margin.num_rows:
        return LateRows(margin.num_rows, 0, None)
    columns = margin.column_names
    try:
        before = _typed_as(before, margin)
    except pa.ArrowException:  # keys of another type, which none of these can be
        return LateRows(margin.num_rows, 0, None)
    late = margin.join(before, keys=columns, join_type="left anti")
    if not late.num_rows:
        return LateRows(margin.num_rows, 0, None)
    least = pc.min(late[cursor])
    if isinstance(boundary, int):
        return LateRows(margin.num_rows, late.num_rows, float(boundary - least.as_py()))
    late_s = (boundary - _instant(least)).total_seconds()
    return LateRows(margin.num_rows, late.num_rows, late_s)


def _bound(instant: datetime | int, kind: pa.DataType) -> pa.Scalar:
    """A bound in a cursor column: a number, or an instant as one, as a date, or as seconds."""
    if isinstance(instant, int):
        return pa.scalar(instant).cast(kind)
    if pa.types.is_timestamp(kind):
        utc = pa.scalar(instant.astimezone(UTC), INSTANT)
        return utc.cast(pa.timestamp("us", tz=kind.tz)).cast(kind, safe=False)
    if pa.types.is_date(kind):
        return pa.scalar(instant.astimezone(UTC).date(), kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.scalar(as_iso(instant), kind)
    return pa.scalar(instant.timestamp()).cast(kind, safe=False)


def _instant(value: pa.Scalar) -> datetime:
    plain = value.as_py()
    if isinstance(plain, str):
        plain = datetime.fromisoformat(plain)
    if isinstance(plain, int | float):
        return datetime.fromtimestamp(plain, UTC)
    if not isinstance(plain, datetime):
        plain = datetime(plain.year, plain.month, plain.day, tzinfo=UTC)
    return plain if plain.tzinfo else plain.replace(tzinfo=UTC)


def _typed_as(other: pa.Table, like: pa.Table) -> pa.Table:
    # Joins want equal types, and one partition's int may be the next one's double.
    return other.cast(
        pa.schema([(name, like.schema.field(name).type) for name in other.column_names]), safe=False
    )
