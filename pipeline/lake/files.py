"""The files of partitions, committed or staged: as lazy Datasets, as tables, and as batches.

A file that has vanished may have been replaced meanwhile: what reads it is called once more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from pipeline.decode.types import describe, schema_of
from pipeline.errors import ContractBroken, HeadraceError, LakeRefused
from pipeline.lake.damage import error_of_damage
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.parquet import common_schema
from pipeline.lake.stores.base import ObjectStore

_FORMAT: Final = pds.ParquetFileFormat(
    # A bit that a disk has flipped is an error then, and not another value.
    default_fragment_scan_options=pds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
_T = TypeVar("_T")


def of_manifests(
    lake: ObjectStore, manifests: Sequence[Manifest], *, dt: bool = False
) -> pds.FileSystemDataset:
    """The rows of partitions as one Dataset; if they have none, the columns all the same."""
    files = [(file, each.partition if dt else None) for each in manifests for file in each.files]
    with_rows = [each for each in manifests if each.files]
    schema = common_schema([_schema(lake, each) for each in with_rows or manifests[-1:]])
    if dt and "dt" in schema.names:
        raise ContractBroken(
            "These rows have a column dt of their own, so that the partition can't be added by that"
            " name: read them without it (dt=False)."
        )
    return _assemble(lake, files, schema.append(pa.field("dt", pa.string())) if dt else schema)


def of_files(lake: ObjectStore, files: Sequence[ManifestFile]) -> pds.FileSystemDataset:
    schema = common_schema([_footer(lake, file) for file in files])
    return _assemble(lake, [(file, None) for file in files], schema)


def _assemble(
    lake: ObjectStore, files: Sequence[tuple[ManifestFile, str | None]], schema: pa.Schema
) -> pds.FileSystemDataset:
    """The files as one lazy Dataset.

    Arrow asks for the size of each. Told the one of the manifest, it takes what memory happens to
    hold for the end of a file that was cut.

    :param files: each with its partition, if that is to be a column.
    """
    filesystem = lake.filesystem()
    fragments = [
        _FORMAT.make_fragment(
            lake.arrow_path(file.path),
            filesystem,
            partition_expression=None if partition is None else pc.field("dt") == partition,
        )
        for file, partition in files
    ]
    return pds.FileSystemDataset(fragments, schema, _FORMAT, filesystem)


def _schema(lake: ObjectStore, manifest: Manifest) -> pa.Schema:
    try:
        schema = schema_of(manifest.columns)
        if describe(schema) == list(manifest.columns):
            return schema
    except (HeadraceError, ValueError, KeyError):
        pass
    # Types that the columns' text does not tell exactly: ask the files, a request for each.
    return common_schema([_footer(lake, file) for file in manifest.files])


def _footer(lake: ObjectStore, file: ManifestFile) -> pa.Schema:
    path = lake.arrow_path(file.path)
    schema = _FORMAT.make_fragment(path, lake.filesystem()).physical_schema
    return schema.remove_metadata()


def key_rows(lake: ObjectStore, files: Sequence[ManifestFile], columns: Sequence[str]) -> pa.Table:
    """Some columns of files that need not be in a manifest yet; null where no file has them."""
    names = list(dict.fromkeys(columns))
    if not files:
        return pa.table({name: pa.nulls(0) for name in names})
    rows = of_files(lake, files)
    table = rows.to_table(columns=[name for name in names if name in rows.schema.names])
    for name in names:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table.select(names)


def key_batches(
    lake: ObjectStore, files: Sequence[ManifestFile], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of a few columns as batches, so that memory does not depend on how many there are."""
    if files:
        yield from of_files(lake, files).to_batches(
            columns=list(dict.fromkeys(columns)),
            use_threads=False,
            fragment_readahead=1,
            batch_readahead=1,
            cache_metadata=False,
        )


def tables_of(
    lake: ObjectStore, files: Sequence[ManifestFile], *, own: bool = False
) -> Iterator[Callable[[], pa.Table]]:
    """For each file what reads all of it, so that only some need be read.

    :param own: with the file's own columns and types; else with those of all files.
    """
    rows = of_files(lake, files)
    for fragment in rows.get_fragments():
        yield partial(fragment.to_table, schema=None if own else rows.schema)


def again_if_vanished(
    lake: ObjectStore,
    read: Callable[[], _T],
    files: Callable[[], Iterable[ManifestFile]] = tuple,
) -> _T:
    """The result of ``read``, called once more if a file can't be read.

    :param read: of manifests and their files, which may be replaced between the two.
    :param files: those that ``read`` has read: the error names which of them is damaged.
    :raises LakeUnavailable, LakeRefused: the files can't be read, twice.
    :raises pyarrow.ArrowInvalid: they can, but their values don't go together.
    """
    try:
        return read()
    except (OSError, pa.ArrowInvalid):
        try:
            return read()
        except (OSError, pa.ArrowInvalid) as error:
            try:
                damage = error_of_damage(lake, files())
            except HeadraceError as away:  # what keeps the files from being read, most likely
                is_cause = isinstance(away, LakeRefused) or not isinstance(error, OSError)
                damage = away if is_cause else None
            if damage is not None:
                raise damage from error
            if isinstance(error, OSError):
                raise lake.unreadable(error) from error
            raise


def files_of(manifests: Iterable[Manifest]) -> list[ManifestFile]:
    """The files of all manifests, in order."""
    return [file for each in manifests for file in each.all_files]
