"""Changes to rows while the emulator runs: touch, upsert, delete."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from emulator.evaluate import Row
from emulator.store import Store
from emulator.table import Table

_KNOWN = frozenset({"endpoint", "action", "ids", "rows", "count", "updated_at", "set"})


def change_rows(store: Store, change: Mapping[str, object], now_s: int) -> list[int]:
    """Carry out one change; the ids it fell on. ValueError says what is wrong with it."""
    if unknown := set(change) - _KNOWN:
        raise ValueError(f"unknown in a change: {sorted(unknown)}; known: {sorted(_KNOWN)}")
    table = store.table(str(change.get("endpoint")))
    updated_at = _time(change.get("updated_at"), now_s)
    action = change.get("action")
    if action == "delete":
        return [id_ for id_ in _chosen(table, change) if table.delete(id_)]
    if action == "touch":
        given = change.get("set")
        fields = given if isinstance(given, dict) else None
        return [_touch(table, id_, updated_at, fields) for id_ in _chosen(table, change)]
    if action == "upsert":
        return _upsert(table, change, updated_at)
    raise ValueError(f"action {action!r}: expected touch, upsert or delete")


def _chosen(table: Table, change: Mapping[str, object]) -> Sequence[int]:
    ids, count = change.get("ids"), change.get("count")
    if isinstance(ids, list):
        if missing := [id_ for id_ in ids if id_ not in table]:
            raise ValueError(f"{table.endpoint.name} has no rows {missing[:10]}")
        return ids
    if isinstance(count, int):
        return table.sample(count)
    raise ValueError("a change names its ids or a count")


def _touch(table: Table, id_: int, updated_at: int, given: Mapping[str, object] | None) -> int:
    row: Row = {key: value for key, value in table.row(id_).items() if key != "checksum"}
    row.update(_difference(table, row) if given is None else given)
    if table.endpoint.dated:
        row["updated_at"] = updated_at
    return table.put(row)


def _difference(table: Table, row: Row) -> Row:
    """A field with a new value: the first whole number of the endpoint, else the first text."""
    for field in table.endpoint.fields:
        old = row.get(field.name)
        if field.kind == "int":
            return {field.name: 1 + (old if isinstance(old, int) else field.low)}
    for field in table.endpoint.fields:
        if field.kind in ("name", "word", "text", "url", "image"):
            return {field.name: f"{row.get(field.name, '')}+"}
    return {}


def _upsert(table: Table, change: Mapping[str, object], updated_at: int) -> list[int]:
    rows, count = change.get("rows"), change.get("count")
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        given = {"updated_at": updated_at} if "updated_at" in change else {}
        return [table.put({**given, **row}) for row in rows]
    if isinstance(count, int):
        return [table.put(table.invent(updated_at)) for _ in range(count)]
    raise ValueError("an upsert has rows, a list of objects, or a count of new ones")


def _time(value: object, now_s: int) -> int:
    if value is None or value == "now":
        return now_s
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, int):
        return value
    raise ValueError(f"updated_at: expected unix seconds, ISO 8601 or now, got {value!r}")
