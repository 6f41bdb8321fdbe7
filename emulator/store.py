"""All tables, and queries over them: which ids, in which order.

Tables are made when first asked for. Not thread-safe: one thread owns the store.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias

from emulator.data import RowMaker, Timeline
from emulator.evaluate import Getter, Row, compile_where, fields_of
from emulator.plan import matching_ids
from emulator.query import And, Match, Query, QueryError, Sort, Where
from emulator.schema import ENDPOINTS, Field
from emulator.table import Table

CACHED_RESULTS = 128
_Key: TypeAlias = tuple[str, Where | None, Sort]


class Store:
    """The database behind the API."""

    def __init__(self, sizes: Mapping[str, int], seed: int, timeline: Timeline) -> None:
        self._sizes = sizes
        self._seed = seed
        self._timeline = timeline
        self._tables: dict[str, Table] = {}
        self._results: OrderedDict[_Key, tuple[int, list[int]]] = OrderedDict()

    def table(self, name: str) -> Table:
        """The table of an endpoint; QueryError with status 404 if there is none."""
        if (found := self._tables.get(name)) is not None:
            return found
        if (endpoint := ENDPOINTS.get(name)) is None:
            raise QueryError("Not Found", f"No endpoint {name!r}", 404)
        maker = RowMaker(endpoint, self._seed, self._sizes)
        size = self._sizes[name]
        table = self._tables[name] = Table(endpoint, size, self._seed, self._timeline, maker)
        return table

    def select(self, name: str, query: Query) -> list[int]:
        """The ids of all rows that match, in order, before offset and limit."""
        table = self.table(name)
        where = query.where
        if query.search is not None:
            wanted = Match("name", "infix", query.search, fold=True)
            where = wanted if where is None else And((where, wanted))
        sort = query.sort or Sort()
        key = (name, where, sort)
        read = (sort.field, *(() if where is None else fields_of(where)))
        elsewhere = any("." in field for field in read)
        version, ids = self._results.get(key, (-1, []))
        if version != table.version or elsewhere:
            ids = self._select(table, where, sort)
            self._results[key] = (table.version, ids)
            if len(self._results) > CACHED_RESULTS:
                self._results.popitem(last=False)
        return ids

    def target(self, name: str, field: str) -> str:
        """The endpoint that a reference field leads to."""
        spec = self._field(name, field)
        if spec is None or not spec.target:
            raise QueryError("Invalid Field", f"{field!r} of {name} cannot be expanded")
        return spec.target

    def check_field(self, name: str, path: str) -> None:
        """QueryError if the endpoint has no such field; a path may be dotted."""
        root, _, rest = path.partition(".")
        if root not in self.table(name).field_names:
            raise QueryError("Invalid Field", f"Invalid field name {root!r} for {name}")
        if rest and rest != "*":
            self.check_field(self.target(name, root), rest)

    def getter(self, name: str, path: str) -> Getter:
        """Reads a field; a dotted one through the rows that are referred to."""
        root, _, rest = path.partition(".")
        if not rest:
            return lambda row: row.get(root)
        table = self.table(self.target(name, root))
        inner = self.getter(table.endpoint.name, rest)

        def read(row: Row) -> object:
            found = row.get(root)
            ids = found if isinstance(found, list) else [found]
            values = [inner(table.row(id_)) for id_ in ids if isinstance(id_, int) and id_ in table]
            return [value for value in values if value is not None] or None

        return read

    def _field(self, name: str, field: str) -> Field | None:
        fields = self.table(name).endpoint.fields
        return next((spec for spec in fields if spec.name == field), None)

    def _select(self, table: Table, where: Where | None, sort: Sort) -> list[int]:
        name = table.endpoint.name
        ids = matching_ids(
            table,
            where,
            lambda where: compile_where(where, lambda path: self.getter(name, path)),
        )
        if sort.field == "id":
            return ids[::-1] if sort.descending else ids
        get = self.getter(name, sort.field)
        keys: dict[int, object] = {
            id_: table.updated_at(id_)
            if sort.field == "updated_at"
            else _sortable(get(table.row(id_)))
            for id_ in ids
        }
        present = [id_ for id_ in ids if keys[id_] is not None]
        absent = [id_ for id_ in ids if keys[id_] is None]
        present.sort(key=keys.__getitem__, reverse=sort.descending)  # type: ignore[arg-type]
        return present + absent


def _sortable(value: object) -> object:
    return str(value) if isinstance(value, list | dict) else value
