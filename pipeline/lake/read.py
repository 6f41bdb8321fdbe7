"""Read what is committed: only the files that manifests name, whatever else lies beside them.

A generation may be replaced while it is being read; functions that return a table then read the
manifests again, once. A Dataset is lazy: whoever holds one does that by making it anew.
"""

import io
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from pipeline.errors import ContractBroken, HeadraceError
from pipeline.lake.filesystem import filesystem
from pipeline.lake.layout import manifests_folder, place_of_record, sweeps_folder
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.publish import committed
from pipeline.lake.rows import (
    DELETED,
    EXTRACTED_AT,
    LateRows,
    alive,
    cursor_value,
    lateness,
    newest_of_each,
)
from pipeline.lake.s3errors import unreadable
from pipeline.lake.store import Lake
from pipeline.rows.columns import describe, schema_of

__all__ = ["Between", "LateRows", "current", "dataset", "gone_keys", "late_rows", "manifests"]

_FORMAT: Final = pds.ParquetFileFormat()
_THREADS: Final = 8
_FILES_AT_ONCE: Final = 4  # whole files in memory
_T = TypeVar("_T")


@dataclass(frozen=True)
class Between:
    """Partitions from ``first`` to ``last``, both included."""

    first: str
    last: str

    def __contains__(self, partition: str) -> bool:
        return self.first <= partition <= self.last


Partitions = Between | Collection[str] | None


def manifests(
    lake: Lake, source: str, endpoint: str, partitions: Partitions = None
) -> list[Manifest]:
    """The committed partitions, in order; of those asked for, the ones that are committed."""
    listed = lake.list(manifests_folder(source, endpoint))
    places = [place for item in listed if (place := place_of_record(item.key))]
    wanted = [p for p in places if partitions is None or p.partition in partitions]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda place: committed(lake, place), wanted)
        return [each.manifest for each in found if each is not None]


def dataset(
    lake: Lake, source: str, endpoint: str, partitions: Partitions = None, *, dt: bool = False
) -> pds.FileSystemDataset:
    """The committed rows as a lazy Dataset, in order of partition and file.

    A row may be in more than one partition (the safety margin): `current` gives each once.

    :param dt: add the partition as a column ``dt``.
    :raises ContractBroken: the partitions have no common type, or a column ``dt`` of their own.
    """
    return _dataset(lake, manifests(lake, source, endpoint, partitions), dt=dt)


def current(
    lake: Lake,
    source: str,
    endpoint: str,
    *,
    key: Sequence[str],
    cursor: str | None,
    columns: Sequence[str] | None = None,
    deleted: bool = False,
    swept: bool = False,
) -> pa.Table:
    """The current state: one row a key, without what is deleted. Of a snapshot, the newest one.

    :param deleted: keep tombstones (rows with ``_deleted``).
    :param swept: keep rows whose key a sweep found gone (and that have not come again since).
    :raises ContractBroken: the partitions have no common type, or not this key.
    """

    def read() -> pa.Table:
        found = manifests(lake, source, endpoint)
        if found and found[-1].endpoint_kind == "snapshot":
            found = found[-1:]
        rows = _dataset(lake, found)
        if not rows.schema.names:
            return rows.to_table()
        if missing := [name for name in key if name not in rows.schema.names]:
            raise ContractBroken(
                f"{source}/{endpoint} can't be read by the key {missing[0]!r}: the lake has the "
                f"columns {', '.join(rows.schema.names)}. Is 'key' right? If it is new, "
                "materialize the partitions again"
            )
        lean = {*key, cursor, EXTRACTED_AT, DELETED} & set(rows.schema.names)
        small = rows.to_table(columns=[name for name in rows.schema.names if name in lean])
        winners = newest_of_each(small, key, cursor)
        small = small.take(winners)
        gone = None if swept else gone_keys(lake, source, endpoint, key=key)
        living = alive(small, key, gone, tombstones=deleted)
        return _take(rows, winners.filter(living), columns)

    try:
        return again_if_vanished(lake, read)
    except pa.ArrowInvalid as error:  # a whole number of one day that no double of another holds
        raise _no_common_type(error) from error


