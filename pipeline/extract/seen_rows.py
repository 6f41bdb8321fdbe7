"""The rows that a chain of pages has brought so far: 16 bytes a row, whatever the key is.

Of each key its digest is kept, with 40 bits of the digest of the row it came with last, and where
it came. A row is known if both are: it is the same row in all columns, and may be dropped. A known
key with another row is left to the commit, which has both rows and can compare them
(``pipeline.run.verify``): digests alone drop no row that differs.

A digest has 64 bits, over all columns of a row or some of them. Equal rows have equal digests,
whatever the order of their columns, and whether a column that has no value is there or not. Two
rows that differ have the same digest by chance only, once in 2**64 pairs. The digests are a
process's own: they are never kept.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Digests = npt.NDArray[np.uint64]

_SEED: Final = np.uint64(secrets.randbits(64) | 1)
_FACTOR: Final = np.uint64(secrets.randbits(64) | 1)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def row_digests(table: pa.Table, columns: Iterable[str]) -> Digests:
    """A digest of each row over these columns; a column that is not there has no value."""
    total: Digests = np.zeros(table.num_rows, np.uint64)
    names = set(table.column_names)
    for name in columns:
        if name in names and (column := table[name]).null_count < table.num_rows:
            total += _member(name, _values(_as_one(column)))
    return _mixed(total)


def _as_one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    array = column.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def _member(name: str, values: Digests) -> Digests:
    """The share of one column or member; 0 where it is null, as where it is missing."""
    shares = _mixed(values + np.uint64(hash(name) & 0xFFFFFFFFFFFFFFFF))
    shares[values == 0] = 0
    return shares


def _values(array: pa.Array) -> Digests:
    """A digest of each value; 0 for null, and never else."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), np.uint64)
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode())
    if isinstance(array, pa.ExtensionArray):
        return _values(array.storage)
    if pa.types.is_struct(kind):
        digests: Digests = np.full(len(array), _SEED, np.uint64)
        for field, child in zip(kind, array.flatten(), strict=True):
            if child.null_count < len(child):
                digests += _member(field.name, _values(child))
    elif pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digests = _lists(array)
    else:
        digests = _plain(array)
    digests = _mixed(digests) | np.uint64(1)
    if array.null_count:
        digests[np.asarray(pc.is_null(array))] = 0
    return digests


def _plain(array: pa.Array) -> Digests:
    """Whole numbers, times and doubles by their bits; all others by their text."""
    kind = array.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        if pa.types.is_timestamp(kind) and kind.unit in ("s", "ms"):
            array = array.cast(pa.timestamp("us", kind.tz))
        if pa.types.is_temporal(kind):
            array = array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        elif not pa.types.is_uint64(kind):
            array = array.cast(pa.int64())
        return _numbers(pc.fill_null(array, 0)).astype(np.uint64)
    if pa.types.is_floating(kind):
        return _numbers(pc.fill_null(array.cast(pa.float64()), 0.0)).view(np.uint64)
    values = (hash(value) & 0xFFFFFFFFFFFFFFFF for value in array.to_pylist())
    return np.fromiter(values, np.uint64, len(array))


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False))


def _lists(array: pa.Array) -> Digests:
    """A digest of each list, in the order of its items."""
    offsets = np.asarray(array.offsets).astype(np.int64)
    if pa.types.is_map(array.type):
        whole = array.keys, array.items
        keys, items = (_values(part) for part in whole)
        children = _mixed(keys) + items
    else:
        children = _values(array.values)
    first, last = int(offsets[0]), int(offsets[-1])
    children, offsets = children[first:last], offsets - first
    lengths = offsets[1:] - offsets[:-1]
    places = np.arange(len(children), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    placed = _mixed(children + places.astype(np.uint64) * _FACTOR)
    sums: Digests = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
    return sums[offsets[1:]] - sums[offsets[:-1]] + lengths.astype(np.uint64) + _SEED


def _mixed(values: Digests) -> Digests:
    """Every bit of a value in every bit of the result (the finish of splitmix64)."""
    values = values + _SEED
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


_LAP_BITS: Final = 24
_LAP_MASK: Final = np.uint64((1 << _LAP_BITS) - 1)
_ANY_ROW: Final = np.uint64(0)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class NewRows:
    """Which rows of a page are not known yet.

    :ivar keep: those that are not. :ivar new_keys: how many rows have a key that did not come
        before this page in this lap.
    :ivar changed_since: rows whose key came with another row, in an earlier lap only.
    :ivar changed: rows whose key came with another row in this lap.
    """

    keep: npt.NDArray[np.bool_]
    new_keys: int
    changed_since: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]


