"""Tables as the bytes of one Parquet file: the same tables give the same bytes.

zstd level 1, with a checksum of each page; each table is a row group, or some of 50,000 to 100,000
rows; dictionaries only where values repeat, as building one for a column of distinct values costs
time and makes the file larger.

Files of several partitions are read under one schema: the widest type of each column, losing
nothing. Numbers become wider numbers, structs get the members of both. Where a column is text in
one partition and a single value in another (a number that became a code with letters), it is read
as text: every value has a text that gives it back.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import ContractBroken

ROW_GROUP_ROWS: Final = 50_000  # at least, if there are as many
_SAMPLE_ROWS: Final = 5_000
_COUNTED: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_temporal,
)
_DISTINCT_PART: Final = 0.1  # of the sampled values: at most so many may be distinct


class ParquetBuffer:
    """A Parquet file, held in memory as its bytes, that grows by row groups of one schema."""

    def __init__(self, schema: pa.Schema, with_dictionary: list[str]) -> None:
        """:param with_dictionary: the ``repetitive_columns`` of rows like those to come."""
        self.rows = 0
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=with_dictionary,
            write_statistics=True,
            write_page_checksum=True,
        )

    def add(self, table: pa.Table) -> None:
        """A row group of its own, or several of a large table."""
        groups = max(1, table.num_rows // ROW_GROUP_ROWS)
        self._writer.write_table(table, max(1, -(-table.num_rows // groups)))
        self.rows += table.num_rows

    @property
    def held_bytes(self) -> int:
        return int(self._sink.tell())

    def close(self) -> pa.Buffer:
        """The whole file."""
        self._writer.close()
        return self._sink.getvalue()


def encode(table: pa.Table) -> pa.Buffer:
    """The Parquet file that holds the table."""
    file = ParquetBuffer(table.schema, repetitive_columns(table))
    file.add(table)
    return file.close()


def repetitive_columns(table: pa.Table) -> list[str]:
    """The leaf columns, by their path in Parquet, that a dictionary makes smaller."""
    sample = table.slice(0, _SAMPLE_ROWS)
    paths: list[str] = []
    for name in table.column_names:
        for path, values in _leaves(name, sample.column(name).combine_chunks()):
            present = len(values) - values.null_count
            if present and pc.count_distinct(values).as_py() <= max(1, present * _DISTINCT_PART):
                paths.append(path)
    return paths


def _leaves(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = values.type
    if pa.types.is_struct(kind):
        for field, child in zip(kind, values.flatten(), strict=True):
            yield from _leaves(f"{path}.{field.name}", child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(f"{path}.list.element", values.flatten())
    elif any(is_kind(kind) for is_kind in _COUNTED):
        yield path, values


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


def no_common_type(problem: object) -> ContractBroken:
    """The error that a reader raises for partitions that don't go together."""
    return ContractBroken(
        f"These partitions can't be read as one table: {problem}. Check: 1. read the partitions"
        " apart; 2. declare the column's type and materialize the older partitions again."
    )


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if first == second:
        return first
    if _is_list(first) and _is_list(second):
        return pa.list_(_common(first.value_type, second.value_type))
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        members = {field.name: field.type for field in first}
        for field in second:
            members[field.name] = _common(members.get(field.name, field.type), field.type)
        return pa.struct(list(members.items()))
    for text, value in ((first, second), (second, first)):
        if any(is_text(text) for is_text in _TEXTS) and any(has(value) for has in _HAVE_A_TEXT):
            return text
    fields = [pa.schema([pa.field("x", each)]) for each in (first, second)]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field("x").type
    except pa.ArrowTypeError:
        raise pa.ArrowTypeError(f"its types are {first} and {second}") from None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
