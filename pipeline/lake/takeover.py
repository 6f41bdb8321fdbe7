"""The takeover of a partition: its work becomes an attempt's own, whatever an earlier one left.

All ownership is the checkpoint's etag: the attempt that writes the checkpoint fences the one that
wrote it before. The protocol, its crash points and why it holds: docs/decisions/0003-commit.md.
"""

import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from pipeline.errors import LostRace
from pipeline.lake.attempt import Attempt
from pipeline.lake.checkpoint import Checkpoint, load, own
from pipeline.lake.commit import CommitResult, carry_out, clean_up, lost_race
from pipeline.lake.index import ManifestIndex, read_committed
from pipeline.lake.paths import PartitionPaths, new_generation
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions.window import Window

_OPEN_ATTEMPTS: Final = 20


def open_attempt(
    lake: ObjectStore,
    place: PartitionPaths,
    *,
    definition: str,
    window: Window,
    run_id: str,
    index: ManifestIndex | None = None,
) -> Attempt:
    """Take the partition's work over, from an earlier attempt if there was one.

    An earlier attempt of the same definition is resumed: its window, its staged batches. One of
    another definition, or of before the latest commit, is dropped. A commit that was decided is
    carried out; the attempt then says ``committed``.

    :param definition: a digest of all that makes staged rows usable by another attempt.
    :param index: of this run. A partition that nobody worked on when the run looked is then begun
        without looking again: the checkpoint's conditional write tells if that has changed.
    :raises LostRace: others keep taking the partition over at the same time.
    """
    for number in range(_OPEN_ATTEMPTS):
        fresh = Checkpoint(
            owner=new_generation(datetime.now(UTC), secrets.token_hex(4)),
            run_id=run_id,
            definition=definition,
            base=None,
            window=window,
        )
        if number == 0 and index is not None and index.untouched(place):
            return _begin(lake, place, fresh, index)
        if (attempt := _take_over(lake, place, fresh, index)) is not None:
            return attempt
    raise lost_race(place)


def _begin(
    lake: ObjectStore, place: PartitionPaths, fresh: Checkpoint, index: ManifestIndex
) -> Attempt:
    """Begin a partition that nobody worked on when the run looked.

    The first checkpoint is written with the first batch, and makes the work one's own: until then
    nothing of it is in the lake. Of two that begin so at the same time, the second one is fenced.
    """
    index.touched(place)
    mine = replace(fresh, base=index.etag(place))
    lake.check_conditions(place.checkpoint, mine.to_json())
    return Attempt(
        lake,
        place,
        mine,
        None,
        index=index,
        others=index.files(place),
        idle=index.uploads(place),
    )


def _take_over(
    lake: ObjectStore, place: PartitionPaths, fresh: Checkpoint, index: ManifestIndex | None
) -> Attempt | None:
    """Own the work that is there, or start afresh; None if that changed meanwhile: look again."""
    # This order matters. Uploads listed before the takeover can't be a later owner's; the
    # manifest read after the checkpoint can't be older than the end of a work it shows.
    uploads = lake.uploads(place.folder)
    stored = load(lake, place)
    current = read_committed(lake, place)
    before = stored.checkpoint if stored else None
    if index is not None and current is not None:
        index.put(place, current)
    if stored and before and stored.decision:
        with suppress(LostRace):
            outcome = carry_out(lake, place, stored.decision, index)
            if (
                outcome.result is CommitResult.DONE
                and outcome.manifest.definition == fresh.definition
            ):
                return Attempt(lake, place, before, stored.etag, index=index)
        return None
    base = current.etag if current else None
    if before and (before.base, before.definition) == (base, fresh.definition):
        mine, dropped = before.next(owner=fresh.owner, run_id=fresh.run_id), None
    else:
        mine, dropped = replace(fresh, base=base), before
    etag = own(lake, place, mine, replaces=stored.etag if stored else None)
    if etag is None:
        return None
    recorded = {(file.key, file.upload_id) for batch in mine.batches for file in batch.files}
    clean_up(
        lake,
        place,
        uploads=[each for each in uploads if (each.key, each.upload_id) not in recorded],
        batches=dropped.batches if dropped else (),
        keep=current.manifest.paths if current else frozenset(),
    )
    return Attempt(lake, place, mine, etag, index=index)
