"""The attempt at a partition: stage batches, commit them all at once. It begins in ``takeover``.

The protocol, its crash points and why it holds: docs/decisions/0003-commit.md. In short: a batch
counts once the checkpoint names it. A commit is decided once the checkpoint holds its manifest;
from then on any run may carry it out, any number of times.
"""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from pipeline.decode.types import describe
from pipeline.errors import ContractBroken, HeadraceError, LakeRefused, LakeUnavailable, LostRace
from pipeline.lake.checkpoint import (
    Checkpoint,
    CommitDecision,
    StagedBatch,
    StagedFile,
    StagedTable,
    load,
    save,
    schema_from_text,
    schema_to_text,
)
from pipeline.lake.commit import (
    CommitOutcome,
    CommitResult,
    clean_up,
    finish,
    lost_race,
    publish,
    upload,
)
from pipeline.lake.index import ManifestIndex, read_committed
from pipeline.lake.manifest import Manifest, ManifestFile, ManifestTable, checksum_of
from pipeline.lake.paths import PartitionPaths, new_generation, paths_of_part
from pipeline.lake.stores.base import (
    ObjectStore,
    Upload,
    UploadGone,
    WriteConflict,
    compare_and_swap,
)
from pipeline.partitions.window import Window


@dataclass(frozen=True)
class TableFile:
    """Rows of a child table, as a Parquet file. :ivar filtered_rows: those that are left out."""

    body: Any
    rows: int
    filtered_rows: int = 0


INLINE_BYTES: Final = 2**20
"""A partition's only file, if it is no larger, is staged in the checkpoint: two requests less."""


