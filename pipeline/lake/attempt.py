"""One attempt at one partition: take the work over, stage batches, commit them all at once.

The protocol, its crash points and why it holds: docs/decisions/0003-commit.md. In short: all
ownership is the checkpoint's etag, and an attempt that writes the checkpoint fences the one that
wrote it before. A batch counts once the checkpoint names it. A commit is decided once the
checkpoint holds its manifest; from then on any run may carry it out, any number of times.
"""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import pyarrow as pa

from pipeline.decode.types import describe
from pipeline.errors import HeadraceError, LakeRefused, LakeUnavailable, LostRace
from pipeline.lake.checkpoint import (
    Checkpoint,
    CommitDecision,
    StagedBatch,
    load,
    save,
    schema_from_text,
    schema_to_text,
)
from pipeline.lake.clean_up import clean_up
from pipeline.lake.compare_and_swap import compare_and_swap
from pipeline.lake.index import CommittedManifest, ManifestIndex, read_committed
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.paths import PartitionPaths, new_generation, paths_of_part
from pipeline.lake.stores.base import ObjectStore, Part, UploadGone, WriteConflict
from pipeline.partitions.window import Window

PART_BYTES: Final = 16 * 2**20  # S3: at least 5 MiB, but for the last part
_OPEN_ATTEMPTS: Final = 20
_LOST_WAIT_S: Final = 60.0  # time for the winner to commit, so that two runs do not take turns


class CommitResult(Enum):
    """How a commit ended. *Unknown* is no result: it is raised, and the next attempt finds out."""

    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True)
class CommitOutcome:
    """What came of a commit.

    :param manifest: what is in the lake now: one's own if DONE, the winner's if LOST.
    :param left_over: a sentence on why the clean-up was not finished; the next attempt finishes it.
    """

    result: CommitResult
    manifest: Manifest
    left_over: str | None = None


# ---- take over


def open_attempt(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    partition: str,
    *,
    definition: str,
    window: Window,
    run_id: str,
    index: ManifestIndex | None = None,
) -> "Attempt":
    """Take the partition's work over, from an earlier attempt if there was one.

    An earlier attempt of the same definition is resumed: its window, its staged batches. One of
    another definition, or of before the latest commit, is dropped. A commit that was decided is
    carried out; the attempt then says ``committed``.

    :param definition: a digest of all that makes staged rows usable by another attempt.
    :param index: of this run. A partition that nobody worked on when the run looked is then begun
        without looking again: the checkpoint's conditional write tells if that has changed.
    :raises LostRace: others keep taking the partition over at the same time.
    """
    place = PartitionPaths(source, endpoint, partition)
    for number in range(_OPEN_ATTEMPTS):
        fresh = Checkpoint(
            owner=new_generation(datetime.now(UTC), secrets.token_hex(4)),
            run_id=run_id,
            definition=definition,
            base=None,
            window=window,
        )
        if number == 0 and index is not None and index.untouched(place):
            attempt = _begin(lake, place, fresh, index)
        else:
            attempt = _take_over(lake, place, fresh, index)
        if attempt is not None:
            return attempt
    raise lost_race(place)


def _begin(
    lake: ObjectStore, place: PartitionPaths, fresh: Checkpoint, index: ManifestIndex
) -> "Attempt | None":
    """Own a partition that nobody works on; None if somebody does by now."""
    base = index.etag(place)
    index.touched(place)
    mine = replace(fresh, base=base)
    etag = _own(lake, place, mine, replaces=None)
    if etag is None:
        return None
    # Files of a first generation can lie in the folder only if a checkpoint tells of them.
    return Attempt(lake, place, mine, etag, resumed=False, index=index, alone=base is None)


