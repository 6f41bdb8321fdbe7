"""Take a partition out of the lake: a commit like any other, of a manifest that says so.

The drop owns the checkpoint, lists the files, and decides: a manifest without files replaces the
one that is there, on a condition. From then on readers see none of the partition, and any process
may carry the decision out (`pipeline.lake.commit`): the files go, then the manifest, then the
checkpoint. A run that began before commits nothing: the manifest that it would replace is gone.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.lake.checkpoint import Checkpoint, CommitDecision, StoredCheckpoint, load, own, save
from pipeline.lake.commit import carry_out, clean_up, lost_race
from pipeline.lake.index import manifest_of, places_with_manifests, read_committed
from pipeline.lake.manifest import Manifest, ManifestNotes
from pipeline.lake.paths import (
    PartitionPaths,
    archive_of,
    checkpoints_folder,
    new_generation,
    paths_of_part,
    paths_of_record,
    sweeps_folder,
)
from pipeline.lake.stores.base import ObjectStore, WriteConflict
from pipeline.partitions.window import Window

_ATTEMPTS = 5


@dataclass(frozen=True)
class PartitionState:
    """The objects that the lake has of a partition.

    :ivar committed: its manifest; None if it is not committed.
    :ivar work: the checkpoint of a run that writes it, or has died doing so; None if there is none.
    """

    place: PartitionPaths
    committed: Manifest | None
    work: StoredCheckpoint | None

    @property
    def staged_rows(self) -> int:
        """Rows that a run has staged, and not committed."""
        checkpoint = self.work.checkpoint if self.work else None
        return sum(batch.rows for batch in checkpoint.batches) if checkpoint else 0

    def work_text(self, now: datetime) -> str:
        """Which run works on the partition, and when it gave its last sign."""
        if self.work is None:
            return ""
        checkpoint = self.work.checkpoint
        run_id = checkpoint.run_id if checkpoint else ""
        run = f"run {run_id}" if run_id else "another version of Headrace"
        minutes = max(0.0, (now - self.work.modified).total_seconds()) / 60
        return f"{run}, {self.staged_rows:,} rows staged, last sign {minutes:,.0f} min ago"


def states(
    lake: ObjectStore, source: str, endpoint: str, first: str = "", last: str = ""
) -> list[PartitionState]:
    """The partitions of an endpoint that are committed or in work, in order.

    :param first: the first one; empty: from the first. :param last: the same for the last one.
    """
    work = lake.list(checkpoints_folder(source, endpoint))
    places = {*places_with_manifests(lake, source, endpoint)}
    places |= {place for item in work if (place := paths_of_record(item.key)) is not None}
    partitions = []
    for place in sorted(places, key=lambda each: each.partition):
        if first <= place.partition and (not last or place.partition <= last):
            stored, manifest = (
                load(lake, place),
                manifest_of(lake, source, endpoint, place.partition),
            )
            if stored is not None or manifest is not None:
                partitions.append(PartitionState(place, manifest, stored))
    return partitions


def drop(lake: ObjectStore, place: PartitionPaths, *, staged: bool = False) -> Manifest | None:
    """Take a partition out of the lake. :return: what was committed, if anything.

    :param staged: a checkpoint is there: what it has staged goes, too. A run that is still alive
        loses the partition, and commits nothing of it.
    :raises LostRace: a run works on the partition, or takes it over at the same time.
    """
    for _ in range(_ATTEMPTS):
        stored = load(lake, place)
        if stored is not None and stored.decision is not None:  # it can't be taken back: finish it
            carry_out(lake, place, stored.decision)
            continue
        if stored is not None and not staged:
            raise lost_race(place)
        etag = own(lake, place, _nobody(), replaces=stored.etag if stored else None)
        if etag is None:
            continue
        return _drop_owned(lake, place, stored, etag)
    raise lost_race(place)


def discard_staged(lake: ObjectStore, place: PartitionPaths, stored: StoredCheckpoint) -> bool:
    """Remove a checkpoint and what it has staged. :return: False if it was taken over meanwhile.

    Its owner is fenced first: should it be alive after all, it learns so before it can commit.
    """
    etag = own(lake, place, _nobody(), replaces=stored.etag)
    if etag is None:
        return False
    committed = read_committed(lake, place)
    clean_up(
        lake,
        place,
        batches=stored.checkpoint.batches if stored.checkpoint else (),
        keep=committed.manifest.paths if committed else frozenset(),
        checkpoint=etag,
    )
    return True


def drop_records(lake: ObjectStore, source: str, endpoint: str) -> int:
    """Remove what is noted of an endpoint without partitions. :return: how many sweeps it had."""
    sweeps = [item.key for item in lake.list(sweeps_folder(source, endpoint))]
    lake.delete([*sweeps, archive_of(source, endpoint)])
    return len(sweeps)


# ---- below: how


def _nobody() -> Checkpoint:
    """The checkpoint of an owner without any work."""
    now = datetime.now(UTC)
    return Checkpoint(
        owner=new_generation(now, secrets.token_hex(4)),
        run_id="maintenance",
        definition="",
        base=None,
        window=Window("snapshot", None, now, 0.0),
    )


def _drop_owned(
    lake: ObjectStore, place: PartitionPaths, stored: StoredCheckpoint | None, etag: str
) -> Manifest | None:
    # Listed by the owner before its decision, as a commit does it: see docs/decisions/0003-commit.
    current = read_committed(lake, place)
    batches = stored.checkpoint.batches if stored and stored.checkpoint else ()
    files = frozenset(
        item.key for item in lake.list(place.folder) if paths_of_part(item.key) == place
    )
    if current is None:
        clean_up(lake, place, batches=batches, files=files, checkpoint=etag)
        return None
    clean_up(lake, place, batches=batches, keep=current.manifest.paths)
    mine = _nobody()
    nothing = replace(
        current.manifest,
        generation=mine.owner,
        rows=0,
        late_rows=0,
        margin_rows=0,
        latest_late_s=None,
        watermark=None,
        files=(),
        tables={},
        checks=(),
        definition="",
        notes=ManifestNotes(
            key=current.manifest.notes.key, cursor=current.manifest.notes.cursor, dropped=True
        ),
    )
    decided = replace(
        mine, base=current.etag, writes=1, manifest=nothing, garbage=tuple(sorted(files))
    )
    try:
        etag = save(lake, place, decided, replaces=etag)
    except WriteConflict:
        raise lost_race(place) from None
    carry_out(lake, place, CommitDecision(nothing, current.etag, decided.garbage, etag))
    return current.manifest


def in_use(partitions: Collection[PartitionState]) -> list[PartitionState]:
    """The partitions that a run is writing, or has died writing."""
    return [each for each in partitions if each.work is not None]
