"""Begin a try at a partition: take the work over from nobody, or from an earlier try.

The protocol, its crash points and why it holds: docs/decisions/0003-commit.md. In short: all
ownership is the checkpoint's etag, and whoever writes the checkpoint fences whoever wrote it
before. What an earlier try has left is gone on with, carried out, or cleared away.
"""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.errors import LostRace
from pipeline.lake.attempt import Attempt
from pipeline.lake.checkpoint import Checkpoint, load, save
from pipeline.lake.paths import PartitionPaths, new_generation
from pipeline.lake.publish import (
    CommitOutcome,
    CommitResult,
    CommittedManifest,
    carry_out,
    committed,
    discard,
    lost_race,
)
from pipeline.lake.s3 import Lake, Upload
from pipeline.lake.s3_errors import WriteConflict

__all__ = ["Attempt", "CommitOutcome", "CommitResult", "open_attempt"]

_OPEN_TRIES: Final = 20


def open_attempt(
    lake: Lake,
    source: str,
    endpoint: str,
    partition: str,
    *,
    definition: str,
    window: Mapping[str, Any],
    run_id: str,
) -> Attempt:
    """Take the partition's work over, from nobody or from an earlier try.

    An earlier try of the same definition is gone on with: its window, its staged batches. One of
    another definition, or of before the latest commit, is dropped. One that had decided its
    commit is carried through; the attempt then says ``committed``.

    :param definition: a digest of all that makes staged rows usable by another try.
    :raises LostRace: others keep taking the partition over at the same time.
    """
    place = PartitionPaths(source, endpoint, partition)
    for _ in range(_OPEN_TRIES):
        fresh = Checkpoint(
            owner=new_generation(datetime.now(UTC), secrets.token_hex(4)),
            run_id=run_id,
            definition=definition,
            base=None,
            window=dict(window),
        )
        attempt = _take_over(lake, place, fresh)
        if attempt is not None:
            return attempt
    raise lost_race(place)


def _take_over(lake: Lake, place: PartitionPaths, fresh: Checkpoint) -> Attempt | None:
    """Own the work that is there, or start afresh; None if that changed meanwhile: look again."""
    # This order matters. Uploads listed before the takeover can't be a later owner's; the
    # manifest read after the checkpoint can't be older than the end of a work it shows.
    uploads = lake.uploads(place.folder)
    held = load(lake, place)
    current = committed(lake, place)
    before = held.checkpoint if held else None
    if held and before and held.decision:
        with suppress(LostRace):
            outcome = carry_out(lake, place, held.decision)
            if (
                outcome.result is CommitResult.DONE
                and outcome.manifest.definition == fresh.definition
            ):
                return Attempt(lake, place, before, held.etag, resumed=True)
        return None
    base = current.etag if current else None
    if before and (before.base, before.definition) == (base, fresh.definition):
        mine, dropped = before.next(owner=fresh.owner, run_id=fresh.run_id), None
    else:
        mine, dropped = replace(fresh, base=base), before
    try:
        etag = save(lake, place, mine, replaces=held.etag if held else None)
        lake.check_conditions(place.checkpoint, mine.to_json())
    except WriteConflict:
        return None
    _clear_away(lake, uploads, mine, dropped=dropped, current=current)
    return Attempt(lake, place, mine, etag, resumed=mine.writes > 0)


def _clear_away(
    lake: Lake,
    uploads: Sequence[Upload],
    mine: Checkpoint,
    *,
    dropped: Checkpoint | None,
    current: CommittedManifest | None,
) -> None:
    recorded = {(batch.key, batch.upload_id) for batch in mine.batches}
    for upload in uploads:
        if (upload.key, upload.upload_id) not in recorded:
            lake.abort_upload(upload.key, upload.upload_id)
    if dropped is not None:
        keep = current.manifest.paths if current else frozenset()
        discard(lake, dropped.batches, keep=keep)
