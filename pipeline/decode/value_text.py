"""A value of a column as a person writes it, for previews and tools. No file is written with it."""

import json
from datetime import date, datetime, time


def value_text(value: object) -> str:
    """JSON for lists and objects, ISO 8601 for times, hexadecimal digits for bytes.

    >>> value_text([{"sku": "é", "at": datetime(2026, 11, 1)}])
    '[{"sku": "é", "at": "2026-11-01T00:00:00"}]'
    >>> value_text(None)
    ''
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, ensure_ascii=False, default=value_text)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
