"""Checks of a partition's files before the commit, and the end of rows that share a key.

The keys and the cursor are read from S3, not from memory: this is the proof that the lake has what
the pages brought. A breach that would put wrong rows before readers stops the commit.

Rows that share a key are settled first: no two are left, and no row is dropped unless another one
says as much.

================================================  =================================================
rows of one key                                   what becomes of them
================================================  =================================================
equal in all columns                              one is kept: the others are *duplicates*
they differ, and so do their cursors              the latest by the cursor is kept: the others are
                                                  *older versions*
they differ at the latest cursor, or without one  one row that was read again by design (a page that
                                                  overlaps, another pass) has changed meanwhile: the
                                                  one that was read last is kept. Else the key does
                                                  not tell the rows apart: refused. Of changes in
                                                  the order in which they happened the last is kept
================================================  =================================================

The files are whole on S3, and in no manifest yet. A file that loses rows is written anew.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.endpoint import Endpoint
from pipeline.decode.types import INSTANT, instants
from pipeline.errors import ContractBroken
from pipeline.extract.completeness import CAP, ProofBasis
from pipeline.extract.seen_rows import Digests, row_digests
from pipeline.extract.shared_keys import shared_key_error
from pipeline.lake.files import key_rows, tables_of
from pipeline.lake.manifest import ManifestFile
from pipeline.lake.stores.base import ObjectStore
from pipeline.pagination import Paging
from pipeline.partitions.window import Window

_NO_CURSOR: Final = np.iinfo(np.int64).min
_TRY = "Is 'key' right, and does the API honour the filter?"
_SHARED = (
    "Is 'key' right? If one row may come under several {0}s: put the {0}'s column into 'key' ({1})"
)
Rewrite = Callable[[int, pa.Table], ManifestFile]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RewritableFiles:
    """The files of a partition that is not committed yet.

    :ivar rewrite: puts a table in place of the file of that number.
    """

    files: Sequence[ManifestFile]
    rewrite: Rewrite


@dataclass(frozen=True)
class SettledKeys:
    """The rows dropped of a partition's files, and the files that are left.

    :ivar duplicates: rows that are equal to one that is kept.
    :ivar older_versions: rows whose key has a later one.
    :ivar moved: of the duplicates those whose key was not read again by design.
    """

    files: Sequence[ManifestFile]
    duplicates: int = 0
    older_versions: int = 0
    moved: int = 0


@dataclass(frozen=True)
class _Candidates:
    """The rows that share a key, ordered by key, cursor, and when they came.

    :ivar rows: their numbers in all files. :ivar group: alike for rows of one key.
    :ivar keys: their keys, as ``reread`` has them.
    """

    rows: Numbers
    group: Numbers
    cursor: Numbers
    digest: Digests
    keys: Digests


def settle_shared_keys(
    lake: ObjectStore, staged: RewritableFiles, spec: Endpoint, *, reread: Digests | None
) -> SettledKeys:
    """Leave one row of each key.

    :param reread: digests of keys whose row was read again by design, and had changed; None: rows
        are changes in the order in which they happened, and the last one of a key is the latest.
    :raises ContractBroken: rows of one key differ, and no cursor tells which is the latest.
    """
    files = staged.files
    candidates = _candidates(lake, files, spec)
    if not len(candidates.rows):
        return SettledKeys(files)
    last = np.append(candidates.group[1:] != candidates.group[:-1], True)
    size = int(last.sum())
    newest = candidates.cursor[last][candidates.group] == candidates.cursor
    at_newest = np.unique(
        np.stack([candidates.group[newest], candidates.digest[newest].view(np.int64)]), axis=1
    )
    unclear = np.flatnonzero(np.bincount(at_newest[0], minlength=size) > 1)
    keys = candidates.keys[last]
    by_design = np.ones(size, np.bool_) if reread is None else np.isin(keys, reread)
    # A child that comes under two parents is refused: dropped, it would lose one.
    if spec.parents is not None and not by_design.all():
        return SettledKeys(files)
    if not by_design[unclear].all():
        _refuse(lake, files, spec, candidates, unclear, by_design)
    distinct = np.unique(np.stack([candidates.group, candidates.digest.view(np.int64)]), axis=1)[0]
    of_group = np.bincount(candidates.group, minlength=size)
    equal = of_group - np.bincount(distinct, minlength=size)
    dropped = np.sort(candidates.rows[~last])
    files_left = _without(lake, staged, dropped)
    older, moved = len(distinct) - size, int(equal[~by_design].sum())
    return SettledKeys(files_left, int(equal.sum()), older, moved)


def _candidates(lake: ObjectStore, files: Sequence[ManifestFile], spec: Endpoint) -> _Candidates:
    key, cursor = spec.key, spec.latest_by
    ignored = {EXTRACTED_AT, *spec.response_columns}
    table = key_rows(lake, files, [*key, *([cursor] if cursor else []), EXTRACTED_AT])
    order = np.asarray(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in key]))
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for name in key:
        column = table[name]
        if pa.types.is_string(column.type):
            column = column.cast(pa.large_string())
        ordered = column.take(pa.array(order))
        same &= np.asarray(pc.fill_null(pc.equal(ordered[1:], ordered[:-1]), False))
    shares = np.append(False, same) | np.append(same, False)
    rows = order[shares].astype(np.int64)
    group = np.cumsum(~np.append(False, same)[shares]) - 1
    cursors = np.full(len(rows), _NO_CURSOR)
    if cursor is not None:
        values = table[cursor].take(pa.array(rows))
        is_number = pa.types.is_integer(values.type)
        cursors = _whole(values if is_number else pc.cast(values, INSTANT))
    extracted_at = _whole(table[EXTRACTED_AT].take(pa.array(rows)))
    by = np.lexsort((rows, extracted_at, cursors, group))
    rows, group, cursors = rows[by], group[by], cursors[by]
    keys = row_digests(table.select([*key]).take(pa.array(rows)), key)
    return _Candidates(rows, group, cursors, _digests(lake, files, rows, ignored), keys)


def _whole(instants: pa.ChunkedArray) -> Numbers:
    return np.asarray(pc.fill_null(instants.cast(pa.int64()), _NO_CURSOR)).astype(np.int64)


def _digests(
    lake: ObjectStore, files: Sequence[ManifestFile], rows: Numbers, ignored: Set[str]
) -> Digests:
    """Digests of whole rows, file by file, so that one file is held at a time."""
    digests = np.zeros(len(rows), np.uint64)
    first = 0
    for file, read in zip(files, tables_of(lake, files), strict=True):
        in_file = (rows >= first) & (rows < first + file.rows)
        if in_file.any():
            table = read().take(pa.array(rows[in_file] - first))
            digests[in_file] = row_digests(table, {*table.column_names} - ignored)
        first += file.rows
    return digests


def _refuse(
    lake: ObjectStore,
    files: Sequence[ManifestFile],
    spec: Endpoint,
    candidates: _Candidates,
    unclear: Numbers,
    by_design: npt.NDArray[np.bool_],
) -> NoReturn:
    """:raises ContractBroken: with two rows of a key that were not one row, read twice."""
    group = unclear[int(np.flatnonzero(~by_design[unclear])[0])]
    numbers = np.flatnonzero(candidates.group == group)
    other = numbers[candidates.digest[numbers] != candidates.digest[numbers[-1]]][-1]
    pair = _rows(lake, files, candidates.rows[[other, numbers[-1]]])
    raise shared_key_error(pair.drop_columns([EXTRACTED_AT]), spec.key, len(unclear), hint_of(spec))


def _rows(lake: ObjectStore, files: Sequence[ManifestFile], numbers: Numbers) -> pa.Table:
    """Whole rows by their numbers, in the order of the numbers given."""
    parts: list[pa.Table] = []
    places: list[Numbers] = []
    first = 0
    for file, read in zip(files, tables_of(lake, files), strict=True):
        in_file = np.flatnonzero((numbers >= first) & (numbers < first + file.rows))
        if len(in_file):
            parts.append(read().take(pa.array(numbers[in_file] - first)))
            places.append(in_file)
        first += file.rows
    return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(places))))


def _without(lake: ObjectStore, staged: RewritableFiles, dropped: Numbers) -> list[ManifestFile]:
    """The files, of which those that lose rows are written anew."""
    files, files_left = staged.files, list[ManifestFile]()
    first = 0
    for index, (file, read) in enumerate(zip(files, tables_of(lake, files, own=True), strict=True)):
        in_file = dropped[(dropped >= first) & (dropped < first + file.rows)] - first
        first += file.rows
        if not len(in_file):
            files_left.append(file)
            continue
        keep = np.ones(file.rows, np.bool_)
        keep[in_file] = False
        files_left.append(staged.rewrite(index, read().filter(pa.array(keep))))
    return files_left


KeyRange = tuple[Any, Any]
"""The first and the last key of a row group that is in key order."""


@dataclass(frozen=True)
class Check:
    """A statement about a partition, and whether it holds."""

    name: str
    passed: bool
    detail: str
    blocking: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


@dataclass(frozen=True)
class DroppedRows:
    """Rows that share the key of one that is kept, and are not in the files.

    :ivar duplicates: equal to the one that is kept. :ivar older_versions: older by the cursor.
    """

    duplicates: int = 0
    older_versions: int = 0

    def __str__(self) -> str:
        clauses = []
        if self.duplicates:
            clauses.append(f"{self.duplicates:,} duplicates dropped, equal in all columns")
        if self.older_versions:
            clauses.append(
                f"{self.older_versions:,} older versions of rows dropped, the latest kept"
            )
        return "".join(f"; {each}" for each in clauses)


_UNPROVED: Final = (
    "completeness is not proved: the API's count and the rows did not agree in several passes, or "
    "nothing counts the rows. Name a count (`count` or `paging.total`). A count of exactly "
    f"{CAP:,} is Elasticsearch's limit, and proves nothing"
)
_FIRST: Final = (
    ". If the API counts its pages from {before}, and not from {first}, the rows of its first page "
    "are missing: set `first: {before}` in `paging`"
)


def why_unproved(paging: Paging) -> str:
    """The sentence on pages of which nothing more is known."""
    before = paging.before_first()
    if before is None or before.page is None:
        return _UNPROVED
    return _UNPROVED + _FIRST.format(before=before.page, first=before.page + 1)


_NOTHING_DROPPED: Final = DroppedRows()


@dataclass(frozen=True)
class PageProof:
    """Whether no row lies between the pages, and what that rests on.

    :ivar unproved: why they are not proved contiguous, if more is known of it.
    """

    contiguous: bool
    basis: ProofBasis = ProofBasis.KEYS
    unproved: str | None = None

    @property
    def sentence(self) -> str:
        return self.basis.claim if self.contiguous else self.unproved or _UNPROVED


CONTIGUOUS: Final = PageProof(True)


def verify(
    read: Callable[[], Iterable[pa.RecordBatch]],
    *,
    key: Sequence[str],
    cursor: str | None,
    window: Window,
    expected_rows: int,
    proof: PageProof,
    zone: tzinfo = UTC,
    dropped: DroppedRows = _NOTHING_DROPPED,
) -> tuple[Check, ...]:
    """The statements about a partition that its files prove or refute.

    They are read row group by row group if these are in the order of a key of one column, so that
    memory does not grow with their number; all other keys are looked at together.

    :param read: the key and cursor columns of the files, as read back; from the start each time.
    :param key: empty where rows have none: then as many rows have to be there as were written.
    :param zone: in which the days of a cursor begin.
    :param dropped: rows that are not in the files, since they share a key.
    """
    row_count = nulls = outside = duplicates = 0
    ranges: list[KeyRange] = []
    compound_keys: list[pa.RecordBatch] = []
    in_order = len(key) == 1
    for batch in filter(len, read()):
        row_count += batch.num_rows
        nulls += sum(batch[name].null_count for name in key)
        outside += _outside(batch, cursor, window, zone)
        if len(key) != 1:
            if key:
                compound_keys.append(batch.select(list(key)))
            continue
        keys = batch[key[0]]
        in_order = in_order and _rises(keys)
        ranges.append((keys[0].as_py(), keys[-1].as_py()))
    if key and row_count and not (in_order and _apart(ranges)):
        duplicates = _duplicates(pa.Table.from_batches(compound_keys or read()).select(list(key)))
    return (
        Check(
            "keys_unique",
            duplicates == 0 and row_count == expected_rows,
            f"{row_count:,} rows read back of {expected_rows:,} written"
            + (f", {duplicates:,} with a key that another row has{dropped}" if key else ", no key"),
        ),
        Check("keys_not_null", nulls == 0, f"{nulls:,} keys are null"),
        Check("rows_in_window", outside == 0, f"{outside:,} rows lie outside the window"),
        Check(
            "pages_contiguous",
            proof.contiguous,
            proof.sentence,
            blocking=False,
        ),
    )


def hint_of(spec: Endpoint) -> str:
    """The hint where to look if a partition is not sound."""
    if spec.parents:
        return _SHARED.format("parent", "parents.column_here, with group: 1")
    return _SHARED.format("value", "each.column_here") if spec.each else _TRY


def refuse_if_broken(checks: Sequence[Check], what: str, *, hint: str) -> None:
    """Stop the commit if a blocking check does not hold.

    :param hint: what may be wrong in the source's YAML.
    :raises ContractBroken: one does not; the generation before stays.
    """
    broken = [check for check in checks if check.blocking and not check.passed]
    if broken:
        details = "; ".join(f"{check.name}: {check.detail}" for check in broken)
        raise ContractBroken(
            f"{what}: not committed, the generation before stays: {details}. {hint}"
        )


def _rises(keys: pa.Array) -> bool:
    """Whether each key is greater than the one before it."""
    if keys.null_count:
        return False
    try:
        rising = pc.less(keys[:-1], keys[1:])
    except pa.ArrowNotImplementedError:  # a type that Arrow does not order
        return False
    return bool(pc.all(rising, min_count=0).as_py())


def _apart(ranges: Sequence[KeyRange]) -> bool:
    """Whether no key of one range can be in another."""
    return all(before[1] < after[0] for before, after in pairwise(sorted(ranges)))


def _duplicates(keys: pa.Table) -> int:
    """How many rows have the key of another row: sorted, they are neighbours.

    Sorting, column by column, takes a fraction of the memory and the time that grouping does.
    """
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    same = pa.scalar(True)
    for column in keys.columns:
        if pa.types.is_string(column.type):
            column = column.cast(pa.large_string())  # all of them are more than 2 GiB, maybe
        ordered = column.take(order)
        same = pc.and_(same, pc.equal(ordered[:-1], ordered[1:]))
    return int(pc.sum(same).as_py() or 0)


def _outside(rows: pa.RecordBatch, cursor: str | None, window: Window, zone: tzinfo) -> int:
    if cursor is None or rows.num_rows == 0:
        return 0
    column = instants(rows[cursor], zone)
    bad = pc.greater_equal(column, _instant(window.end))
    if window.start is not None:
        bad = pc.or_kleene(pc.fill_null(bad, True), pc.less(column, _instant(window.start)))
    return int(pc.sum(bad).as_py() or 0)


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, INSTANT)
