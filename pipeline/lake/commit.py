"""Files on their way to the store, and the end of a commit.

A file is sent in parts, unseen until its upload is completed. The end of a commit puts the decided
manifest in place, and removes what is in no use any more. Anybody may carry a decision out, any
number of times: the next attempt, or the maintenance job. The manifest of a drop is removed as
well, before the checkpoint that tells of it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pipeline.errors import HeadraceError, LakeUnavailable, LostRace
from pipeline.lake.checkpoint import CommitDecision, StagedBatch
from pipeline.lake.index import CommittedManifest, ManifestIndex, read_committed
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.stores.base import (
    ObjectStore,
    Part,
    Upload,
    UploadGone,
    WriteConflict,
    compare_and_swap,
)

PART_BYTES: Final = 16 * 2**20  # S3: at least 5 MiB, but for the last part
_LOST_WAIT_S: Final = 60.0  # time for the winner to commit, so that two runs do not take turns


def upload(lake: ObjectStore, key: str, body: memoryview) -> tuple[str, tuple[Part, ...]]:
    """Send a file as an unfinished upload: no reader sees it.

    :return: the upload's id, and its parts: what completes it.
    :raises LakeUnavailable: the store lost the upload twice while its parts were sent.
    """
    starts = range(0, max(1, body.nbytes), PART_BYTES)
    for last_attempt in (False, True):
        upload_id = lake.create_upload(key)
        try:
            parts = tuple(
                lake.upload_part(key, upload_id, number, bytes(body[i : i + PART_BYTES]))
                for number, i in enumerate(starts, start=1)
            )
        except UploadGone:
            if last_attempt:
                raise LakeUnavailable(
                    f"{lake.address} twice lost the upload of `{lake.url(key)}` while its parts"
                    " were sent. Check what else removes unfinished uploads there."
                ) from None
        except HeadraceError:
            with suppress(HeadraceError):
                lake.abort_upload(key, upload_id)
            raise
        else:
            return upload_id, parts
    raise AssertionError("unreachable")


class CommitResult(Enum):
    """How a commit ended. *Unknown* is no result: it is raised, and the next attempt finds out."""

    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True)
class CommitOutcome:
    """The outcomes of a commit.

    :param manifest: what is in the lake now: one's own if DONE, the winner's if LOST.
    :param left_over: a sentence on why the clean-up was not finished; the next run finishes it.
    """

    result: CommitResult
    manifest: Manifest
    left_over: str | None = None


def carry_out(
    lake: ObjectStore,
    place: PartitionPaths,
    decision: CommitDecision,
    index: ManifestIndex | None = None,
) -> CommitOutcome:
    """Finish a commit that an earlier attempt has decided, or a drop."""
    outcome = publish(lake, place, decision, index)
    if outcome.result is CommitResult.DONE:
        if decision.manifest.notes.dropped:
            lake.delete(sorted(decision.garbage))
            _remove_if_still(lake, place, decision.manifest)
        finish(lake, place, decision)
    return outcome


def finish(lake: ObjectStore, place: PartitionPaths, decision: CommitDecision) -> None:
    """Remove what a published manifest has replaced, and the checkpoint of its decision last.

    :raises LostRace: another run has carried the decision out, and the partition was dropped since.
    """
    clean_up(lake, place, files=decision.garbage)
    if not lake.delete_exactly(place.checkpoint, decision.etag):
        _take_back(lake, place, decision)


def _take_back(lake: ObjectStore, place: PartitionPaths, decision: CommitDecision) -> None:
    """Remove a first manifest that was written behind a drop: its condition, that none is there,
    holds again then. Of one that another run has carried out as well, the files are there."""
    paths = sorted(decision.manifest.paths)
    if decision.base is not None or not paths or lake.size(paths[0]) is not None:
        return
    _remove_if_still(lake, place, decision.manifest)
    raise LostRace(
        f"{place} was committed by another run, and dropped, while this run stood still."
        " The next attempt starts from the beginning.",
        wait_s=1,
    )


def _remove_if_still(lake: ObjectStore, place: PartitionPaths, manifest: Manifest) -> None:
    """Remove the manifest of a partition, if it is still that one."""
    committed = read_committed(lake, place)
    if committed is not None and committed.manifest.generation == manifest.generation:
        lake.delete_exactly(place.manifest, committed.etag)


def publish(
    lake: ObjectStore,
    place: PartitionPaths,
    decision: CommitDecision,
    index: ManifestIndex | None,
) -> CommitOutcome:
    """Put the decided manifest in place, if the one that it replaces is still there.

    :raises LakeUnavailable: not known whether it is in place; the checkpoint stays for the next.
    """
    decided = decision.manifest
    try:
        body = decided.to_json().encode()
        etag = compare_and_swap(lake, place.manifest, body, replaces=decision.base)
        current: CommittedManifest | None = CommittedManifest(decided, etag)
    except WriteConflict:
        current = read_committed(lake, place)
    if index is not None and current is not None and not current.manifest.notes.dropped:
        index.put(place, current)
    if current is not None and current.manifest.generation == decided.generation:
        return CommitOutcome(CommitResult.DONE, decided)
    if current is None and decided.notes.dropped:  # carried out before, up to the checkpoint
        return CommitOutcome(CommitResult.DONE, decided)
    # Nobody can carry the decision out any more: what it refers to is gone for good.
    in_use = current.manifest.paths if current else frozenset()
    clean_up(lake, place, files=decided.paths, keep=in_use, checkpoint=decision.etag)
    if current is None or current.manifest.notes.dropped:
        raise LostRace(
            f"The manifest of {place} was removed while its successor was being written."
            " The next attempt starts from the beginning.",
            wait_s=1,
        )
    return CommitOutcome(CommitResult.LOST, current.manifest)


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
    staged = [file for batch in batches for file in batch.files]
    unfinished = [(each.key, each.upload_id) for each in uploads]
    for key, upload_id in (*unfinished, *((file.key, file.upload_id) for file in staged)):
        if upload_id:
            lake.abort_upload(key, upload_id)
    lake.delete(sorted({*files, *(file.key for file in staged)} - keep))
    if checkpoint is not None:
        lake.delete_exactly(place.checkpoint, checkpoint)


def lost_race(place: PartitionPaths) -> LostRace:
    """The error that the loser of a partition raises."""
    return LostRace(
        f"Another run has taken over {place} and goes on from the same batches; this one stops"
        " here, and nothing is lost.",
        wait_s=_LOST_WAIT_S,
    )
