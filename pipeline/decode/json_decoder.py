"""JSON pages to Arrow tables: the kind ``json`` of the decoders.

A page takes the fast way (``fast_path``: pyarrow reads the declared and the known types from the
bytes). A page that does not fit takes the exact way (``exact_json``, ``exact_path``): its cells are
converted without loss and counted, or refused with a sentence.

    the page                                         outcome
    empty, cut short, not JSON                       BadBody: the client retries
    HTML, CSV, JSON Lines, compressed, …             OtherFormat: the client retries once
    no rows at the path, an error object             ContractBroken, with its message
    a value that fits only with loss                 ContractBroken, with column, row and remedy
    over max_body_bytes, over 1,000 levels deep      ContractBroken
    other types than the pages before it             see ``inferred_columns``
"""

import json
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, repeat
from typing import ClassVar, Final, Literal, cast

import pyarrow as pa

from pipeline.decode import exact_json, exact_path, fast_path, inferred_columns
from pipeline.decode.base import DECODERS, DecodedPage, Decoder, Format
from pipeline.decode.body_checks import (
    BOM,
    BadBody,
    ConversionCounts,
    CutShort,
    EmptyBody,
    OtherFormat,
    clean_utf8,
    refuse_other_format,
)
from pipeline.decode.error_rows import error_among, rows_without_values
from pipeline.decode.error_words import NoRowsReason, reason_for_no_rows
from pipeline.decode.exact_json import TooDeep
from pipeline.decode.row_selection import Row, SelectedRows, rows_in
from pipeline.decode.shape import NoObject, Shape, extra_in, pruned, table_of
from pipeline.decode.types import from_arrow
from pipeline.errors import CUT, ContractBroken, cut, cut_bytes
from pipeline.messages import Body

_BLANK: Final = b" \t\r\n"
_LAST_OF: Final = {b"[": b"]", b"{": b"}"}
_FIRST_BYTES: Final = b'[{"-0123456789tfnNI'
_MISFITS: Final = (pa.ArrowException, fast_path.NotFastReadable, KeyError)
"""A page that does not fit the fast way."""
_MOST_FAILURES: Final = 4
"""After this many more failures than successes pages are no longer read together."""
_SCALARS: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


@DECODERS.register("json")
class JsonFormat(Format):
    """Pages of JSON (RFC 8259): ``format: json``."""

    kind: Literal["json"] = "json"
    accept: ClassVar[str] = "application/json, */*;q=0.1"
    """JSON by another name (``application/vnd.api+json``) is not refused."""
    shows_end: ClassVar[bool] = True

    def check(self, body: Body) -> None:
        """Check that the first and last characters can be those of a JSON document."""
        first = (bytes(body[:256]).lstrip(_BLANK + BOM) or bytes(body).lstrip(_BLANK + BOM))[:1]
        last = (bytes(body[-256:]).rstrip(_BLANK) or bytes(body).rstrip(_BLANK))[-1:]
        if not first:
            raise EmptyBody("expected JSON, the body is empty")
        if first not in _FIRST_BYTES:
            refuse_other_format(body, "JSON")
        if first in _LAST_OF and last != _LAST_OF[first]:
            raise _wrong_end(body)
        if first not in _FIRST_BYTES:
            raise BadBody(f"expected JSON, the body starts with {_start_of(body)}")

    def value_at(self, body: Body, path: tuple[str, ...]) -> object:
        counts = ConversionCounts()
        try:
            value = exact_json.parse(clean_utf8(body, counts), counts)
        except (TooDeep, RecursionError):
            raise ContractBroken("the response is nested over 1,000 levels deep") from None
        except BadBody as error:
            raise _named(body, error) from None
        for part in path:
            value = value[part]  # type: ignore[index]  # TypeError is in the contract
        return value

    def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> Decoder:
        return JsonDecoder(self, shape, known, label=label)


