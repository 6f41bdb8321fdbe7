"""Read what is committed: only the files that manifests name, whatever else lies beside them.

A generation may be replaced while it is being read; functions that return a table then read the
manifests once more. A Dataset reads lazily: if a file has been replaced, build a new one.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from pipeline.config.columns import DELETED, EXTRACTED_AT
from pipeline.errors import ContractBroken, ReadRefused
from pipeline.lake.current_rows import (
    BACK,
    SWEPT_AT,
    alive,
    children_of,
    comparable,
    newest_of_each,
)
from pipeline.lake.files import again_if_vanished, files_of, of_files, of_manifests
from pipeline.lake.index import read_all
from pipeline.lake.manifest import Manifest
from pipeline.lake.parquet import no_common_type
from pipeline.lake.partition_choice import Between, Partitions, named, requested
from pipeline.lake.paths import manifests_folder, paths_of_record, sweeps_folder
from pipeline.lake.stores.base import ObjectStore

__all__ = [
    "Between", "again_if_vanished", "current", "dataset", "files_of", "gone_keys", "manifests",
    "of_files", "of_manifests", "rows_of",
]  # fmt: skip

_FILES_AT_ONCE: Final = 4  # whole files in memory
_AT_ONCE_BYTES: Final = 16 * 2**20  # of Parquet: some 100 MB as a table


# ---- what is committed


def manifests(
    lake: ObjectStore, source: str, endpoint: str, partitions: Partitions = None
) -> list[Manifest]:
    """The committed partitions, in order; of those asked for, the ones that are committed.

    :param endpoint: or a child table, ``endpoint/table``: of partitions that have it.
    """
    partition_keys, (endpoint, _, table) = requested(partitions), endpoint.partition("/")
    listed = [
        item
        for item in lake.list(manifests_folder(source, endpoint))
        if (place := paths_of_record(item.key))
        and (partition_keys is None or place.partition in partition_keys)
    ]
    of_listing = read_all(lake, source, endpoint, listed)
    for error in of_listing.refused.values():
        raise error
    places = sorted(of_listing.committed, key=str)
    in_order = [of_listing.committed[place].manifest for place in places]
    return [of for each in in_order if (of := each.of_table(table))] if table else in_order


def dataset(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    partitions: Partitions = None,
    *,
    dt: bool = False,
) -> pds.FileSystemDataset:
    """The committed rows as a lazy Dataset, in order of partition and file.

    A row may be in more than one partition (the safety margin): `current` gives each once.

    :param partitions: one (``"2026-11-20"``), `Between` two, a list of them; None: all.
        Those that are not committed are left out: `manifests` tells which are.
    :param dt: add the partition as a column ``dt``.
    :raises ReadRefused: none of it is committed.
    :raises ContractBroken: the partitions have no common type, or a column ``dt`` of their own.
    """
    return of_manifests(lake, _some(lake, source, endpoint, partitions), dt=dt)


def rows_of(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    partitions: Partitions = None,
    *,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The committed rows as `dataset` has them, as a table; None of ``columns``: all.

    :raises ReadRefused: none of it is committed.
    :raises ContractBroken: the partitions have no common type, or no such column.
    """
    reading: list[Manifest] = []

    def read() -> pa.Table:
        reading[:] = _some(lake, source, endpoint, partitions)
        rows = of_manifests(lake, reading)
        if not files_of(reading):
            return _no_rows(rows.schema, columns)
        names = list(columns) if columns is not None else rows.schema.names
        _check_columns(f"{source}/{endpoint}", rows.schema.names, {"columns": names})
        return rows.to_table(columns=names)

    return _read_whole(lake, read, reading)


def current(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    *,
    key: Sequence[str] | None = None,
    cursor: str | None = None,
    columns: Sequence[str] | None = None,
    deleted: bool = False,
    swept: bool = False,
    without: str | None = None,
) -> pa.Table:
    """The current state: one row a key, without what is deleted. Of a snapshot, and of rows without
    a key (`key: none`), the newest partition. Of a child table, ``endpoint/table``, the rows whose
    parent is in the current state, as they came with it.

    :param key: None: that of the source's YAML, and its cursor, unless another one is given.
    :param cursor: the latest of it wins; with a key and none, the latest extraction.
    :param deleted: keep tombstones (rows with ``_deleted``).
    :param swept: keep rows whose key a sweep found gone (and that have not come again since).
    :param without: a partition that is left out, as if it had never been committed.
    :raises ReadRefused: nothing of it is committed.
    :raises ContractBroken: the partitions have no common type, or no such column.
    """

    state = _CurrentState(lake, source, endpoint, columns, deleted=deleted, swept=swept)
    reading: list[Manifest] = []

    def read() -> pa.Table:
        if "/" not in endpoint:
            every = [each for each in _some(lake, source, endpoint) if each.partition != without]
            reading[:] = every
            return state.of_endpoint(every, key, cursor)
        if key is not None or cursor is not None or without is not None:
            raise ReadRefused(
                f"`{source}/{endpoint}` is a child table: its current rows are those of its "
                "endpoint's. Call it without `key`, `cursor` and `without`"
            )
        return state.of_table(reading)

    return _read_whole(lake, read, reading)


