"""JSON pages to Arrow tables, with a schema that evolves.

A page takes the fast way (``fast_path``: pyarrow reads the declared and the known types from the
bytes). What does not fit takes the exact way (``exact_json``, ``coerce``): converted without loss
and counted, or refused with a sentence. Inferred types follow the semilattice of ``type_lattice``,
so the schema at the end does not depend on the order in which pages are read.

    the page                                         outcome
    empty, HTML, cut short, not JSON                 BadBody: the client sends it again
    no rows at the path, an error object             ContractBroken, with what it says
    a value that fits only with loss                 ContractBroken, with column, row and remedy
    a new member, int → double, a struct that gains  the schema evolves (freeze: ContractBroken)
    text where numbers were, a list where scalars    ContractBroken
    over max_body_bytes, max_depth, max_columns      ContractBroken

``contract: freeze`` compares with the ``known`` schema; without one there is nothing to compare
with, and the first partition makes it.
"""

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import pyarrow as pa

from pipeline.body import Body
from pipeline.decode import body_checks, exact_json, exact_path, fast_path, type_lattice
from pipeline.decode.body_checks import BadBody, ConversionCounts
from pipeline.decode.exact_json import TooDeep
from pipeline.decode.shape import Column, DecodedPage, Shape, extra_in, pages_of, rows_in, table_of
from pipeline.decode.types import from_arrow
from pipeline.errors import ContractBroken

__all__ = ["BadBody", "Column", "DecodedPage", "PageReader", "Shape"]

_MISFITS: Final = (pa.ArrowException, fast_path.NotFastReadable, KeyError)
"""A page that does not fit the fast way."""
_MOSTLY_APART: Final = 4
"""After this many more failures than successes pages are no longer read together."""
_FACTS: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