class JsonDecoder(Decoder):
    """Decodes the JSON pages of one endpoint."""

    def __init__(
        self, format: Format, shape: Shape, known: pa.Schema | None = None, *, label: str
    ) -> None:
        super().__init__(format, shape, known, label=label)
        self._lock = threading.Lock()
        self._separable = fast_path.separable(shape)
        self._plan: fast_path.FastReadPlan | None = None  # None: to be made again
        self._plan_version = 0  # of the inferred columns that the plan was made for
        self._extra_types: dict[str, pa.DataType] = {}
        self._raw: pa.DataType | None = None  # the type of the last body that was inferred
        self._overlaid: tuple[pa.DataType, pa.DataType, pa.DataType] | None = None
        self._failures = 0  # of reading together, less its successes

    def read(self, body: Body) -> DecodedPage:
        conversions = ConversionCounts()
        try:
            self.check(body)
            body = clean_utf8(body, conversions)
            table, extras, converted, items = self._table(body)
            self._refuse_odd_rows(table, body)
        except BadBody as error:
            raise self.bad(_named(body, error)) from None
        except (TooDeep, RecursionError):
            raise self.broken("the body is nested over 1,000 levels deep") from None
        return self.finished(table, extras, conversions.with_those_of(converted), items)

    def _refuse_odd_rows(self, table: pa.Table, body: Body) -> None:
        """:raises ContractBroken: an error stands in the place of a row, or a member of another
        spelling in that of a column that every row has."""
        places, absent = (
            rows_without_values(table, self.shape),
            exact_path.absent(table, self.shape),
        )
        try:
            rows = self._rows_in(body, ConversionCounts()) if places or absent else []
        except (BadBody, TooDeep, RecursionError):  # pyarrow has passed over what is too deep
            return
        error = error_among(rows, places, self.shape, self.inferred.settled())
        if error := error or exact_path.other_spelling(rows, absent):
            raise self.broken(error)

    def reason_for_no_rows(self, body: Body, *, messages: bool) -> NoRowsReason | None:
        counts = ConversionCounts()
        value = exact_json.parse(clean_utf8(body, counts), counts)
        return reason_for_no_rows(value, self.shape.rows.path, messages=messages)

    @property
    def reads_together(self) -> bool:
        """False after too many failures, and for rows that the fast way does not read."""
        return self._failures <= _MOST_FAILURES and self.shape.rows.plain

    def read_together(self, bodies: Sequence[Body]) -> list[DecodedPage] | None:
        """Several pages in one go; None if any is unlike the pages before it.

        ``read`` says what is wrong with a page.
        """
        if not self.reads_together:
            return None
        conversions = ConversionCounts()
        try:
            for body in bodies:
                self.format.check(body)
            clean = [clean_utf8(body, conversions) for body in bodies]
            table, extras, row_counts = self._fast(clean, conversions)
            exact_path.check_nulls(table, self.shape.columns, self.label)
            if rows_without_values(table, self.shape):
                raise fast_path.NotFastReadable("a row without values, which may be an error")
            self.inferred.join(table)
        except (BadBody, ContractBroken, TooDeep, RecursionError, *_MISFITS):
            self._failures += 1
            return None
        self._failures = max(0, self._failures - 1)
        return _pages_of(table, extras, row_counts, conversions)

    def _table(self, body: Body) -> tuple[pa.Table, Mapping[str, object], ConversionCounts, int]:
        """The rows, the extras, the cells converted, and the API's items."""
        conversions = ConversionCounts()
        if self.shape.rows.plain:
            try:
                table, (extras,), _ = self._fast([body], conversions)
                return table, extras, conversions, table.num_rows
            except _MISFITS:
                conversions = ConversionCounts()
        table, extras, items = self._exact(body, conversions)
        return table, extras, conversions, items

    def _fast(
        self, bodies: Sequence[Body], conversions: ConversionCounts
    ) -> tuple[pa.Table, list[dict[str, object]], list[int]]:
        """The rows of all bodies, and of each body its extras and its number of rows."""
        shape, plan = self.shape, self._current_plan()
        read = self._read_bytes(bodies, plan.body)
        rows, row_counts = fast_path.rows_of(read, shape)
        members = fast_path.members_of(rows)
        columns = {}
        for column in plan.columns:
            conversions.column = column.name
            array = fast_path.member(rows, members, column.path)
            columns[column.name] = fast_path.land(array, column.type, conversions)
        if len(columns) < len(shape.columns):
            parsed = [row for body in bodies for row in self._rows_in(body, conversions)]
            for column in shape.columns:
                if column.name not in columns:
                    columns[column.name] = exact_path.declared_column(
                        parsed, column, shape.exclusions_inside(column), conversions, self.label
                    )
        for name, member in shape.inferred_members(members).items():
            conversions.column = name
            array = members[member]
            if member in shape.nested_exclusions:
                array = fast_path.without(array, shape.nested_exclusions[member])
            array = fast_path.land(array, from_arrow(array.type), conversions)
            columns[name] = inferred_columns.adapt(array, inferred_columns.as_inferred(array.type))
        in_object = pa.types.is_struct(read.type)
        if shape.through_objects and not in_object:
            raise fast_path.NotFastReadable("members outside the rows of a list")
        extra_columns = {
            name: fast_path.at(read, path).to_pylist() if in_object else [None] * len(bodies)
            for name, path in shape.extras.items()
        }
        extras = [{name: of[at] for name, of in extra_columns.items()} for at in range(len(bodies))]
        return table_of(columns, shape, len(rows)), extras, row_counts

    def _rows_in(self, body: Body, conversions: ConversionCounts) -> list[Row]:
        return self._selected(exact_json.parse(body, conversions)).rows

    def _selected(self, value: object) -> SelectedRows:
        """The rows of a parsed body, without what no row keeps."""
        selected = rows_in(value, self.shape.rows, self.label)
        excluded = self.shape.excluded_from_rows
        if not excluded:
            return selected
        return replace(selected, rows=[cast(Row, pruned(row, excluded)) for row in selected.rows])

    def _current_plan(self) -> fast_path.FastReadPlan:
        with self._lock:
            version = self.inferred.version
            if self._plan is None or self._plan_version != version:
                types = self.inferred.settled().items()
                inferable = {name: of for name, of in types if inferred_columns.inferable(of)}
                if self.shape.snake_case:  # members have other names, and are learned by reading
                    inferable = {}
                self._plan = fast_path.plan(
                    self.shape, self._separable, inferable, self._extra_types
                )
                self._plan_version = version
            return self._plan

    def _learn(self, value: object, odd: Collection[str]) -> None:
        """Prepare the fast way for pages like one that took the exact way: for speed only."""
        types = {name: _SCALARS.get(type(extra)) for name, extra in self._extras(value).items()}
        types |= {name: None for name, of in types.items() if of == pa.float64() and _spells(name)}
        settled = {name: of for name, of in types.items() if of is not None}
        with self._lock:
            self._extra_types = self._extra_types | settled
            self._separable = tuple(c for c in self._separable if c.name not in odd)
            self._plan = None

    def _extras(self, value: object) -> dict[str, object]:
        extras = {name: extra_in(value, path) for name, path in self.shape.extras.items()}
        absent = {name for name, extra in extras.items() if isinstance(extra, NoObject)}
        return extras | dict.fromkeys(absent - self.shape.through_objects)

    def _read_bytes(self, bodies: Sequence[Body], type_so_far: pa.DataType) -> pa.Array:
        """The bodies as pyarrow reads them; an error at values that don't fit or can't be inferred.

        New members are learned from one body alone.
        """
        shape, raw = self.shape, self._raw
        if not shape.infer:
            return fast_path.read_bytes(bodies, type_so_far, "ignore")
        if raw is not None:
            try:
                return fast_path.read_bytes(bodies, self._expected(raw, type_so_far), "error")
            except pa.ArrowException:
                pass  # something new
        if len(bodies) > 1:
            raise fast_path.NotFastReadable("something new")
        (body,) = bodies
        if not fast_path.safe_to_infer(
            body, max_depth=shape.max_depth, max_columns=shape.max_columns
        ):
            raise fast_path.NotFastReadable("too deep or too wide to infer")
        read = fast_path.read_bytes(bodies, type_so_far, "infer")
        if inferred_columns.guessed_time(read.type):
            read = fast_path.read_bytes(bodies, inferred_columns.as_text(read.type), "error")
        self._raw = fast_path.remember(raw, read.type, shape.max_columns)
        return read

    def _expected(self, raw: pa.DataType, type_so_far: pa.DataType) -> pa.DataType:
        """The type of a body like those so far; made anew when one of the two is another."""
        overlaid = self._overlaid
        if overlaid is None or overlaid[0] is not raw or overlaid[1] is not type_so_far:
            self._overlaid = overlaid = (raw, type_so_far, fast_path.overlay(raw, type_so_far))
        return overlaid[2]

    def _exact(
        self, body: Body, conversions: ConversionCounts
    ) -> tuple[pa.Table, dict[str, object], int]:
        value = exact_json.parse(body, conversions)
        extras = self._extras(value)
        if odd := {name for name, extra in extras.items() if _spells(name) and _has_float(extra)}:
            extras |= {n: e for n, e in self._extras(exact_json.spelled(body)).items() if n in odd}
        # A body with an error need not have rows: the caller reports the error.
        selected = SelectedRows([], 0) if extras.get("error") else self._selected(value)
        table = exact_path.table_of_rows(
            selected.rows, self.shape, self.inferred, conversions, self.label
        )
        self._learn(value, conversions.keys())
        return table, extras, selected.items


