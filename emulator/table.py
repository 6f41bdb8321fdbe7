"""The rows of one endpoint: generated when asked for, except for those that were changed.

Not thread-safe: one thread owns all tables. `version` counts changes, so that what was
computed from a table can be thrown away when it changes.
"""

import hashlib
import random
from bisect import bisect_left
from collections.abc import Iterator

import orjson

from emulator.data import NO_TIME, RowMaker, Timeline, ids_of, updated_times, uuid_text
from emulator.evaluate import Row
from emulator.index import Index
from emulator.schema import EmulatedEndpoint

CACHED_ROWS = 500_000


class Table:
    """Rows by id, with an index over `updated_at`."""

    def __init__(
        self, endpoint: EmulatedEndpoint, size: int, seed: int, timeline: Timeline, maker: RowMaker
    ) -> None:
        self.endpoint = endpoint
        self.field_names: set[str] = set(endpoint.field_names)
        self.version = 0
        self.ids = ids_of(size)
        self._base_ids = self.ids.copy()
        self._base_updated = updated_times(endpoint, size, seed, timeline)
        self._maker = maker
        self._random = random.Random(f"{seed}:{endpoint.name}:changes")
        self._changed: dict[int, Row] = {}
        self._encoded: dict[int, bytes] = {}
        self._index: Index | None = None

    def __contains__(self, id_: int) -> bool:
        place = bisect_left(self.ids, id_)
        return place < len(self.ids) and self.ids[place] == id_

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def index(self) -> Index:
        """Over `updated_at`; built when first needed, which is before the first change."""
        if self._index is None:
            times = self._base_updated if self.endpoint.dated else [NO_TIME] * len(self._base_ids)
            self._index = Index(self._base_ids, times, NO_TIME)
        return self._index

    def updated_at(self, id_: int) -> int | None:
        """Unix seconds, None if the row has none."""
        if (changed := self._changed.get(id_)) is not None:
            value = changed.get("updated_at")
            return value if isinstance(value, int) else None
        if not self.endpoint.dated:
            return None
        stamp = self._base_updated[bisect_left(self._base_ids, id_)]
        return None if stamp == NO_TIME else stamp

    def row(self, id_: int) -> Row:
        """The row, not to be changed by the caller."""
        if (changed := self._changed.get(id_)) is not None:
            return changed
        stamp = self.updated_at(id_)
        return self._maker.make(id_, NO_TIME if stamp is None else stamp)

    def encoded(self, id_: int) -> bytes:
        """The row as JSON, serialised once."""
        found = self._encoded.get(id_)
        if found is None:
            if len(self._encoded) >= CACHED_ROWS:
                self._encoded.clear()
            found = self._encoded[id_] = orjson.dumps(self.row(id_))
        return found

    def rows(self) -> Iterator[Row]:
        """All rows by id."""
        return map(self.row, self.ids)

    def sample(self, count: int) -> list[int]:
        """Ids chosen at random, by the seed."""
        return sorted(self._random.sample(self.ids, min(count, len(self.ids))))

    def put(self, row: Row) -> int:
        """Add the row, or replace the one with its id; without an id it gets the next one."""
        id_ = row.get("id", self._next_id())
        if not isinstance(id_, int):
            raise ValueError(f"id must be a whole number, got {id_!r}")
        new = {"id": id_, **row}
        if "checksum" not in row:
            digest = hashlib.md5(orjson.dumps(new), usedforsecurity=False).hexdigest()
            new["checksum"] = uuid_text(digest)
        index = self.index
        if id_ in self:
            index.remove(id_, self.updated_at(id_))
        else:
            self.ids.insert(bisect_left(self.ids, id_), id_)
        self._changed[id_] = new
        self.field_names.update(new)
        index.add(id_, self.updated_at(id_))
        self._forget(id_)
        return id_

    def delete(self, id_: int) -> bool:
        """Whether the row was there."""
        if id_ not in self:
            return False
        self.index.remove(id_, self.updated_at(id_))
        self.ids.pop(bisect_left(self.ids, id_))
        self._changed.pop(id_, None)
        self._forget(id_)
        return True

    def invent(self, updated_at: int) -> Row:
        """A new row, not yet put, with the next id."""
        row = self._maker.make(self._next_id(), updated_at)
        if self.endpoint.dated:
            row["created_at"] = updated_at
        return row

    def _next_id(self) -> int:
        return max(self.ids[-1] if self.ids else 0, self._base_ids[-1] if self._base_ids else 0) + 1

    def _forget(self, id_: int) -> None:
        self._encoded.pop(id_, None)
        self.version += 1