def _take_over(
    lake: ObjectStore, place: PartitionPaths, fresh: Checkpoint, index: ManifestIndex | None
) -> "Attempt | None":
    """Own the work that is there, or start afresh; None if that changed meanwhile: look again."""
    # This order matters. Uploads listed before the takeover can't be a later owner's; the
    # manifest read after the checkpoint can't be older than the end of a work it shows.
    uploads = lake.uploads(place.folder)
    held = load(lake, place)
    current = read_committed(lake, place)
    before = held.checkpoint if held else None
    if index is not None and current is not None:
        index.put(place, current)
    if held and before and held.decision:
        with suppress(LostRace):
            outcome = carry_out(lake, place, held.decision, index)
            if (
                outcome.result is CommitResult.DONE
                and outcome.manifest.definition == fresh.definition
            ):
                return Attempt(lake, place, before, held.etag, resumed=True, index=index)
        return None
    base = current.etag if current else None
    if before and (before.base, before.definition) == (base, fresh.definition):
        mine, dropped = before.next(owner=fresh.owner, run_id=fresh.run_id), None
    else:
        mine, dropped = replace(fresh, base=base), before
    etag = _own(lake, place, mine, replaces=held.etag if held else None)
    if etag is None:
        return None
    recorded = {(batch.key, batch.upload_id) for batch in mine.batches}
    clean_up(
        lake,
        place,
        uploads=[each for each in uploads if (each.key, each.upload_id) not in recorded],
        batches=dropped.batches if dropped else (),
        keep=current.manifest.paths if current else frozenset(),
    )
    return Attempt(lake, place, mine, etag, resumed=mine.writes > 0, index=index)


def _own(
    lake: ObjectStore, place: PartitionPaths, mine: Checkpoint, *, replaces: str | None
) -> str | None:
    """Write the checkpoint that makes the work one's own: its etag, or None if another came first.

    :raises LakeRefused: the store overlooks conditions, so that nothing would be one's own.
    """
    try:
        etag = save(lake, place, mine, replaces=replaces)
        lake.check_conditions(place.checkpoint, mine.to_json())
    except WriteConflict:
        return None
    return etag


# ---- stage and commit


