"""One schema for the files of several partitions: the widest type of each column, losing nothing.

Numbers become wider numbers, structs get the members of both. Where a column is text in one
partition and a single value in another (a number that became a code with letters), it is read as
text: every value has a text that gives it back.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from pipeline.errors import ContractBroken

_TEXTS: Final = (pa.types.is_string, pa.types.is_large_string)
_HAVE_A_TEXT: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_temporal,
)


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all schemas, in the order in which they come.

    >>> one, two = pa.schema([("ref", pa.int64())]), pa.schema([("ref", pa.string())])
    >>> common_schema([one, two]).field("ref").type
    DataType(string)

    :raises ContractBroken: a column's types have nothing in common.
    """
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            try:
                types[field.name] = _common(types.get(field.name, field.type), field.type)
            except pa.ArrowTypeError as error:
                raise no_common_type(f"column `{field.name}`: {error}") from error
    return pa.schema(list(types.items()))


def no_common_type(found: object) -> ContractBroken:
    """What a reader raises of partitions that don't go together."""
    return ContractBroken(
        f"These partitions can't be read as one table: {found}. Check: 1. read the partitions"
        " apart; 2. declare the column's type and materialize the older partitions again."
    )


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other:
        return one
    if _is_list(one) and _is_list(other):
        return pa.list_(_common(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        members = {field.name: field.type for field in one}
        for field in other:
            members[field.name] = _common(members.get(field.name, field.type), field.type)
        return pa.struct(list(members.items()))
    for text, value in ((one, other), (other, one)):
        if any(is_text(text) for is_text in _TEXTS) and any(has(value) for has in _HAVE_A_TEXT):
            return text
    fields = [pa.schema([pa.field("x", each)]) for each in (one, other)]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field("x").type
    except pa.ArrowTypeError:
        raise pa.ArrowTypeError(f"its types are {one} and {other}") from None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
