"""Read what is committed: only the files that manifests name, whatever else lies beside them.

A generation may be replaced while it is being read; functions that return a table then read the
manifests again, once. A Dataset is lazy: whoever holds one does that by making it anew.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from pipeline.decode.schema_text import describe, schema_of
from pipeline.errors import ContractBroken, HeadraceError, ReadRefused
from pipeline.lake.current_rows import DELETED, EXTRACTED_AT, alive, newest_of_each
from pipeline.lake.filesystem import filesystem
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.partition_range import Between, Partitions, asked_for, named
from pipeline.lake.paths import PartitionPaths, manifests_folder, paths_of_record, sweeps_folder
from pipeline.lake.publish import committed
from pipeline.lake.s3 import Lake
from pipeline.lake.s3_errors import unreadable

__all__ = ["Between", "current", "dataset", "gone_keys", "manifests"]

_FORMAT: Final = pds.ParquetFileFormat()
_THREADS: Final = 8
_FILES_AT_ONCE: Final = 4  # whole files in memory
_T = TypeVar("_T")


def manifests(
    lake: Lake, source: str, endpoint: str, partitions: Partitions = None
) -> list[Manifest]:
    """The committed partitions, in order; of those asked for, the ones that are committed."""
    asked = asked_for(partitions)
    there = places(lake, source, endpoint)
    wanted = [each for each in there if asked is None or each.partition in asked]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda place: committed(lake, place), wanted)
        return [each.manifest for each in found if each is not None]


def dataset(
    lake: Lake, source: str, endpoint: str, partitions: Partitions = None, *, dt: bool = False
) -> pds.FileSystemDataset:
    """The committed rows as a lazy Dataset, in order of partition and file.

    A row may be in more than one partition (the safety margin): `current` gives each once.

    :param partitions: a day (``"2026-11-20"``), `Between` two, a list of days; None: all.
        Those that are not committed are left out: `manifests` tells which are.
    :param dt: add the partition as a column ``dt``.
    :raises ReadRefused: none of it is committed.
    :raises ContractBroken: the partitions have no common type, or a column ``dt`` of their own.
    """
    return of_manifests(lake, _some(lake, source, endpoint, partitions), dt=dt)


def current(
    lake: Lake,
    source: str,
    endpoint: str,
    *,
    key: Sequence[str] | None = None,
    cursor: str | None = None,
    columns: Sequence[str] | None = None,
    deleted: bool = False,
    swept: bool = False,
) -> pa.Table:
    """The current state: one row a key, without what is deleted. Of a snapshot, the newest one.

    :param key: None: that of the source's YAML, and its cursor, unless another one is given.
    :param cursor: the latest of it wins; with a key and none, the latest extraction.
    :param deleted: keep tombstones (rows with ``_deleted``).
    :param swept: keep rows whose key a sweep found gone (and that have not come again since).
    :raises ReadRefused: nothing of it is committed.
    :raises ContractBroken: the partitions have no common type, or no such column.
    """

    def read() -> pa.Table:
        found = _some(lake, source, endpoint)
        by, moves = (key, cursor) if key is not None else _key_and_cursor(found[-1], cursor)
        by = [by] if isinstance(by, str) else by
        if found[-1].endpoint_kind == "snapshot":
            found = found[-1:]
        rows = of_manifests(lake, found)
        if not rows.schema.names:
            return rows.to_table()
        asked = {"key": by, "cursor": [moves] if moves else [], "columns": columns or []}
        _check_columns(f"{source}/{endpoint}", rows.schema.names, asked)
        lean = {*by, moves, EXTRACTED_AT, DELETED} & set(rows.schema.names)
        small = rows.to_table(columns=[name for name in rows.schema.names if name in lean])
        winners = newest_of_each(small, by, moves)
        small = small.take(winners)
        gone = None if swept else gone_keys(lake, source, endpoint, key=by)
        living = alive(small, by, gone, tombstones=deleted)
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


# ---- below: how


def places(lake: Lake, source: str, endpoint: str) -> list[PartitionPaths]:
    """The partitions that have a manifest, in order."""
    listed = lake.list(manifests_folder(source, endpoint))
    return [place for item in listed if (place := paths_of_record(item.key))]


def _some(lake: Lake, source: str, endpoint: str, partitions: Partitions = None) -> list[Manifest]:
    found = manifests(lake, source, endpoint, partitions)
    if found:
        return found
    days = [each.partition for each in places(lake, source, endpoint)]
    if days and partitions is not None:
        raise ReadRefused(
            f"{source}/{endpoint} has none of the partitions asked for ({named(partitions)}): "
            f"{len(days)} are committed, from {days[0]} to {days[-1]}"
        )
    what, there = f"{source}/{endpoint}", sorted(lake.folders(f"{source}/"))
    if endpoint in there:
        raise ReadRefused(f"No partition of {what} is committed yet: materialize one first")
    if not there:
        what, there = f"the source {source}", sorted(lake.folders(""))
    has = f"it has {', '.join(there)}" if there else "it is empty"
    raise ReadRefused(
        f"{lake.url()} has nothing of {what}: {has}. Is the name right, and is it materialized?"
    )


def _key_and_cursor(newest: Manifest, cursor: str | None) -> tuple[Sequence[str], str | None]:
    if "key" not in newest.extra:
        raise ReadRefused(
            f"The manifest of {newest.source}/{newest.endpoint} {newest.partition} was written by "
            "a Headrace that did not note the key: say key=[…] and cursor=…"
        )
    return newest.extra["key"], cursor or newest.extra["cursor"]


def _check_columns(what: str, names: Sequence[str], asked: Mapping[str, Sequence[str]]) -> None:
    for meant, wanted in asked.items():
        if missing := [name for name in wanted if name not in names]:
            raise ContractBroken(
                f"{what} can't be read by the {meant} {missing[0]!r}: the lake has the columns "
                f"{', '.join(names)}. Is {meant!r} right? If it is new, materialize the partitions "
                "again"
            )


def of_manifests(
    lake: Lake, found: Sequence[Manifest], *, dt: bool = False
) -> pds.FileSystemDataset:
    """The rows of partitions as one Dataset; if they have none, the columns all the same."""
    files = [(file, each.partition if dt else None) for each in found for file in each.files]
    with_rows = [each for each in found if each.files]
    schema = _unify([_schema(lake, each) for each in with_rows or found[-1:]])
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
    """The files as one lazy Dataset.

    :param files: each with its partition, if that is to be a column.
    """
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
    """What ``read`` returns, tried once more if a file can't be read.

    :param read: of manifests and their files, which may be replaced between the two.
    :raises LakeUnavailable, LakeRefused: the files can't be read, twice.
    """
    try:
        return read()
    except OSError:
        try:
            return read()
        except OSError as error:
            raise unreadable(error, lake=lake.url(), bucket=lake.bucket) from error
