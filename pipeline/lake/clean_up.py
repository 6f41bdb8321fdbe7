"""Clean up: remove from a partition what a dead or a finished attempt has left in nobody's use."""

from collections.abc import Iterable

from pipeline.lake.checkpoint import StagedBatch
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.stores.base import ObjectStore, Upload


def clean_up(
    lake: ObjectStore,
    place: PartitionPaths,
    *,
    uploads: Iterable[Upload] = (),
    batches: Iterable[StagedBatch] = (),
    files: Iterable[str] = (),
    keep: frozenset[str] = frozenset(),
    checkpoint: str | None = None,
) -> None:
    """Remove what is in nobody's use: in this order, so that the last to go tells of the rest.

    :param batches: staged, completed or not: their uploads and their files.
    :param keep: files that stay, whoever names them.
    :param checkpoint: its etag; the checkpoint goes last, if it is still that one.
    """
    staged = tuple(batches)
    unfinished = [(each.key, each.upload_id) for each in uploads]
    for key, upload_id in (*unfinished, *((each.key, each.upload_id) for each in staged)):
        lake.abort_upload(key, upload_id)
    lake.delete(sorted({*files, *(batch.key for batch in staged)} - keep))
    if checkpoint is not None:
        lake.delete_exactly(place.checkpoint, checkpoint)
