"""Generated rows of a stream, by its schema, its key and its cursor."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]
FIRST = datetime(2024, 3, 10, tzinfo=UTC)
"""The cursor of the first row; each row after it is a minute later."""


def rows_of(stream: dict[str, Any], number: int, of: str, offset: int) -> list[Row]:
    """Rows whose keys are different in all of the stream.

    :param of: the partition value, which stands in texts.
    :param offset: how many rows other partition values have had.
    """
    schema = (stream.get("schema_loader") or {}).get("schema") or {}
    properties = schema.get("properties") or {}
    keys = key_of(stream)
    cursor = (stream.get("incremental_sync") or {}).get("cursor_field")
    added = places(stream)
    found = []
    for n in range(offset + 1, offset + number + 1):
        row = {str(name): _value(str(name), said, n) for name, said in properties.items()}
        for key in keys:
            place = added.get(key) or key.split(".")
            _put(row, place, _key(properties.get(key), n, of))
        if cursor:
            _put(
                row,
                added.get(str(cursor)) or [str(cursor)],
                _written(stream["incremental_sync"], n),
            )
        found.append(row)
    return found


def places(stream: dict[str, Any]) -> dict[str, list[str]]:
    """Members that a transformation makes of others: where they come from."""
    found = {}
    for one in stream.get("transformations") or []:
        for field in one.get("fields") or [] if one.get("type") == "AddFields" else []:
            parts = re.findall(r"\[['\"]([^'\"]+)['\"]\]|\.(\w+)", str(field.get("value")))
            if "record" in str(field.get("value")) and "get" not in str(field.get("value")):
                found[str(field["path"][0])] = [a or b for a, b in parts]
    return found


def key_of(stream: dict[str, Any]) -> list[str]:
    """The columns of the key, by their names."""
    raw = stream.get("primary_key") or []
    parts = raw if isinstance(raw, list) else [raw]
    return [str(p) for one in parts for p in (one if isinstance(one, list) else [one])]


def _kind(said: Any) -> str:
    kinds = said.get("type") if isinstance(said, dict) else None
    return (
        next((k for k in (kinds if isinstance(kinds, list) else [kinds]) if k != "null"), "") or ""
    )


def _key(said: Any, n: int, of: str) -> Any:
    return n if _kind(said) in ("integer", "number") else f"k{of}{n}"


def _value(name: str, said: Any, n: int) -> Any:
    kind, form = _kind(said), said.get("format") if isinstance(said, dict) else None
    if form in ("date-time", "date"):
        at = FIRST + timedelta(minutes=n)
        return at.strftime("%Y-%m-%d" if form == "date" else "%Y-%m-%dT%H:%M:%SZ")
    made: dict[str, Any] = {
        "integer": n,
        "number": n + 0.5,
        "boolean": n % 2 == 0,
        "array": [n],
        "object": {"a": n},
    }
    return made.get(kind, f"{name} {n}")


def _written(sync: dict[str, Any], n: int) -> Any:
    at = FIRST + timedelta(minutes=n)
    pattern = (sync.get("cursor_datetime_formats") or [sync.get("datetime_format")])[0]
    if pattern in ("%s", "%s_as_float"):
        return int(at.timestamp())
    if pattern in ("%ms", "%_ms"):
        return int(at.timestamp() * 1000)
    return at.strftime(str(pattern))


def _put(row: Row, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = row.get(part)
        row[part] = inner if isinstance(inner, dict) else {}
        row = row[part]
    row[path[-1]] = value
