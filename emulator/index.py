"""A sorted index over one integer column, kept up to date row by row."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Index:
    """(value, id) pairs in order; rows without a value are in `nulls`."""

    def __init__(self, ids: Sequence[int], values: Sequence[int], null: int) -> None:
        """Parallel sequences, ids rising; `null`, less than any value, stands for none."""
        order = sorted(range(len(values)), key=values.__getitem__)
        first = bisect_right(order, null, key=values.__getitem__)
        self.nulls: set[int] = {ids[place] for place in order[:first]}
        self._values = array("q", [values[place] for place in order[first:]])
        self.ids = array("q", [ids[place] for place in order[first:]])

    def add(self, id_: int, value: int | None) -> None:
        """Enter a row that is not in the index."""
        if value is None:
            self.nulls.add(id_)
            return
        place = self._place(value, id_)
        self._values.insert(place, value)
        self.ids.insert(place, id_)

    def remove(self, id_: int, value: int | None) -> None:
        """Take out a row that was entered with this value."""
        if value is None:
            self.nulls.discard(id_)
            return
        place = self._place(value, id_)
        if place == len(self.ids) or self.ids[place] != id_:
            raise KeyError(id_)
        self._values.pop(place)
        self.ids.pop(place)

    def bounds(self, op: str, value: float) -> tuple[int, int]:
        """The places `[low, high)` in `ids` for which `column op value` holds."""
        if op in (">", ">="):
            find = bisect_right if op == ">" else bisect_left
            return find(self._values, value), len(self._values)
        if op in ("<", "<="):
            find = bisect_left if op == "<" else bisect_right
            return 0, find(self._values, value)
        return bisect_left(self._values, value), bisect_right(self._values, value)

    def _place(self, value: int, id_: int) -> int:
        low = bisect_left(self._values, value)
        return bisect_left(self.ids, id_, low, bisect_right(self._values, value, low))
