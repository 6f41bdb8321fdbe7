"""Rows of a partition that share a key, settled before the commit: no two are left, and no row is
dropped unless another one says as much.

================================================  =================================================
rows of one key                                   what becomes of them
================================================  =================================================
equal in all columns                              one is kept: the others are *duplicates*
they differ, and so do their cursors              the latest by the cursor is kept: the others are
                                                  *older versions*
they differ at the latest cursor, or without one  one row that was read again by design (a page that
                                                  overlaps, another pass) has changed meanwhile: the
                                                  one that was read last is kept. Else the key does
                                                  not tell the rows apart: refused
================================================  =================================================

The files are whole on S3, and in no manifest yet. A file that loses rows is written anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decode.types import INSTANT
from pipeline.extract.page_checks import shared_key_error
from pipeline.extract.row_digests import Digests, row_digests
from pipeline.lake.current_rows import EXTRACTED_AT
from pipeline.lake.manifest import ManifestFile
from pipeline.lake.read import key_rows, tables_of
from pipeline.lake.stores.base import ObjectStore

_NO_CURSOR: Final = np.iinfo(np.int64).min
Rewrite = Callable[[int, pa.Table], ManifestFile]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SettledKeys:
    """What was dropped of a partition's files, and the files that are left.

    :ivar duplicates: rows that are equal to one that is kept.
    :ivar older_versions: rows whose key has a later one.
    """

    files: Sequence[ManifestFile]
    duplicates: int = 0
    older_versions: int = 0


@dataclass(frozen=True)
class _Candidates:
    """The rows that share a key, ordered by key, cursor, and when they came.

    :ivar rows: their numbers in all files. :ivar group: alike for rows of one key.
    """

    rows: Numbers
    group: Numbers
    cursor: Numbers
    digest: Digests


def settle_shared_keys(
    lake: ObjectStore,
    files: Sequence[ManifestFile],
    *,
    key: Sequence[str],
    cursor: str | None,
    reread: Digests,
    rewrite: Rewrite,
    hint: str,
) -> SettledKeys:
    """Leave one row of each key.

    :param reread: digests of keys whose row was read again by design, and had changed.
    :param rewrite: puts a table in place of the file of that number.
    :param hint: what to do where the key does not tell rows apart.
    :raises ContractBroken: rows of one key differ, and no cursor tells which is the latest.
    """
    found = _candidates(lake, files, key, cursor)
    if not len(found.rows):
        return SettledKeys(files)
    last = np.append(found.group[1:] != found.group[:-1], True)
    size = int(last.sum())
    newest = found.cursor[last][found.group] == found.cursor
    at_newest = np.unique(
        np.stack([found.group[newest], found.digest[newest].view(np.int64)]), axis=1
    )
    unclear = np.flatnonzero(np.bincount(at_newest[0], minlength=size) > 1)
    if len(unclear):
        _refuse_unless_reread(lake, files, key, found, unclear, reread, hint)
    distinct = np.unique(np.stack([found.group, found.digest.view(np.int64)]), axis=1).shape[1]
    dropped = np.sort(found.rows[~last])
    left = _without(lake, files, dropped, rewrite)
    return SettledKeys(left, len(found.rows) - distinct, distinct - size)


def _candidates(
    lake: ObjectStore, files: Sequence[ManifestFile], key: Sequence[str], cursor: str | None
) -> _Candidates:
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
        cursors = _whole(pc.cast(table[cursor].take(pa.array(rows)), INSTANT))
    came = _whole(table[EXTRACTED_AT].take(pa.array(rows)))
    by = np.lexsort((rows, came, cursors, group))
    rows, group, cursors = rows[by], group[by], cursors[by]
    return _Candidates(rows, group, cursors, _digests(lake, files, rows))


def _whole(instants: pa.ChunkedArray) -> Numbers:
    return np.asarray(pc.fill_null(instants.cast(pa.int64()), _NO_CURSOR)).astype(np.int64)


def _digests(lake: ObjectStore, files: Sequence[ManifestFile], rows: Numbers) -> Digests:
    """Of whole rows, file by file, so that one file is held at a time."""
    digests = np.zeros(len(rows), np.uint64)
    first = 0
    for file, read in zip(files, tables_of(lake, files), strict=True):
        here = (rows >= first) & (rows < first + file.rows)
        if here.any():
            table = read().take(pa.array(rows[here] - first))
            digests[here] = row_digests(table, _compared(table))
        first += file.rows
    return digests


def _compared(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name != EXTRACTED_AT]


def _refuse_unless_reread(
    lake: ObjectStore,
    files: Sequence[ManifestFile],
    key: Sequence[str],
    found: _Candidates,
    unclear: Numbers,
    reread: Digests,
    hint: str,
) -> None:
    """:raises ContractBroken: with two rows of a key that were not one row, read twice."""
    firsts = found.rows[np.searchsorted(found.group, unclear)]
    known = np.isin(row_digests(_rows(lake, files, firsts), key), reread)
    if known.all():
        return
    group = unclear[int(np.flatnonzero(~known)[0])]
    numbers = np.flatnonzero(found.group == group)
    other = numbers[found.digest[numbers] != found.digest[numbers[-1]]][-1]
    pair = _rows(lake, files, found.rows[[other, numbers[-1]]])
    raise shared_key_error(pair.drop_columns([EXTRACTED_AT]), key, len(unclear), hint)


def _rows(lake: ObjectStore, files: Sequence[ManifestFile], numbers: Numbers) -> pa.Table:
    """Whole rows by their numbers, in the order of the numbers given."""
    parts: list[pa.Table] = []
    places: list[Numbers] = []
    first = 0
    for file, read in zip(files, tables_of(lake, files), strict=True):
        here = np.flatnonzero((numbers >= first) & (numbers < first + file.rows))
        if len(here):
            parts.append(read().take(pa.array(numbers[here] - first)))
            places.append(here)
        first += file.rows
    return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(places))))


def _without(
    lake: ObjectStore, files: Sequence[ManifestFile], dropped: Numbers, rewrite: Rewrite
) -> list[ManifestFile]:
    """The files, of which those that lose rows are written anew."""
    left: list[ManifestFile] = []
    first = 0
    for index, (file, read) in enumerate(zip(files, tables_of(lake, files, own=True), strict=True)):
        here = dropped[(dropped >= first) & (dropped < first + file.rows)] - first
        first += file.rows
        if not len(here):
            left.append(file)
            continue
        keep = np.ones(file.rows, np.bool_)
        keep[here] = False
        left.append(rewrite(index, read().filter(pa.array(keep))))
    return left