@dataclass
class _Run:
    """Keys in order, and what is known of each: bits of its row, and its lap."""

    keys: Digests
    facts: Digests


class SeenRows:
    """Which rows came, by the digests of their keys and of all their columns.

    A *lap* is one reading of one slice of the window: counted from 0 on.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    @property
    def nbytes(self) -> int:
        """The bytes that the memory of all rows takes."""
        return sum(run.keys.nbytes + run.facts.nbytes for run in self._runs)

    def add(self, keys: Digests, rows: Digests, lap: int) -> "NewRows":
        """Take up the rows of a page."""
        facts = (rows & ~_LAP_MASK) | np.uint64(lap & int(_LAP_MASK))
        keep = _first_of_each(keys * _GOLDEN + facts)
        has_key = np.zeros(len(keys), np.bool_)
        in_lap = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run.keys, keys)
            at[at == len(run.keys)] = 0
            same_key = run.keys[at] == keys
            if not same_key.any():
                continue
            place = at[same_key]
            before = run.facts[place]
            row_before = before & ~_LAP_MASK
            keep[same_key] &= (row_before != facts[same_key] & ~_LAP_MASK) & (
                row_before != _ANY_ROW
            )
            in_lap[same_key] = (before & _LAP_MASK) == (facts[same_key] & _LAP_MASK)
            has_key |= same_key
            run.facts[place] = facts[same_key]
        self._append(keys[~has_key], facts[~has_key])
        return NewRows(
            keep, int((~in_lap).sum()), has_key & keep & ~in_lap, has_key & keep & in_lap
        )

    def remember(self, keys: Digests, lap: int) -> None:
        """Take up keys whose rows an earlier attempt has: the next row of each is dropped."""
        self.add(keys, np.full(len(keys), _ANY_ROW), lap)

    def known(self, keys: Digests) -> int:
        """How many of these keys have come, in whatever lap."""
        known = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            known |= np.isin(keys, run.keys)
        return int(known.sum())

    def any_last_in(self, first_lap: int, end_lap: int) -> bool:
        """Whether a key came last in one of these laps, and in none since."""
        for run in self._runs:
            laps = run.facts & _LAP_MASK
            if bool(((laps >= np.uint64(first_lap)) & (laps < np.uint64(end_lap))).any()):
                return True
        return False

    def _append(self, keys: Digests, facts: Digests) -> None:
        """Runs are merged while the last is not much smaller than the one before: few stay."""
        if not len(keys):
            return
        keys, last = _unique_last(keys)
        self._runs.append(_Run(keys, facts[last]))
        while len(self._runs) > 1 and len(self._runs[-2].keys) <= 2 * len(self._runs[-1].keys):
            newer, older = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([older.keys, newer.keys])
            order: npt.NDArray[Any] = np.argsort(merged, kind="stable")
            self._runs.append(
                _Run(merged[order], np.concatenate([older.facts, newer.facts])[order])
            )


def _first_of_each(values: Digests) -> npt.NDArray[np.bool_]:
    """For each value, whether none before it is the same."""
    keep = np.zeros(len(values), np.bool_)
    keep[np.unique(values, return_index=True)[1]] = True
    return keep


def _unique_last(keys: Digests) -> tuple[Digests, npt.NDArray[Any]]:
    """The keys in order, each once, and where each stood last."""
    unique, from_end = np.unique(keys[::-1], return_index=True)
    return unique, len(keys) - 1 - from_end