def gone_keys(
    lake: Lake, source: str, endpoint: str, *, key: Sequence[str] = ()
) -> pa.Table | None:
    """The keys that sweeps found gone, with ``_swept_at``; None if none were.

    :param key: leave out sweeps from before the rows had this key.
    """
    listed = lake.list(sweeps_folder(source, endpoint))
    found = [lake.get(item.key) for item in listed]
    tables = [pq.read_table(io.BytesIO(each.body)) for each in found if each is not None]
    tables = [table for table in tables if set(key) <= set(table.column_names)]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


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
        return margin_of(_dataset(lake, [found]))

    return lateness(margin, again_if_vanished(lake, before), cursor, boundary)


# ---- below: how


def _dataset(lake: Lake, found: Sequence[Manifest], *, dt: bool = False) -> pds.FileSystemDataset:
    files = [(file, each.partition if dt else None) for each in found for file in each.files]
    schema = _unify([_schema(lake, each) for each in found if each.files])
    if dt and "dt" in schema.names:
        raise ContractBroken(
            "These rows have a column dt of their own, so that the partition can't be added by that"
            " name: read them without it (dt=False)."
        )
    return _assemble(lake, files, schema.append(pa.field("dt", pa.string())) if dt else schema)


def of_files(lake: Lake, files: Sequence[ManifestFile]) -> pds.FileSystemDataset:
    schema = _unify([_footer(lake, file) for file in files])
    return _assemble(lake, [(file, None) for file in files], schema)


def _assemble(
    lake: Lake, files: Sequence[tuple[ManifestFile, str | None]], schema: pa.Schema
) -> pds.FileSystemDataset:
    """:param files: each with its partition, if that is to be a column."""
    s3 = filesystem(lake)
    fragments = [
        _FORMAT.make_fragment(
            f"{lake.bucket}/{lake.full(file.path)}",
            s3,
            partition_expression=None if partition is None else pc.field("dt") == partition,
            file_size=file.bytes,
        )
        for file, partition in files
    ]
    return pds.FileSystemDataset(fragments, schema, _FORMAT, s3)


def _schema(lake: Lake, manifest: Manifest) -> pa.Schema:
    try:
        schema = schema_of(manifest.columns)
        if describe(schema) == list(manifest.columns):
            return schema
    except (HeadraceError, ValueError, KeyError):
        pass
    # Types that the columns' text does not tell exactly: ask the files, a request for each.
    return _unify([_footer(lake, file) for file in manifest.files])


def _footer(lake: Lake, file: ManifestFile) -> pa.Schema:
    path = f"{lake.bucket}/{lake.full(file.path)}"
    return _FORMAT.make_fragment(path, filesystem(lake), file_size=file.bytes).physical_schema


def _unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    plain = [pa.schema([]), *(schema.remove_metadata() for schema in schemas)]
    try:
        return pa.unify_schemas(plain, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise _no_common_type(error) from error


def _no_common_type(error: pa.ArrowException) -> ContractBroken:
    return ContractBroken(
        f"These partitions can't be read as one table: {error}. Read them apart, or declare the"
        " column's type and materialize the older ones again."
    )


def _take(
    rows: pds.FileSystemDataset, numbers: pa.Array, columns: Sequence[str] | None
) -> pa.Table:
    """Rows by their number in the dataset, one file after another."""
    names = list(columns) if columns is not None else rows.schema.names
    shares: list[tuple[pds.Fragment, pa.Array]] = []
    first = 0
    for fragment in rows.get_fragments():
        count = fragment.count_rows()
        inside = pc.and_(pc.greater_equal(numbers, first), pc.less(numbers, first + count))
        shares.append((fragment, pc.subtract(numbers.filter(inside), first)))
        first += count

    def take(share: tuple[pds.Fragment, pa.Array]) -> pa.Table:
        fragment, local = share
        if not len(local):
            return rows.schema.empty_table().select(names)
        return fragment.to_table(schema=rows.schema, columns=names).take(local)

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return pa.concat_tables([rows.schema.empty_table().select(names), *pool.map(take, shares)])


def again_if_vanished(lake: Lake, read: Callable[[], _T]) -> _T:
    """:param read: of manifests and their files, which may be replaced between the two.
    :raises LakeUnavailable, LakeRefused: the files can't be read, twice.
    """
    try:
        return read()
    except OSError:
        try:
            return read()
        except OSError as error:
            raise unreadable(error, lake=lake.url(), bucket=lake.bucket) from error