class Attempt:
    """An attempt at a partition, the owner of its checkpoint until another takes it over.

    For one thread at a time. Opened by `takeover.open_attempt` only.

    :param etag: of its checkpoint; None: it is written with the first batch.
    :param others: the files that lay in the partition's folder; None: to be listed.
    :param idle: unfinished uploads that no checkpoint can name once this one owns the partition.
    :ivar committed: not None if an earlier attempt had decided its commit, which opening has
        carried out. Its run, window and watermark tell whether anything is left to extract; if so,
        open again, which then starts afresh.
    """

    def __init__(
        self,
        lake: ObjectStore,
        place: PartitionPaths,
        checkpoint: Checkpoint,
        etag: str | None,
        *,
        index: ManifestIndex | None = None,
        others: frozenset[str] | None = None,
        idle: Sequence[Upload] = (),
    ) -> None:
        self._lake = lake
        self._index = index
        self._others = others
        self._idle = tuple(idle)
        self._checkpoint = checkpoint
        self._etag = etag
        self.place = place
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
        """The progress stored with the last staged batch; None: start from the beginning."""
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
    def files(self) -> list[ManifestFile]:
        """The files of all batches, in order, as they are now."""
        batches = self._checkpoint.batches
        return [ManifestFile(each.key, each.rows, each.bytes, each.checksum) for each in batches]

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
        last: bool = False,
    ) -> None:
        """Bring a batch to S3, unseen by readers, and record that it is there.

        :param body: the Parquet file: bytes, or anything with their buffer.
        :param progress: what the next attempt needs to resume behind this batch; JSON values.
        :param schema: of all batches so far; it may only grow wider.
        :param last: no batch comes after this one. One that is small and alone is staged in the
            checkpoint itself, without an upload.
        :raises LostRace: another attempt has taken the partition over.
        """
        if self._checkpoint.manifest is not None:
            raise RuntimeError(f"{self.place} is committed already: nothing can be staged.")
        key = self.place.part(len(self._checkpoint.batches), self.generation)
        view = memoryview(body).cast("B")
        inline = last and not self._checkpoint.batches and view.nbytes <= INLINE_BYTES
        upload_id, parts = ("", ()) if inline else upload(self._lake, key, view)
        batch = StagedBatch(
            key=key,
            upload_id=upload_id,
            parts=parts,
            rows=rows,
            bytes=view.nbytes,
            checksum=checksum_of(view),
            progress=dict(progress),
            counters=dict(counters),
            body=base64.b64encode(view).decode() if inline else "",
        )
        batches = (*self._checkpoint.batches, batch)
        try:
            self._save(self._checkpoint.next(batches=batches, schema=schema_to_text(schema)))
        except LostRace:
            if upload_id:
                with suppress(HeadraceError):
                    self._lake.abort_upload(key, upload_id)
            raise

    def replace_file(
        self, index: int, body: Any, *, rows: int, tables: Mapping[str, TableFile] | None = None
    ) -> ManifestFile:
        """Put another Parquet file in the place of one that is complete, before the commit.

        :param index: of the batch. :param body: as for ``stage``.
        :param tables: the rows of child tables that leave the file, for files of their own.
        :raises ContractBroken: they have left it before: children would stay without their rows.
        :raises LakeUnavailable: the file is not there all the same.
        :raises LostRace: another attempt has taken the partition over.
        """
        batch = self._checkpoint.batches[index]
        if batch.tables:
            raise ContractBroken(
                f"{self.place}: rows that came again replace others in a file whose child tables "
                "an earlier attempt had taken out."
            )
        uploads: list[tuple[str, str]] = []
        try:
            changed = replace(batch, rows=rows, **self._sent(batch.key, body, uploads), body="")
            staged: dict[str, StagedTable] = {}
            for name, table in (tables or {}).items():
                key = self.place.table_part(name, index, self.generation)
                of_upload = self._sent(key, table.body, uploads)
                staged[name] = StagedTable(
                    key=key, rows=table.rows, filtered_rows=table.filtered_rows, **of_upload
                )
            changed = replace(changed, tables=staged)
            before, behind = self._checkpoint.batches[:index], self._checkpoint.batches[index + 1 :]
            self._save(self._checkpoint.next(batches=(*before, changed, *behind)))
        except LostRace:
            # After another error the checkpoint may name them: the next attempt finds out.
            with suppress(HeadraceError):
                for key, upload_id in uploads:
                    self._lake.abort_upload(key, upload_id)
            raise
        # The checkpoint names the uploads by now: a later attempt completes them if this one dies.
        if not all(map(self._completed, changed.files)):
            raise LakeUnavailable(
                f"{self.place}: a file that was just brought to S3 is not there. The next attempt "
                "looks again",
                wait_s=1,
            )
        return ManifestFile(changed.key, rows, changed.bytes, changed.checksum)

    def _sent(self, key: str, body: Any, uploads: list[tuple[str, str]]) -> dict[str, Any]:
        """What a checkpoint says of a file that is brought to S3, unseen; noted in ``uploads``."""
        view = memoryview(body).cast("B")
        upload_id, parts = upload(self._lake, key, view)
        uploads.append((key, upload_id))
        of_upload = {"upload_id": upload_id, "parts": parts}
        return {**of_upload, "bytes": view.nbytes, "checksum": checksum_of(view)}

    def table_files(self, table: str) -> list[ManifestFile]:
        """The files of a child table, in order."""
        staged = (each.tables.get(table) for each in self._checkpoint.batches)
        return [ManifestFile(f.key, f.rows, f.bytes, f.checksum) for f in staged if f is not None]

    def start_over(self, window: Window | None = None) -> None:
        """Throw away what is staged, earlier attempts' batches included: nothing is staged then.

        The generation is a new one, since no file's name may be used twice.

        :param window: in place of the first attempt's.
        """
        staged = self._checkpoint.batches
        owner = new_generation(datetime.now(UTC), secrets.token_hex(4))
        self._others = None
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
            with suppress(LakeUnavailable, LakeRefused):
                self._remove_inline_file()
            winner = self.winner()
            if winner is None:
                raise
            return CommitOutcome(CommitResult.LOST, winner)
        outcome = publish(self._lake, self.place, decision, self._index)
        if outcome.result is CommitResult.DONE:
            self.committed = outcome.manifest
            try:
                finish(self._lake, self.place, decision)
            except (LakeUnavailable, LakeRefused) as error:
                return replace(outcome, left_over=str(error))
        return outcome

    def winner(self) -> Manifest | None:
        """The manifest that another run has committed since this attempt was opened, or None."""
        committed = read_committed(self._lake, self.place)
        if committed is None or committed.etag == self._checkpoint.base:
            return None
        if committed.manifest.notes.dropped:
            return None
        return committed.manifest

    # ---- below: how

    def _decide(self, build: Callable[[list[ManifestFile]], Manifest]) -> CommitDecision:
        facts = build(self._complete_uploads())
        manifest = self._filled_in(facts, self.files)
        # Listed by the owner before its decision: if that write succeeds, all of this belongs to
        # the generation before or to fenced attempts, and none of it can come to life again.
        others = self._listed() if self._others is None else self._others
        garbage = tuple(sorted(others - manifest.paths))
        # The files are complete: what a small one was made of is not needed any more.
        batches = tuple(replace(batch, body="") for batch in self._checkpoint.batches)
        etag = self._save(
            self._checkpoint.next(manifest=manifest, garbage=garbage, batches=batches)
        )
        return CommitDecision(manifest, self._checkpoint.base, garbage, etag)

    def _listed(self) -> frozenset[str]:
        objects = self._lake.list(self.place.folder)
        return frozenset(item.key for item in objects if paths_of_part(item.key) == self.place)

    def _remove_inline_file(self) -> None:
        """Remove the file of a fenced attempt that was staged in its checkpoint, if nobody has it.

        An upload that the winner has aborted can't be completed; a file that is written can be.
        """
        stored = load(self._lake, self.place)
        current = read_committed(self._lake, self.place)
        staged = stored.checkpoint.batches if stored and stored.checkpoint else ()
        in_use = {file.key for batch in staged for file in batch.files} | (
            current.manifest.paths if current else set()
        )
        own = {batch.key for batch in self._checkpoint.batches if batch.body}
        clean_up(self._lake, self.place, files=own - in_use)

    def _save(self, checkpoint: Checkpoint) -> str:
        """Write the checkpoint, if the work is still one's own; its etag."""
        try:
            etag = save(self._lake, self.place, checkpoint, replaces=self._etag)
        except WriteConflict:
            raise lost_race(self.place) from None
        self._etag, self._checkpoint = etag, checkpoint
        if self._idle:
            # No checkpoint was there a moment ago: what was listed before is in nobody's use.
            idle, self._idle = self._idle, ()
            clean_up(self._lake, self.place, uploads=idle)
        return etag

    def _complete_uploads(self) -> list[ManifestFile]:
        for index, batch in enumerate(self._checkpoint.batches):
            if not all(map(self._completed, batch.files)):
                self._leave_to_the_winner()
                self._cut_back(index)
        return self.files

    def _completed(self, batch: StagedFile) -> bool:
        """Make a staged file appear; False if what it was made of is gone."""
        try:
            if batch.body:
                body = base64.b64decode(batch.body)
                compare_and_swap(self._lake, batch.key, body, replaces=None)
            elif batch.upload_id:
                self._lake.complete_upload(batch.key, batch.upload_id, batch.parts)
            else:
                return self._lake.size(batch.key) == batch.bytes
        except (UploadGone, WriteConflict):
            # An earlier attempt may have completed it, or this one's response was lost.
            return self._lake.size(batch.key) == batch.bytes
        return True

    def _leave_to_the_winner(self) -> None:
        """Leave the partition to a run that has aborted an upload of this attempt, and committed.

        Until its first checkpoint is written, nothing tells others whose an upload is.

        :raises LostRace: so it is; this attempt's checkpoint and what it names are removed.
        """
        if (winner := self.winner()) is not None:
            staged = self._checkpoint.batches
            clean_up(
                self._lake, self.place, batches=staged, keep=winner.paths, checkpoint=self._etag
            )
            raise lost_race(self.place)

    def _cut_back(self, index: int) -> None:
        if any(batch.tables for batch in self._checkpoint.batches):
            index = 0  # its children are apart from it: a row that comes again would miss them
        usable, lost = self._checkpoint.batches[:index], self._checkpoint.batches[index:]
        losses = self._checkpoint.losses + (not usable)
        self._save(self._checkpoint.next(batches=usable, losses=losses))
        self._others = None
        clean_up(self._lake, self.place, batches=lost)
        if not usable and losses > 1:
            raise LakeRefused(
                f"{self.place}: every staged file was gone from S3 before it could be committed,"
                f" {losses} times now: unfinished uploads are removed from {self._lake.url()}"
                " sooner than this partition can be read. Let the lifecycle rule leave them a week."
            )
        rows = sum(batch.rows for batch in lost)
        raise LakeUnavailable(
            f"{self.place}: a staged file is gone from S3 before it was committed (a lifecycle"
            f" rule that removes unfinished uploads?). {len(usable)} files are still there;"
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
            tables={name: self._filled_table(name, table) for name, table in facts.tables.items()},
            columns=tuple(facts.columns or (describe(self.schema) if self.schema else ())),
            checks=tuple(facts.checks),
            run_id=checkpoint.run_id,
            definition=checkpoint.definition,
        )

    def _filled_table(self, name: str, facts: ManifestTable) -> ManifestTable:
        staged = [each.tables[name] for each in self._checkpoint.batches if name in each.tables]
        files = self.table_files(name)
        return replace(
            facts,
            files=tuple(files),
            rows=sum(file.rows for file in files),
            filtered_rows=sum(file.filtered_rows for file in staged),
        )