class Attempt:
    """One attempt at one partition, the owner of its checkpoint until another takes it over.

    For one thread at a time. Built by `open_attempt` only.

    :param alone: no file of another generation or attempt can lie in the partition's folder.
    :ivar committed: not None if an earlier attempt had decided its commit; opening has carried it
        out and there is nothing left to extract. Its window and watermark tell whether that is
        enough; if it isn't, open again, which then starts afresh.
    """

    def __init__(
        self,
        lake: ObjectStore,
        place: PartitionPaths,
        checkpoint: Checkpoint,
        etag: str,
        *,
        resumed: bool,
        index: ManifestIndex | None = None,
        alone: bool = False,
    ) -> None:
        self._lake = lake
        self._index = index
        self._alone = alone
        self._checkpoint = checkpoint
        self._etag = etag
        self.place = place
        self.resumed = resumed
        self.committed = checkpoint.manifest

    @property
    def generation(self) -> str:
        """The name that this attempt's files and manifest bear."""
        return self._checkpoint.owner

    @property
    def window(self) -> Window:
        """The window to extract: the one of the first attempt, if this one resumes its work."""
        return self._checkpoint.window

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """What was stored with the last staged batch; None: start from the beginning."""
        return self._checkpoint.batches[-1].progress if self._checkpoint.batches else None

    @property
    def counters(self) -> Mapping[str, int]:
        """The counters stored with the last staged batch."""
        return self._checkpoint.batches[-1].counters if self._checkpoint.batches else {}

    @property
    def staged_rows(self) -> int:
        """Rows staged so far, earlier attempts included."""
        return sum(batch.rows for batch in self._checkpoint.batches)

    @property
    def schema(self) -> pa.Schema | None:
        """The schema stored with the last staged batch."""
        return schema_from_text(self._checkpoint.schema) if self._checkpoint.schema else None

    def stage(
        self,
        body: Any,
        *,
        rows: int,
        progress: Mapping[str, Any],
        counters: Mapping[str, int],
        schema: pa.Schema,
    ) -> None:
        """Bring a batch to S3, unseen by readers, and record that it is there.

        :param body: the Parquet file: bytes, or anything with their buffer.
        :param progress: what the next attempt needs to resume behind this batch; JSON values.
        :param schema: of all batches so far; it may only grow wider.
        :raises LostRace: another attempt has taken the partition over.
        """
        if self._checkpoint.manifest is not None:
            raise RuntimeError(f"{self.place} is committed already: nothing can be staged.")
        key = self.place.part(len(self._checkpoint.batches), self.generation)
        view = memoryview(body).cast("B")
        upload_id, parts = self._upload(key, view)
        batch = StagedBatch(
            key, upload_id, parts, rows, view.nbytes, dict(progress), dict(counters)
        )
        batches = (*self._checkpoint.batches, batch)
        try:
            self._save(self._checkpoint.next(batches=batches, schema=schema_to_text(schema)))
        except LostRace:
            with suppress(HeadraceError):
                self._lake.abort_upload(key, upload_id)
            raise

    def replace_file(self, index: int, body: Any, *, rows: int) -> ManifestFile:
        """Put another Parquet file in the place of one that is complete, before the commit.

        :param index: of the batch. :param body: as for ``stage``.
        :raises LostRace: another attempt has taken the partition over.
        """
        batch, view = self._checkpoint.batches[index], memoryview(body).cast("B")
        upload_id, parts = self._upload(batch.key, view)
        changed = replace(batch, upload_id=upload_id, parts=parts, rows=rows, bytes=view.nbytes)
        batches = (*self._checkpoint.batches[:index], changed)
        try:
            self._save(
                self._checkpoint.next(batches=(*batches, *self._checkpoint.batches[index + 1 :]))
            )
        except LostRace:
            with suppress(HeadraceError):
                self._lake.abort_upload(batch.key, upload_id)
            raise
        # The checkpoint names the upload by now: a later attempt completes it if this one dies.
        self._lake.complete_upload(batch.key, upload_id, parts)
        return ManifestFile(batch.key, rows, view.nbytes)

    def start_over(self, window: Window | None = None) -> None:
        """Throw away what is staged, earlier attempts' batches included: nothing is staged then.

        The generation is a new one, since no file's name may be used twice.

        :param window: in place of the first attempt's.
        """
        staged = self._checkpoint.batches
        owner = new_generation(datetime.now(UTC), secrets.token_hex(4))
        self._alone = False
        self._save(
            self._checkpoint.next(
                owner=owner,
                batches=(),
                schema=None,
                window=self._checkpoint.window if window is None else window,
            )
        )
        clean_up(self._lake, self.place, batches=staged)

    def commit(self, build: Callable[[list[ManifestFile]], Manifest]) -> CommitOutcome:
        """Make all that was staged the partition, at once.

        :param build: called when the files are complete and can be read, before any manifest
            names them. Gives the manifest's facts; names, window, generation, files, rows and
            columns are filled in here. It may replace files by ``replace_file``. May be called
            again by a later attempt if this one dies.
        :raises LostRace: another attempt has taken over, and has not committed yet.
        :raises LakeUnavailable: a staged batch is gone, or the store does not respond; the next
            attempt resumes from what is there.
        :raises LakeRefused: all staged batches are gone, for the second time.
        """
        if self.committed is not None:
            return CommitOutcome(CommitResult.DONE, self.committed)
        try:
            decision = self._decide(build)
        except LostRace:
            winner = self.winner()
            if winner is None:
                raise
            return CommitOutcome(CommitResult.LOST, winner)
        outcome = _publish(self._lake, self.place, decision, self._index)
        if outcome.result is CommitResult.DONE:
            self.committed = outcome.manifest
            try:
                clean_up(self._lake, self.place, files=decision.garbage, checkpoint=decision.etag)
            except (LakeUnavailable, LakeRefused) as error:
                return replace(outcome, left_over=str(error))
        return outcome

    def winner(self) -> Manifest | None:
        """The manifest that another run has committed since this attempt was opened, or None."""
        found = read_committed(self._lake, self.place)
        if found is None or found.etag == self._checkpoint.base:
            return None
        return found.manifest

    # ---- below: how

    def _decide(self, build: Callable[[list[ManifestFile]], Manifest]) -> CommitDecision:
        facts = build(self._complete_uploads())
        files = [ManifestFile(each.key, each.rows, each.bytes) for each in self._checkpoint.batches]
        manifest = self._filled_in(facts, files)
        # Listed by the owner before its decision: if that write succeeds, all of this belongs to
        # the generation before or to fenced attempts, and none of it can come to life again.
        listed = () if self._alone else self._lake.list(self.place.folder)
        mine = (item.key for item in listed if paths_of_part(item.key) == self.place)
        garbage = tuple(key for key in mine if key not in manifest.paths)
        self._save(self._checkpoint.next(manifest=manifest, garbage=garbage))
        return CommitDecision(manifest, self._checkpoint.base, garbage, self._etag)

    def _save(self, checkpoint: Checkpoint) -> None:
        try:
            self._etag = save(self._lake, self.place, checkpoint, replaces=self._etag)
        except WriteConflict:
            raise lost_race(self.place) from None
        self._checkpoint = checkpoint

    def _upload(self, key: str, body: memoryview) -> tuple[str, tuple[Part, ...]]:
        lake = self._lake
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

    def _complete_uploads(self) -> list[ManifestFile]:
        files: list[ManifestFile] = []
        for index, batch in enumerate(self._checkpoint.batches):
            try:
                self._lake.complete_upload(batch.key, batch.upload_id, batch.parts)
            except UploadGone:
                # An earlier attempt may have completed it, or this one's response was lost.
                if self._lake.size(batch.key) != batch.bytes:
                    self._cut_back(index)
            files.append(ManifestFile(batch.key, batch.rows, batch.bytes))
        return files

    def _cut_back(self, index: int) -> None:
        kept, lost = self._checkpoint.batches[:index], self._checkpoint.batches[index:]
        losses = self._checkpoint.losses + (not kept)
        self._save(self._checkpoint.next(batches=kept, losses=losses))
        self._alone = False
        clean_up(self._lake, self.place, batches=lost)
        if not kept and losses > 1:
            raise LakeRefused(
                f"{self.place}: every staged file was gone from S3 before it could be committed,"
                f" {losses} times now: unfinished uploads are removed from {self._lake.url()}"
                " sooner than this partition can be read. Let the lifecycle rule leave them a week."
            )
        rows = sum(batch.rows for batch in lost)
        raise LakeUnavailable(
            f"{self.place}: a staged file is gone from S3 before it was committed (a lifecycle"
            f" rule that removes unfinished uploads?). {len(kept)} files are still there;"
            f" the next attempt fetches {rows} rows again.",
            wait_s=1,
        )

    def _filled_in(self, facts: Manifest, files: list[ManifestFile]) -> Manifest:
        checkpoint = self._checkpoint
        return replace(
            facts,
            source=self.place.source,
            endpoint=self.place.endpoint,
            partition=self.place.partition,
            generation=self.generation,
            window=self.window,
            rows=self.staged_rows,
            files=tuple(files),
            columns=tuple(facts.columns or (describe(self.schema) if self.schema else ())),
            checks=tuple(facts.checks),
            run_id=checkpoint.run_id,
            definition=checkpoint.definition,
        )


