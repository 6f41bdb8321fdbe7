"""One try at one partition: stage batches, then commit them all at once.

A batch counts once the checkpoint names it; a commit is decided once the checkpoint holds its
manifest, and from then on anybody carries it out. How a try begins: `pipeline.lake.open_attempt`.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from pipeline.decode.schema_text import describe
from pipeline.errors import HeadraceError, LakeRefused, LakeUnavailable, LostRace
from pipeline.lake.checkpoint import (
    Checkpoint,
    CommitDecision,
    StagedBatch,
    save,
    schema_from_text,
    schema_to_text,
)
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.paths import PartitionPaths, new_generation
from pipeline.lake.publish import (
    CommitOutcome,
    CommitResult,
    clean,
    committed,
    discard,
    list_garbage,
    lost_race,
    publish,
)
from pipeline.lake.s3 import Lake, Part
from pipeline.lake.s3_errors import UploadGone, WriteConflict

PART_BYTES: Final = 16 * 2**20  # S3: at least 5 MiB, but for the last part


class Attempt:
    """One try at one partition, the owner of its checkpoint until another takes it over.

    For one thread at a time. Built by `pipeline.lake.open_attempt.open_attempt` only.

    :ivar committed: not None if an earlier try had decided its commit; opening has carried it
        out and there is nothing left to extract. Its window and watermark tell whether that is
        enough; if it isn't, open again, which then starts afresh.
    """

    def __init__(
        self, lake: Lake, place: PartitionPaths, checkpoint: Checkpoint, etag: str, *, resumed: bool
    ) -> None:
        self._lake = lake
        self._checkpoint = checkpoint
        self._etag = etag
        self.place = place
        self.resumed = resumed
        self.committed = checkpoint.manifest

    @property
    def generation(self) -> str:
        """The name that this try's files and manifest bear."""
        return self._checkpoint.owner

    @property
    def window(self) -> Mapping[str, Any]:
        """The window to extract: the one of the first try, if this one goes on with its work."""
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
        """Rows staged so far, earlier tries included."""
        return sum(batch.rows for batch in self._checkpoint.batches)

    @property
    def schema(self) -> pa.Schema | None:
        """The schema stored with the last staged batch."""
        return schema_from_text(self._checkpoint.schema) if self._checkpoint.schema else None

    @property
    def columns(self) -> Sequence[Mapping[str, str]]:
        """`schema` as a manifest tells it."""
        return describe(self.schema) if self.schema is not None else []

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
        :param progress: what the next try needs to go on behind this batch; JSON values.
        :param schema: of all batches so far; it may only grow wider.
        :raises LostRace: another try has taken the partition over.
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

    def start_over(self, window: Mapping[str, Any] | None = None) -> None:
        """Throw away what is staged, earlier tries' batches included: nothing is staged then.

        The generation is a new one, since no file's name may be used twice.

        :param window: in place of the first try's.
        """
        staged = self._checkpoint.batches
        owner = new_generation(datetime.now(UTC), secrets.token_hex(4))
        kept = self._checkpoint.window if window is None else dict(window)
        self._save(self._checkpoint.next(owner=owner, batches=(), schema=None, window=kept))
        discard(self._lake, staged, keep=frozenset())

    def commit(self, build: Callable[[list[ManifestFile]], Manifest]) -> CommitOutcome:
        """Make all that was staged the partition, at once.

        :param build: called when the files are complete and can be read, before any manifest
            names them. Gives the manifest's facts; names, window, generation, files, rows and
            columns are filled in here. May be called again by a later try if this one dies.
        :raises LostRace: another try has taken over, and has not committed yet.
        :raises LakeUnavailable: a staged batch is gone, or S3 does not answer; the next try
            goes on from what is there.
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
        outcome = publish(self._lake, self.place, decision)
        if outcome.result is CommitResult.DONE:
            self.committed = outcome.manifest
            try:
                clean(self._lake, self.place, decision)
            except (LakeUnavailable, LakeRefused) as error:
                return replace(outcome, left_over=str(error))
        return outcome

    def winner(self) -> Manifest | None:
        """The manifest that another run has committed since this try was opened, or None."""
        found = committed(self._lake, self.place)
        if found is None or found.etag == self._checkpoint.base:
            return None
        return found.manifest

    # ---- below: how

    def _decide(self, build: Callable[[list[ManifestFile]], Manifest]) -> CommitDecision:
        files = self._complete_uploads()
        manifest = self._filled_in(build(files), files)
        garbage = tuple(list_garbage(self._lake, self.place, manifest.paths))
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
        for last_try in (False, True):
            upload_id = lake.create_upload(key)
            try:
                parts = tuple(
                    lake.upload_part(key, upload_id, number, bytes(body[i : i + PART_BYTES]))
                    for number, i in enumerate(starts, start=1)
                )
            except UploadGone:
                if last_try:
                    raise LakeUnavailable(
                        f"S3 twice lost the upload of {lake.url(key)} while it was being sent:"
                        " does something else remove unfinished uploads from the bucket?"
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
                # An earlier try may have completed it, or this one's answer was lost.
                if self._lake.size(batch.key) != batch.bytes:
                    self._cut_back(index)
            files.append(ManifestFile(batch.key, batch.rows, batch.bytes))
        return files

    def _cut_back(self, index: int) -> None:
        kept, lost = self._checkpoint.batches[:index], self._checkpoint.batches[index:]
        losses = self._checkpoint.losses + (not kept)
        self._save(self._checkpoint.next(batches=kept, losses=losses))
        discard(self._lake, lost, keep=frozenset())
        if not kept and losses > 1:
            raise LakeRefused(
                f"{self.place}: all that was staged was gone from S3 before it could be committed,"
                f" {losses} times now: unfinished uploads are removed from {self._lake.url()}"
                " sooner than this partition can be read. Let the lifecycle rule leave them a week."
            )
        rows = sum(batch.rows for batch in lost)
        raise LakeUnavailable(
            f"{self.place}: a staged file is gone from S3 before it was committed (a lifecycle"
            f" rule that removes unfinished uploads?). {len(kept)} files are still there;"
            f" the next try fetches {rows} rows again.",
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
            columns=tuple(facts.columns or self.columns),
            checks=tuple(facts.checks),
            run_id=checkpoint.run_id,
            definition=checkpoint.definition,
        )
