"""Ids to JSON: the fields that were asked for, references expanded where they were dotted."""

from collections.abc import Sequence

import orjson

from emulator.evaluate import Row
from emulator.query import Query
from emulator.store import Store
from emulator.table import Table


def encode_rows(store: Store, table: Table, ids: Sequence[int], query: Query) -> bytes:
    """A JSON array of the rows."""
    fields = query.fields
    if not fields or set(fields) == {"id"}:
        rows = [b'{"id":%d}' % id_ for id_ in ids]
    elif set(fields) == {"*"} and not query.exclude:
        rows = [table.encoded(id_) for id_ in ids]
    else:
        shown = shape_rows(store, table, ids, query)
        rows = [orjson.dumps(row) for row in shown]
    return b"[" + b",".join(rows) + b"]"


def shape_rows(store: Store, table: Table, ids: Sequence[int], query: Query) -> list[Row]:
    """The rows as dicts of their own."""
    fields = query.fields or ("id",)
    return [_exclude(_shape(store, table, table.row(id_), fields), query.exclude) for id_ in ids]


def check_fields(store: Store, name: str, query: Query) -> None:
    """QueryError if the endpoint lacks a field that is to be shown, left out or sorted by."""
    named = (*query.fields, *query.exclude, *((query.sort.field,) if query.sort else ()))
    for path in named:
        if path != "*":
            store.check_field(name, path)


def _shape(store: Store, table: Table, row: Row, fields: Sequence[str]) -> Row:
    if "*" in fields:
        shown = dict(row)
    else:
        roots = {"id", *(field for field in fields if "." not in field)}
        shown = {name: value for name, value in row.items() if name in roots}
    inner: dict[str, list[str]] = {}
    for field in fields:
        root, _, rest = field.partition(".")
        if rest:
            inner.setdefault(root, []).append(rest)
    for root, wanted in inner.items():
        if root in row:
            shown[root] = _expand(store, table.endpoint.name, root, row[root], wanted)
    return shown


def _expand(store: Store, name: str, root: str, value: object, fields: Sequence[str]) -> object:
    target = store.table(store.target(name, root))
    if isinstance(value, list):
        return [_shape(store, target, target.row(id_), fields) for id_ in value if id_ in target]
    if isinstance(value, int) and value in target:
        return _shape(store, target, target.row(value), fields)
    return value


def _exclude(row: Row, exclude: Sequence[str]) -> Row:
    return {name: value for name, value in row.items() if name not in exclude}
