"""A schema as text and back: ``[{"name", "type"}]`` in manifests and in Dagster's column schema."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from pipeline.decode.types import INSTANT, member_text, parse_type

_INSTANT_TEXT = "timestamp[us, UTC]"


def type_text(kind: pa.DataType) -> str:
    """A landed type in the words of the YAML, but for instants: ``timestamp[us, UTC]``."""
    if kind == INSTANT:
        return _INSTANT_TEXT
    if pa.types.is_date32(kind):
        return "date"
    if pa.types.is_list(kind):
        return f"list<{type_text(kind.value_type)}>"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{member_text(f.name)}: {type_text(f.type)}" for f in kind)
        return f"struct<{inner}>"
    return str(kind)


def describe(schema: pa.Schema) -> list[dict[str, str]]:
    """The columns of a schema, in order."""
    return [{"name": field.name, "type": type_text(field.type)} for field in schema]


def schema_of(columns: Iterable[Mapping[str, str]]) -> pa.Schema:
    """The schema that ``describe`` described."""
    fields = []
    for column in columns:
        text = column["type"].replace(_INSTANT_TEXT, "timestamp[us]")
        fields.append(pa.field(column["name"], parse_type(text).arrow))
    return pa.schema(fields)
