"""Begin a try at a partition: take the work over from nobody, or from an earlier try.

The protocol, its crash points and why it holds: docs/decisions/0003-commit.md. In short: all
ownership is the checkpoint's etag, and whoever writes the checkpoint fences whoever wrote it
before. What an earlier try has left is gone on with, carried out, or cleared away.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.attempt import Attempt, discard, lost_race
from pipeline.checkpoint import Checkpoint, load, save
from pipeline.layout import Place, new_generation
from pipeline.publish import Committed, Outcome, Result, carry_out, committed
from pipeline.s3errors import Conflict
from pipeline.store import Lake, Upload

__all__ = ["Attempt", "Outcome", "Result", "open_attempt"]

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
    place = Place(source, endpoint, partition)
    for _ in range(_OPEN_TRIES):
        generation = new_generation(datetime.now(UTC), secrets.token_hex(4))
        # This order matters. Uploads listed before the takeover can't be a later owner's; the
        # manifest read after the checkpoint can't be older than the end of a work it shows.
        uploads = lake.uploads(place.folder)
        held = load(lake, place)
        current = committed(lake, place)
        before = held.checkpoint if held else None
        if held and before and held.decision:
            outcome = carry_out(lake, place, held.decision)
            if outcome.result is Result.DONE and outcome.manifest.definition == definition:
                return Attempt(lake, place, before, held.etag, resumed=True)
            continue
        base = current.etag if current else None
        resumed = before is not None and (before.base, before.definition) == (base, definition)
        if before and resumed:
            mine = before.next(owner=generation, run_id=run_id)
        else:
            mine = Checkpoint(
                owner=generation,
                run_id=run_id,
                definition=definition,
                base=base,
                window=dict(window),
            )
        try:
            etag = save(lake, place, mine, replaces=held.etag if held else None)
        except Conflict:
            continue
        _clear_away(lake, uploads, mine, dropped=before if not resumed else None, current=current)
        return Attempt(lake, place, mine, etag, resumed=resumed)
    raise lost_race(place)


def _clear_away(
    lake: Lake,
    uploads: Sequence[Upload],
    mine: Checkpoint,
    *,
    dropped: Checkpoint | None,
    current: Committed | None,
) -> None:
    recorded = {(batch.key, batch.upload_id) for batch in mine.batches}
    for upload in uploads:
        if (upload.key, upload.upload_id) not in recorded:
            lake.abort_upload(upload.key, upload.upload_id)
    if dropped is not None:
        keep = current.manifest.paths if current else frozenset()
        discard(lake, dropped.batches, keep=keep)