def _read_whole(
    lake: ObjectStore, read: Callable[[], pa.Table], reading: Sequence[Manifest]
) -> pa.Table:
    """The result of ``read``, which notes the manifests that it is reading."""
    try:
        return again_if_vanished(lake, read, lambda: files_of(reading))
    except (
        pa.ArrowInvalid
    ) as error:  # a whole number of one partition that no double of another holds
        raise no_common_type(error) from error


@dataclass(frozen=True)
class _CurrentState:
    """Reads the current state of an endpoint, or of a child table: which rows, which columns.

    :ivar deleted: with tombstones. :ivar swept: with keys that a sweep found gone.
    """

    lake: ObjectStore
    source: str
    endpoint: str
    columns: Sequence[str] | None
    deleted: bool
    swept: bool

    def of_endpoint(
        self, manifests: list[Manifest], key: Sequence[str] | None, cursor: str | None
    ) -> pa.Table:
        """The newest row of each key that is not deleted."""
        if not manifests:
            return of_manifests(self.lake, []).to_table()
        by, moves = (key, cursor) if key is not None else _key_and_cursor(manifests[-1], cursor)
        by = [by] if isinstance(by, str) else by
        if manifests[-1].endpoint_kind == "snapshot" or not by:
            manifests = manifests[-1:]
        rows, columns = of_manifests(self.lake, manifests), self.columns
        if not any(each.files for each in manifests):
            return _no_rows(rows.schema, columns)
        name, names = f"{self.source}/{self.endpoint}", columns or ()
        if not by:
            names = list(columns) if columns is not None else rows.schema.names
            _check_columns(name, rows.schema.names, {"columns": names})
            return rows.to_table(columns=names)
        names_by_use = {"key": by, "cursor": [moves] if moves else [], "columns": names}
        _check_columns(name, rows.schema.names, names_by_use)
        lean = {*by, moves, EXTRACTED_AT, DELETED} & set(rows.schema.names)
        # Few bytes in many files: opening each once more costs more than to hold them.
        at_once = sum(file.bytes for each in manifests for file in each.files) <= _AT_ONCE_BYTES
        selected = {*columns, *lean} if columns is not None else {*rows.schema.names}
        first_columns = selected if at_once else lean
        small = rows.to_table(columns=[name for name in rows.schema.names if name in first_columns])
        winners = newest_of_each(small, by, moves)
        small = small.take(winners)
        living = self._alive(small, by, self.endpoint)
        if at_once:
            return small.filter(living).select(
                list(columns) if columns is not None else rows.schema.names
            )
        return _take(rows, winners.filter(living), columns)

    def of_table(self, reading: list[Manifest]) -> pa.Table:
        """The rows of a child table that belong to the newest version of their parent.

        A partition has a parent once, so that its children there are those of one version.

        :param reading: is filled with the manifests that are read.
        """
        endpoint, _, table = self.endpoint.partition("/")
        reading[:] = parents = _some(self.lake, self.source, endpoint)
        by, moves = _key_and_cursor(parents[-1], None)
        if parents[-1].endpoint_kind == "snapshot" or not by:
            parents = parents[-1:]
        of_table = [of for each in parents if (of := each.of_table(table))]
        if not of_table:
            raise _no_table(self.source, self.endpoint)
        rows = of_manifests(self.lake, of_table, dt=True)
        own = [name for name in rows.schema.names if name != "dt"]
        names = list(self.columns) if self.columns is not None else own
        if not any(each.files for each in of_table):
            return _no_rows(rows.schema, names)
        name = f"{self.source}/{self.endpoint}"
        _check_columns(name, rows.schema.names, {"columns": names})
        if not by:
            return rows.to_table(columns=names)
        parent_rows = of_manifests(self.lake, parents, dt=True)
        lean = {*by, moves, EXTRACTED_AT, DELETED, "dt"} & {*parent_rows.schema.names}
        small = parent_rows.to_table(columns=[n for n in parent_rows.schema.names if n in lean])
        small = small.take(newest_of_each(small, by, moves))
        living = small.filter(self._alive(small, by, endpoint)).select(["dt", *by])
        newest = next(each for each in reversed(parents) if table in each.tables)
        columns_of_parent = newest.tables[table].parent
        child_names = {column: of for of, column in columns_of_parent.items() if column in by}
        linked = {"dt", *child_names.values(), *names}
        children = rows.to_table(columns=[n for n in rows.schema.names if n in linked])
        living = living.rename_columns(["dt", *(child_names[column] for column in by)])
        return children_of(children, living).select(names)

    def _alive(self, rows: pa.Table, key: Sequence[str], endpoint: str) -> pa.Array:
        deletions = None if self.swept else gone_keys(self.lake, self.source, endpoint, key=key)
        return alive(rows, key, deletions, tombstones=self.deleted)


