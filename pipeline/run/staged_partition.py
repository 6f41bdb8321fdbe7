"""A partition whose rows are all on S3, unseen; ``commit`` reads them back, and shows them."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import DELETED
from pipeline.config.endpoint import Endpoint
from pipeline.decode.nested_tables import without_lists
from pipeline.decode.types import describe
from pipeline.errors import ContractBroken, LakeDamaged, ReadAnew
from pipeline.extract.feed import all_reach_back, reaches_back
from pipeline.extract.partition_values import PartitionValue
from pipeline.extract.plan import paging_of
from pipeline.extract.seen_rows import Digests, row_digests
from pipeline.extract.value_failures import lanes_in_words
from pipeline.lake.attempt import Attempt
from pipeline.lake.commit import CommitResult
from pipeline.lake.files import again_if_vanished, key_batches, key_rows
from pipeline.lake.manifest import (
    Manifest,
    ManifestFile,
    ManifestNotes,
    ManifestProof,
    schema_changes,
)
from pipeline.lake.parquet import encode
from pipeline.partitions.window import Window
from pipeline.run.bookmarks import BookmarkEnd, end_of, moved
from pipeline.run.child_tables import ChildTables
from pipeline.run.context import PartitionResult, RunContext
from pipeline.run.late import late_rows_of, rows_to_come_again
from pipeline.run.other_runs import misfit
from pipeline.run.partition_progress import PartitionCounts, ReadingNotes
from pipeline.run.partition_warnings import (
    StagedRows,
    check_of_epoch,
    checks_of_times,
    in_short,
    warning_of,
)
from pipeline.run.resume import behind_of, of_this_yaml
from pipeline.run.values import ValueSelection, names_of, noted, widest
from pipeline.run.verify import (
    Check,
    DroppedRows,
    PageProof,
    RewritableFiles,
    SettledKeys,
    hint_of,
    refuse_if_broken,
    settle_shared_keys,
    verify,
    why_unproved,
)
from pipeline.timestamps import as_iso

log = logging.getLogger("headrace.run")
_MANY_IN_MARGIN: Final = 3
_NOT_AGAIN: Final = (
    "no row came, though the previous partition has {:,} in the safety margin, since {}, which the "
    "API should give again. Check: 1. `window.format`: an API that reads the bounds in another "
    "unit or zone finds no row; 2. the parameters with {{start}} and {{end}}; 3. whether the API "
    "was away, or the rows are deleted. Then materialize the partition again"
)
_IGNORED: Final = (
    "the API ignores {0}: its first page is the same for all values, and for one that does not "
    "exist. So the rows of any value stand under each of them. Check in its docs: 1. the name of "
    "the parameter that has {0}; 2. whether the value belongs into the path, a header or the body"
)


def _later(read: datetime | None, wanted: datetime | None) -> bool:
    """Whether a value was read from later on than it has to be; None is the beginning."""
    return read is not None and (wanted is None or wanted < read)


@dataclass(frozen=True)
class StagedPartition:
    """A partition whose rows are all on S3, unseen."""

    run: RunContext
    endpoint: str
    partition: str
    window: Window
    attempt: Attempt
    selection: ValueSelection | None
    values: Sequence[PartitionValue]
    contiguous: bool
    counts: PartitionCounts
    schema: pa.Schema
    preview: tuple[dict[str, Any], ...]
    resumed_pages: int
    notes: ReadingNotes
    began: float
    reread_keys: Digests
    reread_values: Set[int] = frozenset()

    async def commit(self) -> PartitionResult:
        """Show the partition. :raises ContractBroken: what was read back is not sound."""
        return await asyncio.to_thread(self._commit)

    def _commit(self) -> PartitionResult:
        checks: list[Check] = []

        self._refuse_if_further_back()
        self._refuse_if_moved()

        def build(files: list[ManifestFile]) -> Manifest:
            end = self._bookmark_end(files)
            settled = SettledKeys(end.files if end else files)
            checks[:] = self._checks(settled)
            if self._spec.key and not checks[0].passed:
                settled = self._settled(settled.files)
                if self.resumed_pages and settled.moved:
                    # Rows moved past the seam: others may have come before it meanwhile.
                    raise ContractBroken(
                        f"keys_unique: {settled.moved:,} rows that an earlier attempt staged came "
                        "again."
                    )
                checks[:] = self._checks(settled)
            refuse_if_broken(checks, self._label, hint=hint_of(self._spec))
            tables = ChildTables(self.run.lake, self._spec, self.attempt, self._label)
            tables.split()
            settled = replace(settled, files=self.attempt.files)
            checks[0] = replace(checks[0], detail=checks[0].detail + tables.check())
            return self._manifest(settled, [*checks, *([end.check] if end else [])], end, tables)

        try:
            outcome = self.attempt.commit(build)
        except ContractBroken as error:
            # The staged rows would break the same way again: the next attempt reads them anew.
            self.attempt.start_over()
            if not self.resumed_pages:
                raise
            # Rows that an earlier attempt has staged may have moved, and be duplicates in this one:
            # only a reading in one go shows whether the contract is broken.
            raise ReadAnew(f"{error} The next attempt reads all pages in one go") from error
        except LakeDamaged as error:
            # Not what was sent: kept, it would fail every attempt to come.
            self.attempt.start_over()
            raise ReadAnew(f"{error}. The next attempt reads all pages again") from error
        if outcome.left_over:
            self._warn_of_left_over(outcome.left_over)
        lost = outcome.result is CommitResult.LOST
        if lost and (reason := misfit(self.run, outcome.manifest, self.window)):
            raise ReadAnew(
                f"{self._label} was committed by another run {reason}. The next attempt reads it "
                "again"
            )
        return PartitionResult(
            endpoint=self.endpoint,
            manifest=outcome.manifest,
            outcome="lost" if lost else "committed",
            checks=() if lost else tuple(checks),
            duration_s=time.monotonic() - self.began,
            preview=self.preview,
        )

    def _warn_of_left_over(self, reason: str) -> None:
        log.warning(
            "%s is committed, but the files that it replaces are not all removed; the next run of "
            "the partition, or the maintenance job, removes them: %s",
            self._label,
            reason,
        )

    def _bookmark_end(self, files: Sequence[ManifestFile]) -> BookmarkEnd | None:
        """:raises ContractBroken: the next partition could not start where this one ended."""
        if self.window.bookmarks is None:
            return None
        return end_of(
            self.run,
            self.endpoint,
            self.partition,
            self.window.bookmarks,
            RewritableFiles(files, self._rewrite),
            of_page=self.notes.bookmark,
            proved=self.contiguous,
        )

    @property
    def _in_order(self) -> bool:
        """Whether of rows with one key the one that came last is the latest."""
        return self._spec.bookmark is not None and self._spec.bookmark.in_order

    def _rewrite(self, index: int, table: pa.Table) -> ManifestFile:
        return self.attempt.replace_file(index, encode(table), rows=table.num_rows)

    def _settled(self, files: Sequence[ManifestFile]) -> SettledKeys:
        """The files with one row of each key. :raises ContractBroken: no row of a key is later."""
        try:
            return settle_shared_keys(
                self.run.lake,
                RewritableFiles(files, self._rewrite),
                self._spec,
                reread=None if self._in_order else self._reread(files),
            )
        except ContractBroken as error:
            raise ContractBroken(
                f"{self._label}: not committed, the generation before stays: {error}"
            ) from None

    def _reread(self, files: Sequence[ManifestFile]) -> Digests:
        """The keys of rows that were read again by design.

        Those of this attempt are known one by one. Of an earlier one it is known which values it
        has read again: their rows are found by the columns that have the value.
        """
        columns = self._spec.value_columns
        if not (self.resumed_pages and self.reread_values and columns):
            return self.reread_keys
        key = [*self._spec.key]
        rows = key_rows(self.run.lake, files, [*key, *columns])
        for column, placeholder in columns.items():
            fields = [self.values[index].fields for index in self.reread_values]
            names = pa.array([str(of[placeholder]) for of in fields if placeholder in of])
            is_text = pc.cast(rows[column], pa.large_string())
            rows = rows.filter(pc.is_in(is_text, names.cast(pa.large_string())))
        return np.concatenate([self.reread_keys, row_digests(rows.select(key), key)])

    def _checks(self, settled: SettledKeys) -> tuple[Check, ...]:
        spec, files = self._spec, settled.files
        columns = [*spec.key, *([spec.cursor] if spec.cursor else [])]
        unproved = self.notes.unproved or why_unproved(paging_of(spec))
        checks = again_if_vanished(
            self.run.lake,
            lambda: verify(
                lambda: key_batches(self.run.lake, files, columns),
                key=spec.key,
                cursor=spec.cursor,
                window=widest(self.values, self.window),
                expected_rows=self.attempt.staged_rows,
                proof=PageProof(self.contiguous, self.notes.proof_basis, unproved),
                zone=spec.window.zone,
                dropped=self._dropped(settled),
            ),
            lambda: files,
        )
        if spec.feed and self.window.start is not None and not self.notes.not_modified:
            passed, detail = (
                all_reach_back(self.notes.feed.feeds)
                if spec.fans_out
                else reaches_back(self.notes.feed.feed_from, self.window.start)
            )
            checks = (*checks, Check("feed_reaches_back", passed, detail, blocking=False))
        if self.selection is not None:
            checks = (*checks, self._values_read())
        if ignored := self.notes.fan_out.get("ignored"):
            detail = _IGNORED.format(", ".join(f"{{{prefix}}}" for prefix in ignored))
            checks = (*checks, Check("values_differ", False, detail, blocking=False))
        of_times = checks_of_times(spec, self.window, self.counts)
        newest = self.run.index.latest(self.run.source.source, self.endpoint)
        of_epoch = check_of_epoch(spec, self.attempt.staged_rows, newest)
        return (*checks, *of_times, *of_epoch, *self._margin_comes_again())

    def _margin_comes_again(self) -> Iterator[Check]:
        """A check of a partition without rows, if the one before has some that should be in it."""
        has_rows = self.attempt.staged_rows or self.counts.reading.filtered_rows
        if has_rows or self._spec.fans_out or self.notes.not_modified or self.window.bookmarks:
            return
        rows = rows_to_come_again(self.run, self.endpoint, self.partition, self.window)
        if rows >= _MANY_IN_MARGIN and self.window.start is not None:
            detail = _NOT_AGAIN.format(rows, as_iso(self.window.start))
            yield Check("margin_comes_again", False, detail, blocking=False)

    def _values_read(self) -> Check:
        """Whether any value was passed over: a person has to see which, and what becomes of it."""
        summary = self.notes.fan_out
        failed, total = summary.get("failed", 0), summary.get("asked", 0)
        noun = "parents" if self._spec.parents else "values"
        if lanes := summary.get("lanes"):
            return Check("values_read", not failed, lanes_in_words(summary, lanes), blocking=False)
        if not failed:
            return Check("values_read", True, f"{total:,} {noun} were read", blocking=False)
        first = summary["failures"][0]
        later = (
            "the next partition reads their rows from where they ended"
            if self._spec.incremental
            else "their rows are missing in this partition"
        )
        return Check(
            "values_read",
            False,
            f"{failed:,} of {total:,} {noun} failed, and {later}; the first is "
            f"`{first['parent']}`: {first['reason']}",
            blocking=False,
        )

    def _refuse_if_further_back(self) -> None:
        """:raises ReadAnew: a value has to be read from further back, by what is committed now.

        The previous partition was not committed when this one began, or another run replaced it.
        """
        if self.selection is None or not self._spec.incremental:
            return
        names = self.selection.values
        now = behind_of(self.run, self.endpoint, self.partition, names)
        read = self.selection.behind
        short = [n for n, at in now.items() if n not in read or _later(read[n], at)]
        if short:
            raise ReadAnew(
                f"{self._label}: the rows of {in_short(short)} are to be read from further "
                "back, since the partition before has not read them: the next attempt does"
            )

    def _refuse_if_moved(self) -> None:
        """:raises ReadAnew: a partition beside it was committed meanwhile, and they do not join."""
        reason = moved(self.run, self.endpoint, self.partition, self.window)
        if reason is not None:
            raise ReadAnew(f"{self._label}: {reason}")

    def _dropped(self, settled: SettledKeys) -> DroppedRows:
        """The rows dropped while pages came, and before the commit."""
        duplicates = self.counts.reading.duplicates + settled.duplicates
        return DroppedRows(duplicates, settled.older_versions)

    def _manifest(
        self,
        settled: SettledKeys,
        checks: Sequence[Check],
        end: BookmarkEnd | None,
        tables: ChildTables,
    ) -> Manifest:
        late, damage = late_rows_of(
            self.run, self.endpoint, self.partition, self.window, self.values, settled.files
        )
        dropped = self._dropped(settled)
        newest = self.run.index.latest(self.run.source.source, self.endpoint)
        columns = self._columns(newest, tombstones=bool(end and end.deletions))
        late_by = late.latest_by
        return Manifest(
            endpoint_kind=self.window.kind,
            watermark=as_iso(self._watermark),
            late_rows=late.late_rows,
            margin_rows=late.margin_rows,
            latest_late_s=None if end else late_by,
            proof=ManifestProof(
                contiguous=self.contiguous,
                rests_on=self.notes.proof_basis.value if self.contiguous else None,
                pages=self.counts.pages,
                gaps_refetched=self.counts.gaps_refetched,
                not_modified=self.notes.not_modified,
            ),
            requests=self.counts.requests,
            throttled=self.counts.throttled,
            resumed_pages=self.resumed_pages,
            extracted_at=as_iso(self.run.now()),
            columns=columns,
            tables=tables.manifest(self.schema, newest if self._same_yaml(newest) else None),
            checks=[check.to_json() for check in checks],
            notes=ManifestNotes(
                key=tuple(self._spec.key),
                cursor=self._spec.latest_by,
                bookmark=end.bookmark if end else None,
                late_by=int(late_by) if end and late_by is not None else None,
                deletions=end.deletions if end else None,
                validators=self.notes.feed.validators,
                feed_from=self.notes.feed.feed_from,
                not_modified=self.notes.not_modified,
                newest_first=self.notes.feed.newest_first,
                parents=self.notes.fan_out if self._spec.parents else {},
                values=self._value_notes(),
                schema_changes=schema_changes(newest.columns if newest else (), columns),
                converted=dict(sorted(self.counts.reading.converted.items())),
                filtered_rows=self.counts.reading.filtered_rows if self._spec.where else None,
                each=self._listed,
                duplicate_rows=dropped.duplicates,
                older_versions=dropped.older_versions,
                tail_rows=self.notes.tail_rows,
                warning=self._warning(newest, damage, *tables.warnings),
            ),
        )

    def _warning(self, newest: Manifest | None, *others: str) -> str:
        of_reading = warning_of(
            self._spec,
            self.window,
            self.notes,
            self.counts,
            newest,
            StagedRows(
                self.attempt.staged_rows, self._listed, self.run.source.upstream(self.endpoint)
            ),
        )
        return "; ".join(filter(None, (of_reading, *others)))

    @property
    def _watermark(self) -> datetime:
        """The window's end, or when the API made its earliest response, by its own clock."""
        earliest_s = self.counts.reading.earliest_response_s
        if not earliest_s or self.window.kind == "snapshot":
            return self.window.end
        return min(self.window.end, datetime.fromtimestamp(earliest_s, UTC))

    @property
    def _listed(self) -> tuple[Any, ...] | None:
        """The values as the manifest has them; those of parents are in their own partition."""
        of_partition = self._spec.parents is not None and not self._spec.incremental
        if self.selection is None or of_partition:
            return None
        return names_of(self.selection.values)

    def _value_notes(self) -> dict[str, Any]:
        if self._listed is None or self.selection is None:
            return {}
        notes = noted(
            self.values,
            self.notes.failed_values,
            self.selection.behind if self._spec.incremental else {},
            self.window,
        )
        summary = {} if self._spec.parents else self.notes.fan_out
        worth = notes.keys() - {"version"} or summary.get("failed") or "lanes" in summary
        return {**notes, **summary} if worth else {}

    def _columns(
        self, newest: Manifest | None, *, tombstones: bool = False
    ) -> list[Mapping[str, str]]:
        """The columns of the rows, and those of earlier partitions that no row of this one has.

        A partition without rows, or read beside the previous one, would forget what was inferred.
        """
        mine = describe(without_lists(self.schema, self._spec.tables))
        if tombstones and DELETED not in self.schema.names:
            mine.append({"name": DELETED, "type": "bool"})
        if newest is None or not self._same_yaml(newest):
            return [*mine]
        names = {column["name"] for column in mine}
        return [*mine, *(column for column in newest.columns if column["name"] not in names)]

    def _same_yaml(self, earlier: Manifest | None) -> bool:
        source = self.run.source
        return earlier is not None and of_this_yaml(earlier.definition, source, self.endpoint)

    @property
    def _label(self) -> str:
        """The partition by its name, for messages."""
        return f"{self.run.source.source}/{self.endpoint} {self.partition}"

    @property
    def _spec(self) -> Endpoint:
        return self.run.source.endpoints[self.endpoint]
