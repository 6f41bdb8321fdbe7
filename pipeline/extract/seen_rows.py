"""The rows that a chain of pages has brought so far: 16 bytes a row, whatever the key is.

Of each key its digest is kept, with 40 bits of the digest of the row it came with last, and where
it came. A row is known if both are: it is the same row in all columns, and may be dropped. A known
key with another row is left to the commit, which has both rows and can compare them
(``pipeline.run.shared_keys``): digests alone drop no row that differs.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.extract.row_digests import Digests

_LAP_BITS: Final = 24
_LAP_MASK: Final = np.uint64((1 << _LAP_BITS) - 1)
_ANY_ROW: Final = np.uint64(0)
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


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
        """What the memory of all rows takes."""
        return sum(run.keys.nbytes + run.facts.nbytes for run in self._runs)

    def add(self, keys: Digests, rows: Digests, lap: int) -> "NewRows":
        """Take up the rows of a page."""
        facts = (rows & ~_LAP_MASK) | np.uint64(lap & int(_LAP_MASK))
        keep = _first_of_each(keys * _FACTOR + facts)
        known = np.zeros(len(keys), np.bool_)
        in_lap = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run.keys, keys)
            at[at == len(run.keys)] = 0
            found = run.keys[at] == keys
            if not found.any():
                continue
            place = at[found]
            before = run.facts[place]
            row_before = before & ~_LAP_MASK
            keep[found] &= (row_before != facts[found] & ~_LAP_MASK) & (row_before != _ANY_ROW)
            in_lap[found] = (before & _LAP_MASK) == (facts[found] & _LAP_MASK)
            known |= found
            run.facts[place] = facts[found]
        self._append(keys[~known], facts[~known])
        return NewRows(keep, int((~in_lap).sum()), known & keep & ~in_lap, known & keep & in_lap)

    def remember(self, keys: Digests, lap: int) -> None:
        """Take up keys whose rows an earlier attempt has: the next row of each is dropped."""
        self.add(keys, np.full(len(keys), _ANY_ROW), lap)

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
    found, from_end = np.unique(keys[::-1], return_index=True)
    return found, len(keys) - 1 - from_end
