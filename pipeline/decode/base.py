"""The family of decoders: from the bytes of a page to an Arrow table.

A kind has two halves. A ``Format`` is what the YAML says (``format: {kind: json}``): frozen, one
for an endpoint. A ``Decoder`` decodes the pages of that endpoint in one run, and holds the schema
that they have so far.

The whole of a kind, for rows like ``id;name`` with a line of names above them:

    from typing import ClassVar, Literal

    import pyarrow as pa

    from pipeline.decode.base import DECODERS, DecodedPage, Decoder, Format
    from pipeline.decode.body_checks import BadBody, ConversionCounts, clean_utf8
    from pipeline.decode.row_selection import Row
    from pipeline.decode.shape import Shape
    from pipeline.messages import Body


    @DECODERS.register("semicolons")
    class SemicolonFormat(Format):
        '''Rows of cells with semicolons between them.'''

        kind: Literal["semicolons"] = "semicolons"
        accept: ClassVar[str] = "text/csv"

        def check(self, body: Body) -> None:
            if b";" not in bytes(body[:4096]):
                raise BadBody("expected rows with semicolons, found none")

        def value_at(self, body: Body, path: tuple[str, ...]) -> object:
            return str(body, "utf-8").strip()  # a count's body is the number alone

        def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> Decoder:
            return SemicolonDecoder(self, shape, known, label=label)


    class SemicolonDecoder(Decoder):
        def read(self, body: Body) -> DecodedPage:
            counts = ConversionCounts()
            try:
                self.check(body)
                rows = self._rows(str(clean_utf8(body, counts), "utf-8"))
            except BadBody as error:
                raise self.bad(error) from None  # with the endpoint's name
            return self.page_of(rows, conversions=counts)

        def _rows(self, text: str) -> list[Row]:
            names, *lines = [line.split(";") for line in text.splitlines()]
            for line in lines:
                if len(line) != len(names):  # the last row of a body that was cut is short
                    raise BadBody(f"expected {len(names)} cells, got {line}")
            return [dict(zip(names, line, strict=True)) for line in lines]

Cells that come as text fit declared columns of numbers and times (``coerce``). Where a decoder
lives is of no matter, as long as its module is imported before the sources are loaded.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from pipeline.decode import exact_path, inferred_columns
from pipeline.decode.body_checks import BadBody, ConversionCounts
from pipeline.decode.error_words import NoRowsReason, too_many_requests_in
from pipeline.decode.inferred_columns import InferredColumns
from pipeline.decode.row_selection import Row
from pipeline.decode.shape import Shape
from pipeline.errors import ContractBroken
from pipeline.kinds import Kinds
from pipeline.messages import Body


@dataclass(frozen=True)
class DecodedPage:
    """A page, decoded.

    :param table: declared columns, then inferred ones by name. An inferred column whose values are
        all null or empty is there in a pending type; ``Decoder.conform`` settles it.
    :param extras: values of the body outside the rows, by the names of ``Shape.extras``; None where
        absent.
    :param converted: how many cells of each column were converted.
    :param arrow_bytes: of the table; of a page decoded together with others, its share by rows.
    :param items: what the API counts as rows: more or fewer than the table has where an item of
        its list is several rows, or null.
    :param naive_columns: those with times without an offset.
    """

    table: pa.Table
    extras: Mapping[str, object]
    converted: Counter[str]
    arrow_bytes: int
    items: int
    naive_columns: frozenset[str] = frozenset()


class Format(BaseModel, ABC):
    """The format of a page's bytes in the YAML: the model of one kind of decoder.

    :cvar accept: the ``Accept`` header of requests, unless the YAML sets one.
    :cvar has_paths: a body has values at paths, so that ``rows`` and ``as`` mean something.
    :cvar shows_end: a body that is cut short is never one of this format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    accept: ClassVar[str]
    has_paths: ClassVar[bool] = True
    shows_end: ClassVar[bool] = False
    kind: str

    @abstractmethod
    def check(self, body: Body) -> None:
        """Look at the body's bytes, cheaply.

        :raises BadBody: the body is not of this format, or cut short. The client retries.
        """

    @abstractmethod
    def value_at(self, body: Body, path: tuple[str, ...]) -> object:
        """The value at a path of a body without rows, such as the response to a count.

        :raises BadBody: the body is not of this format. :raises KeyError, TypeError: no such path.
        """

    @abstractmethod
    def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> "Decoder":
        """A decoder for the pages of one endpoint.

        :param known: the schema so far (of the last manifest).
        :param label: ``source/endpoint``, for errors.
        """


DECODERS: Final[Kinds[Format]] = Kinds("format", Format)  # type: ignore[type-abstract]
"""The kinds of decoders, by the name that YAML calls them by."""


