"""JSON Schema to declared column types."""

from collections.abc import Mapping
from typing import Any

_SCALARS = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
_FORMATS = {"date-time": "timestamp[iso]", "date": "date"}


def column_types(schema: Any) -> dict[str, str]:
    """The columns that a schema names plainly; one of several types is left to inference."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    types = {str(name): column_type(spec) for name, spec in properties.items()}
    return {name: kind for name, kind in types.items() if kind is not None}


def column_type(schema: Any) -> str | None:
    """The type of one column; None if the schema does not say it."""
    if not isinstance(schema, Mapping):
        return None
    forms = [form for form in schema.get("oneOf") or schema.get("anyOf") or [] if form != _NULL]
    if forms and "type" not in schema:
        return column_type(forms[0]) if len(forms) == 1 else None
    declared = schema.get("type")
    kinds = [
        kind for kind in (declared if isinstance(declared, list) else [declared]) if kind != "null"
    ]
    if len(kinds) != 1:
        return None
    kind = kinds[0]
    if kind in ("object", "array"):
        return "json"
    if kind == "string":
        return _FORMATS.get(str(schema.get("format")), "string")
    return _SCALARS.get(str(kind))


_NULL = {"type": "null"}
