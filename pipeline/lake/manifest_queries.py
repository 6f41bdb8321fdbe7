"""What of a partition is read back from the lake while it is committed."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.publish import committed
from pipeline.lake.read import of_files, places
from pipeline.lake.s3 import Lake


def key_rows(lake: Lake, files: Sequence[ManifestFile], columns: Sequence[str]) -> pa.Table:
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
    lake: Lake, files: Sequence[ManifestFile], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The same, one after the other, so that the memory does not depend on how many there are."""
    if files:
        yield from of_files(lake, files).to_batches(
            columns=list(dict.fromkeys(columns)),
            use_threads=False,
            fragment_readahead=1,
            batch_readahead=1,
            cache_metadata=False,
        )


def manifest_of(lake: Lake, source: str, endpoint: str, partition: str) -> Manifest | None:
    """The manifest of one partition, or None if it is not committed."""
    found = committed(lake, PartitionPaths(source, endpoint, partition))
    return found.manifest if found else None


def latest_manifest(lake: Lake, source: str, endpoint: str) -> Manifest | None:
    """The manifest of the newest committed partition, or None if there is none."""
    there = places(lake, source, endpoint)
    found = committed(lake, there[-1]) if there else None
    return found.manifest if found else None


def committed_partitions(lake: Lake, source: str, endpoint: str) -> list[str]:
    """The partitions that have a manifest, in order."""
    return [place.partition for place in places(lake, source, endpoint)]