# ---- carry out


def carry_out(
    lake: ObjectStore,
    place: PartitionPaths,
    decision: CommitDecision,
    index: ManifestIndex | None = None,
) -> CommitOutcome:
    """Finish a commit that an earlier attempt has decided."""
    outcome = _publish(lake, place, decision, index)
    if outcome.result is CommitResult.DONE:
        clean_up(lake, place, files=decision.garbage, checkpoint=decision.etag)
    return outcome


def _publish(
    lake: ObjectStore,
    place: PartitionPaths,
    decision: CommitDecision,
    index: ManifestIndex | None,
) -> CommitOutcome:
    """Put the decided manifest in place, if the one that it replaces is still there.

    :raises LakeUnavailable: not known whether it is in place; the checkpoint stays for the next.
    """
    planned = decision.manifest
    try:
        body = planned.to_json().encode()
        etag = compare_and_swap(lake, place.manifest, body, replaces=decision.base)
        current: CommittedManifest | None = CommittedManifest(planned, etag)
    except WriteConflict:
        current = read_committed(lake, place)
    if index is not None and current is not None:
        index.put(place, current)
    if current is not None and current.manifest.generation == planned.generation:
        return CommitOutcome(CommitResult.DONE, planned)
    # Nobody can carry the decision out any more: what it refers to is gone for good.
    needed = current.manifest.paths if current else frozenset()
    clean_up(lake, place, files=planned.paths, keep=needed, checkpoint=decision.etag)
    if current is None:
        raise LostRace(
            f"The manifest of {place} was removed while its successor was being written."
            " The next attempt starts from the beginning.",
            wait_s=1,
        )
    return CommitOutcome(CommitResult.LOST, current.manifest)


def lost_race(place: PartitionPaths) -> LostRace:
    """What the loser of a partition raises."""
    return LostRace(
        f"Another run has taken over {place} and goes on from the same batches; this one stops"
        " here, and nothing is lost.",
        wait_s=_LOST_WAIT_S,
    )