def _pages_of(
    table: pa.Table,
    extras: Sequence[Mapping[str, object]],
    row_counts: Sequence[int],
    converted: ConversionCounts,
) -> list[DecodedPage]:
    """The pages of a table that were decoded together. Conversions are counted for the first."""
    starts = accumulate(row_counts, initial=0)
    conversions = chain([converted], repeat(Counter()))
    row_bytes = table.get_total_buffer_size() // max(1, table.num_rows)
    return [
        DecodedPage(
            table.slice(start, number),
            facts,
            cells,
            row_bytes * number,
            number,
            converted.naive_columns,
        )
        for start, number, facts, cells in zip(
            starts, row_counts, extras, conversions, strict=False
        )
    ]


def _spells(extra: str) -> bool:
    """Whether a value outside the rows goes back to the API: a token, whose text is the API's."""
    return extra == "token" or extra.startswith("token_")


def _has_float(value: object) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_float, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def _wrong_end(body: Body) -> BadBody:
    """The error of a document whose last character is none of its kind."""
    end = repr(CUT + str(body[-40:], "utf-8", "replace"))
    text = str(body, "utf-8", "replace").lstrip("\ufeff \t\r\n")
    try:
        _, length = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return CutShort(f"the JSON ends early, after {len(body):,} bytes: {end}")
    follows = repr(cut(text[length:].strip(), 80))
    return BadBody(f"the JSON is whole after {length:,} characters, and text follows it: {follows}")


def _named(body: Body, error: BadBody) -> BadBody:
    """The error about a body that can't be read: a better one, if its format is recognized."""
    try:
        refuse_other_format(body, "JSON")
    except OtherFormat as better:
        return better
    return error


def _start_of(data: Body) -> str:
    return repr(cut_bytes(data, 80))
