"""The decided commit: put the manifest in place, then remove what it replaces.

Both steps can be done by anyone who finds the decision in a checkpoint, any number of times, at
the same time as others: the manifest's PUT is conditional on the one that it replaces, and the
garbage was listed while the checkpoint was still owned, so nothing in it can come to life again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pipeline.errors import LostRace
from pipeline.lake.checkpoint import CommitDecision, StagedBatch
from pipeline.lake.compare_and_swap import compare_and_swap
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths, paths_of_part
from pipeline.lake.s3 import Lake
from pipeline.lake.s3_errors import WriteConflict

_LOST_WAIT_S: Final = 60.0  # time for the winner to commit, so that two runs do not take turns


class CommitResult(Enum):
    """How a commit ended. Unknown is no result: it is raised, and the next try finds out."""

    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True)
class CommitOutcome:
    """What came of a commit.

    :param manifest: what is in the lake now: one's own if DONE, the winner's if LOST.
    :param left_over: a sentence on why the clean-up was not finished; the next try finishes it.
    """

    result: CommitResult
    manifest: Manifest
    left_over: str | None = None


@dataclass(frozen=True)
class CommittedManifest:
    """A manifest as it lies in the lake."""

    manifest: Manifest
    etag: str


def committed(lake: Lake, place: PartitionPaths) -> CommittedManifest | None:
    """The partition's manifest, or None if it has never been committed."""
    found = lake.get(place.manifest)
    if found is None:
        return None
    name = lake.url(place.manifest)
    return CommittedManifest(Manifest.from_json(found.body, name=name), found.etag)


def list_garbage(lake: Lake, place: PartitionPaths, keep: frozenset[str]) -> Sequence[str]:
    """The partition's files that a manifest with these files would leave unneeded.

    To be called by the owner of the checkpoint, before it writes its decision: if that write
    succeeds, all that was listed belongs to the generation before or to tries that are fenced.
    """
    keys = (item.key for item in lake.list(place.folder))
    return [key for key in keys if paths_of_part(key) == place and key not in keep]


def publish(lake: Lake, place: PartitionPaths, decision: CommitDecision) -> CommitOutcome:
    """Put the decided manifest in place, if the one that it replaces is still there.

    :raises LakeUnavailable: not known whether it is in place; the checkpoint stays for the next.
    """
    planned = decision.manifest
    try:
        compare_and_swap(lake, place.manifest, planned.to_json().encode(), replaces=decision.base)
    except WriteConflict:
        winner = committed(lake, place)
        if winner is not None and winner.manifest.generation == planned.generation:
            return CommitOutcome(CommitResult.DONE, planned)
        _withdraw(lake, place, decision, winner)
        if winner is None:
            raise LostRace(
                f"The manifest of {place} was removed while its successor was being written."
                " The next try starts from the beginning.",
                wait_s=1,
            ) from None
        return CommitOutcome(CommitResult.LOST, winner.manifest)
    return CommitOutcome(CommitResult.DONE, planned)


def clean(lake: Lake, place: PartitionPaths, decision: CommitDecision) -> None:
    """Remove what the manifest in place has replaced, and then the checkpoint."""
    lake.delete(decision.garbage)
    lake.delete_exactly(place.checkpoint, decision.etag)


def carry_out(lake: Lake, place: PartitionPaths, decision: CommitDecision) -> CommitOutcome:
    """Finish a commit that an earlier try has decided."""
    outcome = publish(lake, place, decision)
    if outcome.result is CommitResult.DONE:
        clean(lake, place, decision)
    return outcome


def discard(lake: Lake, batches: Sequence[StagedBatch], *, keep: frozenset[str]) -> None:
    """Throw staged batches away, completed or not; the files in ``keep`` stay."""
    for batch in batches:
        lake.abort_upload(batch.key, batch.upload_id)
    lake.delete([batch.key for batch in batches if batch.key not in keep])


def lost_race(place: PartitionPaths) -> LostRace:
    """What the loser of a partition raises."""
    return LostRace(
        f"Another run has taken over {place} and goes on from the same batches; this one stops"
        " here, and nothing is lost.",
        wait_s=_LOST_WAIT_S,
    )


def _withdraw(
    lake: Lake, place: PartitionPaths, decision: CommitDecision, winner: CommittedManifest | None
) -> None:
    # The decision can't be carried out any more by anybody: what it refers to is gone for good.
    needed = winner.manifest.paths if winner else frozenset()
    lake.delete(sorted(decision.manifest.paths - needed))
    lake.delete_exactly(place.checkpoint, decision.etag)