class Decoder(ABC):
    """Decodes the pages of one endpoint, in any order and from any thread; holds their schema."""

    def __init__(
        self, format: Format, shape: Shape, known: pa.Schema | None = None, *, label: str
    ) -> None:
        self.format, self.shape, self.label = format, shape, label
        self.inferred = InferredColumns(shape, known, label)

    @abstractmethod
    def read(self, body: Body) -> DecodedPage:
        """Decode one page.

        :raises BadBody: a retry of the request may help. :raises ContractBroken: no retry helps.
        """

    @property
    def reads_together(self) -> bool:
        """Whether pages are worth collecting for ``read_together``."""
        return False

    def read_together(self, bodies: Sequence[Body]) -> list[DecodedPage] | None:
        """Decode several pages in one go, at a part of the cost; None: read them one by one."""
        return None

    def check(self, body: Body) -> None:
        """Check a body before it is decoded.

        :raises BadBody: as ``Format.check``. :raises ContractBroken: the body is too large.
        """
        limit = self.shape.max_body_bytes
        if len(body) > limit:
            raise self.broken(
                f"the body has {len(body):,} bytes, expected at most {limit:,}. Set fewer rows "
                "a page (`paging.limit`), or allow more (`limits.max_body_mb`)"
            )
        self.format.check(body)

    def reason_for_no_rows(self, body: Body, *, messages: bool) -> NoRowsReason | None:
        """The member of a body without rows that says why it has none: an error, or not ready yet.

        For formats whose bodies have more than rows in them; others have none.

        :param messages: a message alone counts as an error, too.
        """
        return None

    def too_many_requests(self, body: Body) -> NoRowsReason | None:
        """The code by which a body that could not be used says that too many requests came.

        An API may say so in JSON, whatever the format of its rows.
        """
        return too_many_requests_in(body)

    def page_of(
        self,
        rows: Sequence[Row],
        extras: Mapping[str, object] | None = None,
        conversions: ConversionCounts | None = None,
    ) -> DecodedPage:
        """The page of parsed rows: for formats that parse rows in Python.

        :param conversions: those of the body's text, if any: the rows' own are added to them.
        :raises ContractBroken: names the cell that doesn't fit.
        """
        conversions = ConversionCounts() if conversions is None else conversions
        table = exact_path.table_of_rows(rows, self.shape, self.inferred, conversions, self.label)
        return self.finished(table, extras or {}, conversions)

    def finished(
        self,
        table: pa.Table,
        extras: Mapping[str, object],
        conversions: ConversionCounts,
        items: int | None = None,
    ) -> DecodedPage:
        """The page of a decoded table, once its nulls are checked and its types joined.

        :param items: what the API counts as rows; default: the table's rows.
        """
        exact_path.check_nulls(table, self.shape.columns, self.label)
        self.inferred.join(table)
        count = table.num_rows if items is None else items
        arrow_bytes = table.get_total_buffer_size()
        return DecodedPage(
            table, extras, conversions, arrow_bytes, count, conversions.naive_columns
        )

    @property
    def schema(self) -> pa.Schema:
        """Declared columns in their order, then the inferred ones that hold values, by name."""
        declared = [pa.field(c.name, c.type.arrow, c.nullable) for c in self.shape.columns]
        return pa.schema([*declared, *self.inferred.settled().items()])

    def conform(self, table: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
        """The table in the current schema: missing columns as nulls, whole numbers as doubles, …

        Columns that the schema does not have (``_extracted_at``) stay, at the end.

        :param schema: a ``schema`` of this decoder taken after the tables were read, for tables
            that must all look alike while other threads read on.
        """
        schema = self.schema if schema is None else schema
        columns = [self._as_known(table, field) for field in schema]
        for field in table.schema:
            if (
                schema.get_field_index(field.name) < 0
                and inferred_columns.settled(field.type) is not None
            ):
                columns.append(table.column(field.name))
                schema = schema.append(field)
        return pa.table(columns, schema=schema) if columns else table.select([])

    def broken(self, sentence: str) -> ContractBroken:
        """An error about a page of this endpoint."""
        return ContractBroken(f"{self.label}: {sentence}")

    def bad(self, error: BadBody) -> BadBody:
        """The error of a check, with the endpoint's name."""
        return type(error)(f"{self.label}: {error}")

    def _as_known(self, table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        if table.schema.get_field_index(field.name) < 0:
            return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        column = table.column(field.name)
        if column.type == field.type:
            return column
        try:
            chunks = [inferred_columns.adapt(chunk, field.type) for chunk in column.chunks]
        except inferred_columns.TypeConflict as conflict:
            raise ValueError(
                f"{field.name}: the schema is older than the table: {conflict}"
            ) from None
        except ValueError as error:
            raise self.broken(
                f"column `{field.name}` is {field.type} now, and an earlier page has {error}. "
                f"Declare {field.name}: string, json or the whole number's type in the YAML"
            ) from None
        return pa.chunked_array(chunks, field.type)