class PageReader:
    """Reads the pages of one endpoint, in any order and from any thread; holds the schema.

    :param known: the schema so far (the last manifest's). Of it, inferred columns are kept.
    :param where: ``source/endpoint``, for the sentences of errors.
    """

    def __init__(self, shape: Shape, known: pa.Schema | None = None, *, where: str) -> None:
        self._shape = shape
        self._where = where
        self._lock = threading.Lock()
        kept = [field for field in known or () if shape.infers(field.name)]
        self._seen = {field.name: type_lattice.as_inferred(field.type) for field in kept}
        self._frozen = dict(self._seen) if known and shape.contract == "freeze" else None
        self._separable = fast_path.separable(shape)
        self._plan: fast_path.FastReadPlan | None = (
            None  # made of all above; None: to be made again
        )
        self._facts: dict[str, pa.DataType] = {}  # how the extras were typed last
        self._joined: pa.Schema | None = None  # of the last page: its like brings nothing new
        self._raw: pa.DataType | None = None  # how the last inferred body was typed
        self._made: tuple[pa.DataType, pa.DataType, pa.DataType] | None = None
        self._apart = 0

    def read(self, body: Body) -> DecodedPage:
        """One page. BadBody if a re-send may help, else ContractBroken; nothing else."""
        if len(body) > self._shape.max_body_bytes:
            limit = self._shape.max_body_bytes
            raise self._broken(
                f"the body has {len(body):,} bytes, at most {limit:,} are read: ask for less"
            )
        tally = ConversionCounts()
        try:
            body_checks.looks_like_json(body)
            body = body_checks.clean_utf8(body, tally)
            table, extras, converted = self._table(body)
        except BadBody as bad:
            raise BadBody(f"{self._where}: {bad}") from None
        except (TooDeep, RecursionError):
            raise self._broken("the body is nested over 1,000 levels deep") from None
        exact_path.check_nulls(table, self._shape.columns, self._where)
        self._evolve(table)
        return DecodedPage(table, extras, tally + converted, table.get_total_buffer_size())

    @property
    def reads_together(self) -> bool:
        """False once it was mostly in vain."""
        return self._apart <= _MOSTLY_APART

    def read_together(self, bodies: Sequence[Body]) -> list[DecodedPage] | None:
        """Several pages in one go, at a part of the cost; None: they have to be read one by one.

        So it is with all that is not as the pages before it: what is to be said of a page is said
        by ``read``.
        """
        if not self.reads_together:
            return None
        tally = ConversionCounts()
        try:
            for body in bodies:
                body_checks.looks_like_json(body)
            clean = [body_checks.clean_utf8(body, tally) for body in bodies]
            table, extras, rows = self._fast(clean, tally)
            exact_path.check_nulls(table, self._shape.columns, self._where)
            self._evolve(table)
        except (BadBody, ContractBroken, TooDeep, RecursionError, *_MISFITS):
            self._apart += 1
            return None
        self._apart = max(0, self._apart - 1)
        return pages_of(table, extras, rows, tally)

    @property
    def schema(self) -> pa.Schema:
        """Declared columns in their order, then the inferred ones that hold values, by name."""
        declared = [pa.field(c.name, c.type.arrow, c.nullable) for c in self._shape.columns]
        return pa.schema([*declared, *self._settled().items()])

    def conform(self, table: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
        """The table in the current schema: missing columns as nulls, whole numbers as doubles, …

        Columns that the schema does not have (``_extracted_at``) stay, at the end.

        :param schema: a ``schema`` of this reader taken after the tables were read, for tables that
            must all look alike while other threads read on.
        """
        schema = self.schema if schema is None else schema
        columns = [self._as_known(table, field) for field in schema]
        for field in table.schema:
            if (
                schema.get_field_index(field.name) < 0
                and type_lattice.settled(field.type) is not None
            ):
                columns.append(table.column(field.name))
                schema = schema.append(field)
        return pa.table(columns, schema=schema) if columns else table.select([])

    def _as_known(self, table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        if table.schema.get_field_index(field.name) < 0:
            return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        column = table.column(field.name)
        if column.type == field.type:
            return column
        try:
            chunks = [type_lattice.adapt(chunk, field.type) for chunk in column.chunks]
        except type_lattice.TypeConflict as conflict:
            raise ValueError(
                f"{field.name}: the schema is older than the table: {conflict}"
            ) from None
        except ValueError as error:
            raise self._broken(
                f"column {field.name} is {field.type} now, and an earlier page has {error}: "
                f"declare {field.name}: string, json or the whole number's type in the YAML"
            ) from None
        return pa.chunked_array(chunks, field.type)

    def _table(self, body: Body) -> tuple[pa.Table, Mapping[str, object], Counter[str]]:
        tally = ConversionCounts()
        try:
            table, (extras,), _ = self._fast([body], tally)
            return table, extras, tally
        except _MISFITS:
            tally = ConversionCounts()
            table, extras = self._exact(body, tally)
            return table, extras, tally

    def _fast(
        self, bodies: Sequence[Body], tally: ConversionCounts
    ) -> tuple[pa.Table, list[dict[str, object]], list[int]]:
        """The rows of all bodies, and of each its scalar facts and how many rows it has."""
        shape, plan = self._shape, self._current_plan()
        read = self._read_bytes(bodies, plan.body)
        rows, each = fast_path.rows_of(read, shape)
        members = fast_path.members_of(rows)
        columns = {}
        for column in plan.columns:
            tally.column = column.name
            array = fast_path.member(rows, members, column.path)
            columns[column.name] = fast_path.land(array, column.type, tally)
        if len(columns) < len(shape.columns):
            parsed = [row for body in bodies for row in self._rows_in(body, tally)]
            for column in shape.columns:
                if column.name not in columns:
                    columns[column.name] = exact_path.declared_column(
                        parsed, column, tally, self._where
                    )
        for name in filter(shape.infers, members):
            tally.column = name
            array = fast_path.land(members[name], from_arrow(members[name].type), tally)
            columns[name] = type_lattice.adapt(array, type_lattice.as_inferred(array.type))
        in_object = pa.types.is_struct(read.type)
        found = {
            name: fast_path.at(read, path).to_pylist() if in_object else [None] * len(bodies)
            for name, path in shape.extras.items()
        }
        extras = [{name: of[at] for name, of in found.items()} for at in range(len(bodies))]
        return table_of(columns, shape, len(rows)), extras, each

    def _rows_in(self, body: Body, tally: ConversionCounts) -> list[dict[str, object]]:
        return rows_in(exact_json.parse(body, tally), self._shape, self._where)

    def _current_plan(self) -> fast_path.FastReadPlan:
        with self._lock:
            if self._plan is None:
                inferred = {
                    n: of for n, of in self._settled().items() if type_lattice.inferable(of)
                }
                self._plan = fast_path.plan(self._shape, self._separable, inferred, self._facts)
            return self._plan

    def _learn(self, value: object, odd: Collection[str]) -> None:
        """What a page that took the exact way tells about those to come: it is for speed only."""
        types = {name: _FACTS.get(type(fact)) for name, fact in self._extras(value).items()}
        facts = {name: of for name, of in types.items() if of is not None}
        with self._lock:
            self._facts = self._facts | facts
            self._separable = tuple(c for c in self._separable if c.name not in odd)
            self._plan = None

    def _extras(self, value: object) -> dict[str, object]:
        return {name: extra_in(value, path) for name, path in self._shape.extras.items()}

    def _read_bytes(self, bodies: Sequence[Body], known: pa.DataType) -> pa.Array:
        """The bodies as pyarrow reads them; an error at what doesn't fit, or isn't safe to infer.

        What is new is learned from one body alone.
        """
        shape, raw = self._shape, self._raw
        if not shape.infer:
            return fast_path.read_bytes(bodies, known, "ignore")
        if raw is not None:
            try:
                return fast_path.read_bytes(bodies, self._expected(raw, known), "error")
            except pa.ArrowException:
                pass  # something new
        if len(bodies) > 1:
            raise fast_path.NotFastReadable("something new")
        (body,) = bodies
        if not body_checks.safe_to_infer(
            body, max_depth=shape.max_depth, max_columns=shape.max_columns
        ):
            raise fast_path.NotFastReadable("too deep or too wide to infer")
        read = fast_path.read_bytes(bodies, known, "infer")
        if type_lattice.guessed_time(read.type):
            read = fast_path.read_bytes(bodies, type_lattice.as_text(read.type), "error")
        self._raw = fast_path.remember(raw, read.type, shape.max_columns)
        return read

    def _expected(self, raw: pa.DataType, known: pa.DataType) -> pa.DataType:
        """The type of a body like those so far; made anew when one of the two is another."""
        made = self._made
        if made is None or made[0] is not raw or made[1] is not known:
            self._made = made = (raw, known, fast_path.overlay(raw, known))
        return made[2]

    def _exact(self, body: Body, tally: ConversionCounts) -> tuple[pa.Table, dict[str, object]]:
        shape, where = self._shape, self._where
        value = exact_json.parse(body, tally)
        extras = self._extras(value)
        # What has an error need not have rows: whoever reads the page says so.
        rows = [] if extras.get("error") else rows_in(value, shape, where)
        columns = {}
        for column in shape.columns:
            columns[column.name] = exact_path.declared_column(rows, column, tally, where)
        for name in filter(shape.infers, set().union(*rows)):
            known = self._seen.get(name, pa.null())
            columns[name] = exact_path.inferred_column(rows, name, known, tally, where)
        self._learn(value, tally.keys())
        return table_of(columns, shape, len(rows)), extras

    def _evolve(self, table: pa.Table) -> None:
        """Join the page's inferred types to those seen so far."""
        shape = self._shape
        if not shape.infer:
            return
        with self._lock:
            if self._joined is not None and self._joined.equals(table.schema):
                return
            seen = dict(self._seen)
            for field in table.schema:
                if not shape.infers(field.name):
                    continue
                old = seen.get(field.name, pa.null())
                try:
                    seen[field.name] = type_lattice.join(old, field.type)
                except type_lattice.TypeConflict:
                    exact_path.check_table_joins(table, field.name, old, self._where)
                if self._frozen is not None:
                    exact_path.check_frozen(self._frozen, field.name, field.type, self._where)
            if seen != self._seen:
                exact_path.check_limits(seen, shape, self._where)
                self._seen, self._plan = seen, None
            self._joined = table.schema

    def _settled(self) -> dict[str, pa.DataType]:
        """The inferred columns that hold values, by name."""
        types = ((name, type_lattice.settled(of)) for name, of in sorted(self._seen.items()))
        return {name: of for name, of in types if of is not None}

    def _broken(self, sentence: str) -> ContractBroken:
        return ContractBroken(f"{self._where}: {sentence}")
