"""Rows that came late: those before a partition's margin ends that the partition before lacks."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from pipeline.lake.current_rows import LateRows, cursor_value, lateness
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.read import again_if_vanished, of_files, of_manifests
from pipeline.lake.s3 import Lake


def late_rows(
    lake: Lake,
    files: Iterable[ManifestFile],
    previous: Callable[[], Manifest | None],
    *,
    key: Sequence[str],
    cursor: str,
    boundary: datetime,
) -> LateRows:
    """Of new files, not committed yet, count the rows before the boundary and the late ones.

    :param previous: reads the manifest of the partition before; None if it isn't committed. That
        one may be replaced while it is read, and is then asked for again.
    :param boundary: where the margin ends: the window's start plus the safety margin.
    """
    names = list(dict.fromkeys([*key, cursor]))

    def margin_of(some: pds.FileSystemDataset) -> pa.Table | None:
        """None: the rows are of another key or cursor, and there is nothing to compare."""
        if not set(names) <= set(some.schema.names):
            return None
        edge = cursor_value(boundary, some.schema.field(cursor).type)
        return some.to_table(columns=names, filter=pc.field(cursor) < edge)

    margin = again_if_vanished(lake, lambda: margin_of(of_files(lake, list(files))))
    if margin is None:
        return LateRows(0, 0, None)

    def before() -> pa.Table | None:
        found = previous() if margin.num_rows else None
        if found is None:
            return None
        if not found.files:
            return margin.schema.empty_table()
        return margin_of(of_manifests(lake, [found]))

    return lateness(margin, again_if_vanished(lake, before), cursor, boundary)
