"""Child tables while their parents are read: a column of lists that each row takes with it.

The rows of a table stand in a list inside of their parent's row. They are decoded with the types of
the table, and stay in a column of the parent, ``_table_NAME``, as a list of structs. What becomes
of a row (a duplicate, an older version, a row that is read again) so becomes of its children. The
commit takes the column apart (``pipeline.run.child_tables``); no file of a partition has it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from pipeline.decode import exact_json
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.error_words import NoRowsReason
from pipeline.decode.inferred_columns import map_items
from pipeline.decode.json_decoder import JsonDecoder, JsonFormat
from pipeline.decode.row_misfits import RowsMisfit
from pipeline.decode.row_selection import Path, Row, rows_of_value
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.errors import ContractBroken
from pipeline.messages import Body

_PREFIX: Final = "_table_"
ROW_NUMBER: Final = "_number_in_list"
"""In a list: the number of the row, from 0."""


def list_column(table: str) -> str:
    """The column in which the rows of a table lie in their parent's row."""
    return _PREFIX + table


def without_lists(schema: pa.Schema, tables: Iterable[str]) -> pa.Schema:
    """The schema without the columns of tables."""
    names = {*map(list_column, tables)}
    return pa.schema([field for field in schema if field.name not in names])


@dataclass(frozen=True)
class NestedTable:
    """A child table.

    :ivar path: to the list, inside a row.
    :ivar shape: of its rows; ``shape.rows`` says the form of what is at the path.
    :ivar finish: what is done to rows before they leave the decoder.
    """

    name: str
    path: Path
    shape: Shape
    finish: Callable[[pa.Table], pa.Table] = lambda rows: rows

    @property
    def column(self) -> Column:
        """The column of the parent that has the list as the API sent it."""
        return Column(list_column(self.name), parse_type("json"), self.path, aside=True)


class _Lists:
    """The lists of one table, from the text of the API to structs."""

    def __init__(self, table: NestedTable, known: pa.Schema | None, label: str) -> None:
        self._table = table
        self._label = f"{label}/{table.name}"
        self._rows = JsonDecoder(JsonFormat(), table.shape, known, label=self._label)
        self.column = list_column(table.name)

    @property
    def type(self) -> pa.DataType:
        """The type of the column now."""
        return pa.list_(pa.struct([pa.field(ROW_NUMBER, pa.int64()), *self._rows.schema]))

    def decoded(self, page: DecodedPage) -> DecodedPage:
        """The page with the lists as lists of structs."""
        at = page.table.schema.get_field_index(self.column)
        rows: list[Row] = []
        numbers: list[int] = []
        offsets: list[int | None] = []
        for number, value in enumerate(self._values(page.table.column(at))):
            if value is None:
                offsets.append(None)
                continue
            offsets.append(len(rows))
            items = self._items(value, page.table, number)
            rows += items
            numbers += range(len(items))
        children = self._rows.page_of(rows)
        table = self._table.finish(children.table).combine_chunks()
        columns = [pa.array(numbers, pa.int64())]
        columns += [_one_chunk(column) for column in table.columns]
        fields = [pa.field(ROW_NUMBER, pa.int64()), *table.schema]
        structs = pa.StructArray.from_arrays(columns, fields=fields)
        lists = pa.ListArray.from_arrays(pa.array([*offsets, len(rows)], pa.int32()), structs)
        with_lists = page.table.set_column(at, self.column, lists)
        counts = {f"{self._table.name}.{name}": n for name, n in children.converted.items()}
        naive = {f"{self._table.name}.{name}" for name in children.naive_columns}
        return replace(
            page,
            table=with_lists,
            arrow_bytes=with_lists.get_total_buffer_size(),
            converted=Counter(page.converted) + Counter(counts),
            naive_columns=page.naive_columns | naive,
        )

    def _values(self, texts: pa.ChunkedArray) -> list[Any]:
        joined = ",".join(text or "null" for text in texts.to_pylist())
        values = exact_json.parse(f"[{joined}]".encode(), ConversionCounts())
        assert isinstance(values, list)
        return values

    def _items(self, value: object, parents: pa.Table, number: int) -> list[Row]:
        """:raises ContractBroken: names the row whose value has another form."""
        try:
            return rows_of_value(value, self._table.shape.rows)
        except RowsMisfit as misfit:
            name = "id" if "id" in parents.column_names else parents.column_names[0]
            key = parents.column(name)[number].as_py()
            label = f"{self._label}, in the row with `{name}` = {exact_json.shorten(key, 40)}"
            raise misfit.sentence(label, None, ".".join(self._table.path)) from None

    def conformed(self, column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
        """The lists in a ``type`` that was taken after they were decoded."""
        schema = pa.schema([field for field in to.value_type if field.name != ROW_NUMBER])

        def structs(items: pa.StructArray) -> pa.Array:
            table = pa.Table.from_struct_array(items)
            rows = self._rows.conform(table.drop_columns([ROW_NUMBER]), schema)
            columns = [table.column(ROW_NUMBER), *rows.select(schema.names).columns]
            arrays = [_one_chunk(each) for each in columns]
            return pa.StructArray.from_arrays(arrays, fields=[*to.value_type])

        chunks = [c if c.type == to else map_items(c, structs) for c in column.chunks]
        return pa.chunked_array(chunks, to)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


class NestedTablesDecoder(Decoder):
    """A decoder whose pages have the rows of child tables besides, in a column a table.

    :param rows: decodes the rows of the endpoint; its shape has the ``column`` of each table.
    :param known: by table, the schema of its rows so far.
    """

    def __init__(
        self, rows: Decoder, tables: Sequence[NestedTable], known: Mapping[str, pa.Schema]
    ) -> None:
        self._decoder = rows
        self.format, self.shape, self.label = rows.format, rows.shape, rows.label
        self.inferred = rows.inferred
        of = (_Lists(table, known.get(table.name), rows.label) for table in tables)
        self._lists = {lists.column: lists for lists in of}
        self._names = [table.name for table in tables]

    def read(self, body: Body) -> DecodedPage:
        return self._with_lists(self._decoder.read(body))

    @property
    def reads_together(self) -> bool:
        return self._decoder.reads_together

    def read_together(self, bodies: Sequence[Body]) -> list[DecodedPage] | None:
        pages = self._decoder.read_together(bodies)
        try:
            return None if pages is None else [self._with_lists(page) for page in pages]
        except ContractBroken:  # `read` says of which page
            return None

    def reason_for_no_rows(self, body: Body, *, messages: bool) -> NoRowsReason | None:
        return self._decoder.reason_for_no_rows(body, messages=messages)

    def _with_lists(self, page: DecodedPage) -> DecodedPage:
        for lists in self._lists.values():
            page = lists.decoded(page)
        return page

    @property
    def schema(self) -> pa.Schema:
        schema = without_lists(self._decoder.schema, self._names)
        for name, lists in self._lists.items():
            schema = schema.append(pa.field(name, lists.type))
        return schema

    def conform(self, table: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
        schema = self.schema if schema is None else schema
        columns = {n: table.column(n) for n in table.column_names if n in self._lists}
        rows = self._decoder.conform(
            table.drop_columns([*columns]), without_lists(schema, self._names)
        )
        others = [name for name in rows.column_names if name not in schema.names]
        for name, lists in self._lists.items():
            to = schema.field(name).type
            column = columns.get(name, pa.chunked_array([pa.nulls(table.num_rows, to)]))
            rows = rows.append_column(pa.field(name, to), lists.conformed(column, to))
        return rows.select([*schema.names, *others])
