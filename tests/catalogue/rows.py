"""Generated rows of a stream, by its schema, its key and its cursor."""

import re
import zlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]
DAYS = 9
"""So many days before today a configuration's dates lie; rows begin a day later."""
_STEP = timedelta(hours=7)
_MOST_VALUES = 2_000_000
_MOST_ROWS = 1_000
_MOST_DAYS = 200_000


def first_day() -> datetime:
    """Where all dates of a configuration begin."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(DAYS)


def rows_of(
    stream: Mapping[str, Any], number: int, of: str, more: Collection[str] = ()
) -> list[Row]:
    """Rows whose keys are different in all of the stream.

    :param more: members that the schema may lack, and children read; paths with dots.
    :param of: the partition value, which the rows are made from; empty = there is none.
    """
    properties = properties_of(stream)
    cursor = (stream.get("incremental_sync") or {}).get("cursor_field")
    added = places(stream)
    offset = zlib.crc32(of.encode()) % _MOST_VALUES * _MOST_ROWS if of else 0
    made: list[Row] = []
    for n in range(offset + 1, offset + number + 1):
        row = {
            str(name): _value(str(name), said, n, n - offset) for name, said in properties.items()
        }
        for key in key_of(stream):
            place = added.get(key) or re.split(r"[./]", key)
            _put(row, place, _key_value(properties.get(key), n, of))
        if cursor:
            place = added.get(str(cursor)) or [str(cursor)]
            _put(row, place, written(stream["incremental_sync"], n - offset))
        for name, place in added.items():
            if name == cursor or name in key_of(stream):
                continue
            if row.get(name) is not None or name not in properties:
                _put(row, place, row.get(name, f"{name}{n}"))
        for path in more:
            first, *inner = re.split(r"[.]", path)
            if not inner and first in row and first not in added:
                continue
            _put(row, added.get(first, [first]) + inner, f"{path.replace('.', '_')}{n}")
        made.append(row or {"n": n})
    return made


def properties_of(stream: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of a row, by the schema."""
    loader = stream.get("schema_loader") or {}
    loader = next(iter(loader), {}) if isinstance(loader, list) else loader
    schema = loader.get("schema") or {}
    return (schema.get("properties") or {}) if isinstance(schema, dict) else {}


def places(stream: Mapping[str, Any]) -> dict[str, list[str]]:
    """Members that a transformation makes of others: where they come from."""
    found = {}
    for one in stream.get("transformations") or []:
        for field in one.get("fields") or [] if one.get("type") == "AddFields" else []:
            text = str(field.get("value"))
            parts = re.findall(r"\[['\"]([^'\"]+)['\"]\]|get\(['\"]([^'\"]+)['\"]|\.(\w+)", text)
            path = [part for one in parts for part in one if part and part != "get"]
            if re.fullmatch(r"\{\{ *record[^|+~]*\}\}", text) and path:
                found[str(field["path"][0])] = path
    return found


def key_of(stream: Mapping[str, Any]) -> list[str]:
    """The columns of the key, by their names."""
    raw = stream.get("primary_key") or []
    parts = raw if isinstance(raw, list) else [raw]
    return [str(p) for one in parts for p in (one if isinstance(one, list) else [one])]


def format_of_bounds(stream: Mapping[str, Any]) -> str:
    """The format in which a stream's request has its bounds."""
    return str((stream.get("incremental_sync") or {}).get("datetime_format"))


def at(n: int) -> datetime:
    """The cursor of a row, by its number within its partition value."""
    return first_day() + timedelta(days=1) + _STEP * n


def written(sync: Mapping[str, Any], n: int) -> Any:
    """The cursor of a row as the API writes it."""
    pattern = (sync.get("cursor_datetime_formats") or [sync.get("datetime_format")])[0]
    return written_as(str(pattern), at(n))


def written_as(pattern: str, instant: datetime) -> Any:
    if pattern in ("%s", "%s_as_float"):
        return int(instant.timestamp())
    if pattern in ("%ms", "%_ms"):
        return int(instant.timestamp() * 1000)
    if pattern == "%epoch_microseconds":
        return int(instant.timestamp() * 1_000_000)
    return instant.strftime(pattern)


def read_as(pattern: str, text: str) -> datetime | None:
    """An instant as a request or a row writes it; None if the pattern is another."""
    try:
        if pattern in ("%s", "%s_as_float"):
            return datetime.fromtimestamp(float(text), UTC)
        if pattern in ("%ms", "%_ms"):
            return datetime.fromtimestamp(float(text) / 1000, UTC)
        if pattern == "%epoch_microseconds":
            return datetime.fromtimestamp(float(text) / 1_000_000, UTC)
        found = datetime.strptime(text, pattern.replace("%_ms", "%f"))  # noqa: DTZ007 - UTC is put in
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def kind_of(said: Any) -> str:
    kinds = said.get("type") if isinstance(said, dict) else None
    listed = kinds if isinstance(kinds, list) else [kinds]
    return next((k for k in listed if k != "null"), "") or ""


def _key_value(said: Any, n: int, of: str) -> Any:
    plain, form = re.sub(r"\W", "", of)[-30:], said.get("format") if isinstance(said, dict) else ""
    if form == "date-time":
        return (first_day() - timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if form == "date":
        return (first_day() - timedelta(days=n % _MOST_DAYS)).strftime("%Y-%m-%d")
    return n if kind_of(said) in ("integer", "number") else f"k{plain}{n}"


def _value(name: str, said: Any, n: int, within: int) -> Any:
    kind, form = kind_of(said), said.get("format") if isinstance(said, dict) else None
    if form in ("date-time", "date") and kind in ("", "string"):
        return at(within).strftime("%Y-%m-%d" if form == "date" else "%Y-%m-%dT%H:%M:%SZ")
    if kind == "object" and isinstance(said.get("properties"), dict):
        inner = said["properties"].items()
        return {str(key): _value(str(key), of, n, within) for key, of in inner} or {"a": n}
    made: dict[str, Any] = {
        "integer": n,
        "number": n + 0.5,
        "boolean": n % 2 == 0,
        "object": {"a": n},
    }
    if kind == "array":
        items = said.get("items")
        return [_value(name, items, n, within)] if isinstance(items, dict) and items else [n]
    return made.get(kind, f"{name} {n}")


def _put(row: Row, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = row.get(part)
        row[part] = inner if isinstance(inner, dict) else {}
        row = row[part]
    row[path[-1]] = value