def _no_table(source: str, name: str) -> ReadRefused:
    endpoint, _, table = name.partition("/")
    return ReadRefused(
        f"{source}/{endpoint} has no table `{table}` in the partitions that it is read from: is it "
        "in `tables`, and is a partition materialized since?"
    )


def gone_keys(
    lake: ObjectStore, source: str, endpoint: str, *, key: Sequence[str] = ()
) -> pa.Table | None:
    """The keys that sweeps found gone, with ``_swept_at``; None if none were.

    :param key: leave out sweeps from before the rows had this key.
    """
    listed = lake.list(sweeps_folder(source, endpoint))
    records = [lake.get(item.key) for item in listed]
    tables = [pq.read_table(io.BytesIO(each.body)) for each in records if each is not None]
    tables = [table for table in tables if set(key) <= set(table.column_names)]
    if not tables:
        return None
    return _still_gone(pa.concat_tables(comparable(tables), promote_options="default"))


def _still_gone(records: pa.Table) -> pa.Table:
    """Without the keys that a later sweep has seen again."""
    if BACK not in records.column_names:
        return records
    is_back = pc.fill_null(records[BACK], False)
    records, back = records.drop_columns([BACK]), records.filter(is_back).drop_columns([BACK])
    keys = [name for name in records.column_names if name != SWEPT_AT]
    last_back = back.group_by(keys).aggregate([(SWEPT_AT, "max")])
    deletions = records.filter(pc.invert(is_back)).join(
        last_back, keys=keys, join_type="left outer"
    )
    last_seen = deletions[f"{SWEPT_AT}_max"]
    deletions = deletions.filter(pc.fill_null(pc.greater(deletions[SWEPT_AT], last_seen), True))
    return deletions.select(records.column_names)


# ---- below: how


def _some(
    lake: ObjectStore, source: str, endpoint: str, partitions: Partitions = None
) -> list[Manifest]:
    committed = manifests(lake, source, endpoint, partitions)
    if committed:
        return committed
    endpoint, _, table = endpoint.partition("/")
    if table and manifests(lake, source, endpoint, partitions):
        raise _no_table(source, f"{endpoint}/{table}")
    keys = [each.partition for each in manifests(lake, source, endpoint)]
    if keys and partitions is not None:
        raise ReadRefused(
            f"{source}/{endpoint} has none of the requested partitions ({named(partitions)}): "
            f"{len(keys)} are committed, from {keys[0]} to {keys[-1]}"
        )
    what, folders = f"{source}/{endpoint}", sorted(lake.folders(f"{source}/"))
    if endpoint in folders:
        raise ReadRefused(f"No partition of {what} is committed yet: materialize one first")
    if not folders:
        what, folders = f"the source {source}", sorted(lake.folders(""))
    has = f"it has {', '.join(folders)}" if folders else "it is empty"
    raise ReadRefused(
        f"{lake.url()} has nothing of {what}: {has}. Is the name right, and is it materialized?"
    )


def _key_and_cursor(newest: Manifest, cursor: str | None) -> tuple[Sequence[str], str | None]:
    if newest.notes.key is None:
        raise ReadRefused(
            f"The manifest of {newest.source}/{newest.endpoint} {newest.partition} was written by "
            "a Headrace that did not note the key: say key=[…] and cursor=…"
        )
    return newest.notes.key, cursor or newest.notes.cursor


def _check_columns(
    what: str, names: Sequence[str], names_by_use: Mapping[str, Sequence[str]]
) -> None:
    for use, columns in names_by_use.items():
        if missing := [name for name in columns if name not in names]:
            raise ContractBroken(
                f"{what} can't be read by the {use} {missing[0]!r}: the lake has the columns "
                f"{', '.join(names)}. Is {use!r} right? If it is new, materialize the partitions "
                "again"
            )


def _no_rows(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    """The table of partitions without files. Columns that no row has had yet are null: where they
    are inferred, nothing is known of them.
    """
    names = schema.names if columns is None else columns
    kinds = (schema.field(name).type if name in schema.names else pa.null() for name in names)
    return pa.table({name: pa.nulls(0, kind) for name, kind in zip(names, kinds, strict=True)})


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
