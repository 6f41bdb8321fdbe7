"""Bookmarks from partition to partition: where one starts, whether it still does, and what is gone.

A partition starts with the bookmark of the newest one before it that is committed. Partitions
between the two that were missed, or dropped, lose nothing: their rows are in this partition.
Materialized later, they start where the one before them ended, and have of numbers those alone that
the partition after them has not.

The API may have forgotten a change token: then all is read, and the keys of the lake that did not
come are gone. They are recorded as rows with ``_deleted``, in the partition itself, so that they
are committed with the rows or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bookmarks import BookmarkCursor
from pipeline.config.columns import DELETED, EXTRACTED_AT
from pipeline.decode.types import INSTANT
from pipeline.errors import ContractBroken, WindowRefused
from pipeline.lake.current_rows import comparable
from pipeline.lake.files import key_rows, tables_of
from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.lake.read import current
from pipeline.partitions.bookmark import Bookmark, BookmarkSpan
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext
from pipeline.run.deletions import too_many_gone
from pipeline.run.verify import Check, RewritableFiles

CHECK: Final = "bookmark"


def span_of(
    run: RunContext, endpoint: str, partition: str, index: ManifestIndex | None = None
) -> BookmarkSpan | None:
    """Where a partition is read from, and up to which number; None if its cursor is a time.

    :param index: the manifests that decide. Default: as the run knows them.
    :raises WindowRefused: it is not the first one, and none before it has a bookmark.
    """
    cursor, source = run.source.endpoints[endpoint].bookmark, run.source.source
    if cursor is None:
        return None
    index = index or run.index
    keys = [key for key in index.partitions(source, endpoint) if run.calendar.has(key)]
    until = _start_of_later(
        index, source, endpoint, cursor, [key for key in keys if key > partition]
    )
    for key in reversed([key for key in keys if key < partition]):
        before = index.get(source, endpoint, key)
        if before and (start := before.notes.bookmark) and _is_of(start, cursor):
            return BookmarkSpan(start, key, until)
    first = run.calendar.first
    if partition != first:
        raise WindowRefused(
            f"Partition `{partition}` starts with the {cursor.noun} of the one before it, and none "
            f"before it that is committed has one of `{cursor.of}`. Materialize `{first}` first, "
            f"which reads all that there is now; the {run.calendar.scheme.noun}s between may stay "
            "missing"
        )
    return BookmarkSpan(until=until)


def _start_of_later(
    index: ManifestIndex, source: str, endpoint: str, cursor: BookmarkCursor, later: Sequence[str]
) -> Bookmark | None:
    """The bookmark that the first of these partitions, in order, started with.

    One that started at the beginning has a bookmark without a value: it leaves nothing to another.
    """
    for key in later:
        manifest = index.get(source, endpoint, key)
        span = manifest.window.bookmarks if manifest else None
        ended = manifest.notes.bookmark if manifest else None
        if span is None or span.expired or ended is None:
            continue
        start = span.start or Bookmark(cursor.kind, ended.of, None, ended.at)
        if _is_of(start, cursor) and _is_of(ended, cursor):
            return start
    return None


def ends_elsewhere(cursor: BookmarkCursor | None, read: Window, wanted: Window) -> bool:
    """Whether rows were read up to another number than the one where the partition ends now.

    A later partition was committed meanwhile, or read again: it has the rows behind its own start.
    """
    if cursor is None or cursor.column is None or not read.bookmarks or not wanted.bookmarks:
        return False
    mine, now = read.bookmarks.until, wanted.bookmarks.until
    return (mine is None) != (now is None) or _value(mine) != _value(now)


def _value(bookmark: Bookmark | None) -> int | str | None:
    return bookmark.value if bookmark else None


def reaches_into(cursor: BookmarkCursor | None, committed: Manifest, wanted: Window) -> bool:
    """Whether a committed partition has rows that the later one has, too."""
    until = wanted.bookmarks.until if wanted.bookmarks else None
    ended = committed.notes.bookmark
    if cursor is None or cursor.column is None or until is None or not committed.rows:
        return False
    return ended is not None and ended.value != until.value and ended.reaches(until)


def _is_of(bookmark: Bookmark, cursor: BookmarkCursor) -> bool:
    return (bookmark.kind, bookmark.of) == (cursor.kind, cursor.of)


def moved(run: RunContext, endpoint: str, partition: str, window: Window) -> str | None:
    """Why a partition has to be read anew: one before or behind it was committed meanwhile."""
    cursor, span = run.source.endpoints[endpoint].bookmark, window.bookmarks
    if cursor is None or span is None:
        return None
    index = run.index.look_again(run.source.source, endpoint)
    try:
        now = span_of(run, endpoint, partition, index)
    except WindowRefused:
        return None
    if now is None:
        return None
    if _value(now.start) != _value(span.start):
        return (
            f"{now.partition} was committed meanwhile, and ends with {cursor.in_words(now.start)}; "
            f"this attempt has read from {cursor.in_words(span.start)} on. The next attempt starts "
            f"with {cursor.in_words(now.start)}"
        )
    if ends_elsewhere(cursor, window, replace(window, bookmarks=now)):
        return (
            "a later partition was committed meanwhile, and has the rows from "
            f"{cursor.in_words(now.until)} on: the next attempt ends there"
        )
    return None


def unread_between(cursor: BookmarkCursor, first: Manifest, second: Manifest) -> str | None:
    """What lies between two partitions that follow each other; None if they join."""
    span, ended = second.window.bookmarks, first.notes.bookmark
    if span is None or span.start is None or span.expired or ended is None:
        return None
    if not _is_of(ended, cursor) or ended.reaches(span.start):
        return None
    return f"{cursor.in_words(ended)} to {cursor.in_words(span.start)}"


@dataclass(frozen=True)
class Gone:
    """The keys of the lake that did not come when all was read anew.

    :ivar unmarked: those that no row with ``_deleted`` records: an attempt that died before it was
        committed, or the API, may have marked the others.
    :ivar living: how many keys the lake had.
    """

    keys: pa.Table
    unmarked: pa.Table
    living: int

    @property
    def many(self) -> bool:
        return too_many_gone(self.keys.num_rows, self.living)


def gone_since(
    run: RunContext,
    endpoint: str,
    partition: str,
    files: Sequence[ManifestFile],
    began: datetime | None,
) -> Gone:
    """The keys of the current state that no row of these files has, or that one has as deleted.

    The partition that the files replace is left out of that state: it has no say in what is alive
    once they are committed. So is a row that came to the lake after the reading began, which may
    have passed its place by then.

    :param began: when the reading did; None: no row came before all of the lake.
    :raises ContractBroken: no row came at all, though the lake has some.
    """
    spec, source = run.source.endpoints[endpoint], run.source.source
    key = [*spec.key]
    alive = current(
        run.lake,
        source,
        endpoint,
        key=key,
        cursor=spec.latest_by,
        columns=[*key, EXTRACTED_AT],
        without=partition,
    )
    if not alive.num_rows:
        nothing = pa.table({name: pa.nulls(0) for name in key})
        return Gone(nothing, nothing, 0)
    if began is not None:
        alive = alive.filter(pc.less(alive[EXTRACTED_AT], pa.scalar(began, INSTANT)))
    alive = alive.select(key)
    if not files and alive.num_rows:
        raise ContractBroken(
            f"The {spec.bookmark.noun if spec.bookmark else 'bookmark'} had expired, all was read, "
            f"and no row came, expected those of the {alive.num_rows:,} keys that the lake has. "
            "Check: 1. that the API gives all rows to a request without it; 2. if all of them are "
            f"deleted, drop the partitions: ./headrace state drop {source}/{endpoint}"
        )
    if not files or not alive.num_rows:
        return Gone(alive, alive, 0)
    rows = key_rows(run.lake, files, [*key, DELETED])
    is_living = pc.invert(pc.fill_null(pc.cast(rows[DELETED], pa.bool_()), False))

    def without(some: pa.Table) -> pa.Table:
        of_lake, of_rows = comparable([alive, some.select(key)])
        return of_lake.join(of_rows, keys=key, join_type="left anti")

    return Gone(without(rows.filter(is_living)), without(rows), alive.num_rows)


def with_tombstones(
    run: RunContext,
    staged: RewritableFiles,
    gone_keys: pa.Table,
    at: datetime,
) -> list[ManifestFile]:
    """The files, the last of which has a row with ``_deleted`` for each key that is gone.

    :param at: when the reading began: a row that came to the lake later is the newer one.
    """
    files = staged.files
    if not gone_keys.num_rows or not files:
        return [*files]
    *others, last = tables_of(run.lake, files, own=True)
    rows, number = last(), gone_keys.num_rows
    of_rows, gone_keys = comparable([rows.select(gone_keys.column_names), gone_keys])
    for name in gone_keys.column_names:
        rows = rows.set_column(rows.column_names.index(name), name, of_rows[name])
    marks = gone_keys.append_column(DELETED, pa.repeat(pa.scalar(True), number)).append_column(
        EXTRACTED_AT, pa.repeat(pa.scalar(at, INSTANT), number)
    )
    marks = marks.cast(
        pa.schema([rows.schema.field(n) if n in rows.schema.names else marks.schema.field(n)
                   for n in marks.schema.names])
    )  # fmt: skip
    table = pa.concat_tables([rows, marks], promote_options="default")
    return [*files[: len(others)], staged.rewrite(len(others), table)]


@dataclass(frozen=True)
class BookmarkEnd:
    """What a partition ends with, for its manifest.

    :ivar files: those of the partition, with the rows of keys that are gone.
    :ivar deletions: how many keys are gone, of a partition whose bookmark had expired.
    """

    files: Sequence[ManifestFile]
    bookmark: Bookmark
    check: Check
    deletions: int | None = None


def end_of(
    run: RunContext,
    endpoint: str,
    partition: str,
    span: BookmarkSpan,
    staged: RewritableFiles,
    *,
    of_page: str | None,
    proved: bool,
) -> BookmarkEnd | None:
    """The end of a partition whose files are complete; None if its cursor is a time.

    :param of_page: the change token of the last page. :param proved: all rows are known to be here.
    :raises ContractBroken: the API gave no bookmark, or no row though it should have had all.
    """
    spec, now, files = run.source.endpoints[endpoint], run.now(), staged.files
    if (cursor := spec.bookmark) is None:
        return None
    value = cursor.ended(span, of_page=of_page, greatest=_greatest(run, cursor, files))
    end = Bookmark(cursor.kind, cursor.of, value, now)
    missing, began = None, span.reread_at
    if span.expired and proved:
        began = began or _earliest(run, files)
        missing = gone_since(run, endpoint, partition, files, began)
    check = _check(cursor, span, end, missing)
    if missing is None:
        return BookmarkEnd(files, end, check)
    marked = with_tombstones(run, staged, missing.unmarked, began or now)
    return BookmarkEnd(marked, end, check, missing.keys.num_rows)


def _greatest(run: RunContext, cursor: BookmarkCursor, files: Sequence[ManifestFile]) -> int | None:
    """The greatest number in the rows, as they were read back."""
    if cursor.column is None or not files:
        return None
    value = pc.max(key_rows(run.lake, files, [cursor.column])[cursor.column]).as_py()
    return None if value is None else int(value)


def _earliest(run: RunContext, files: Sequence[ManifestFile]) -> datetime | None:
    """When the first of the rows came, as they were read back."""
    stamps = key_rows(run.lake, files, [EXTRACTED_AT])[EXTRACTED_AT]
    earliest: datetime | None = pc.min(stamps).as_py()
    return earliest


def _check(
    cursor: BookmarkCursor, span: BookmarkSpan, end: Bookmark, missing: Gone | None
) -> Check:
    """From where to where a partition was read, and what became of a bookmark that had expired."""
    if not span.expired:
        before = f" of {span.partition}" if span.partition else ""
        read = f"from {cursor.in_words(span.start)}{before} to {cursor.in_words(end)}"
        return Check(CHECK, True, read, blocking=False)
    detail = f"the {cursor.noun} of {span.partition} had expired, and all was read"
    if missing is None:
        detail += "; which rows are deleted is not known, since not all rows are proved to be here"
        return Check(CHECK, False, detail, blocking=False)
    detail += (
        f": {missing.keys.num_rows:,} of {missing.living:,} keys are gone, and recorded as deleted"
    )
    if missing.many:
        detail += ", more than a tenth: check whether the API is well, and materialize it again"
    return Check(CHECK, not missing.many, detail, blocking=False)
