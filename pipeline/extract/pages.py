"""Pages, parsed and checked, with the columns from around their rows, and the sources of pages.

A reader of pages (``contiguous``, ``sequential``, ``fan_out``) knows a ``PageSource`` only. The
source is the API (``fetcher``), or a wrapper that confirms odd pages (``confirmation``) or requests
one partition value (``fan_out``).

The values of columns under ``hash`` become digests. Rows that do not meet ``where`` are left out of
what lands; pages are compared and counted with all their rows before that.

Columns that the API's rows lack are constants, or known around the rows of a page:
``columns: {day: {type: date, from: window.start}}``. All of them are built here, from one
``PageContext``; ``_value`` says where a name in ``from`` leads.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import EXTRACTED_AT, ColumnSpec, meets, rows_of
from pipeline.config.endpoint import Endpoint
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.coerce import CellRefused, cell
from pipeline.decode.exact_json import shorten
from pipeline.decode.types import INSTANT, DeclaredType, parse_type
from pipeline.errors import ContractBroken
from pipeline.extract.feed import FeedPage
from pipeline.pagination.page import PageInfo, PageRequest, PageToken
from pipeline.timestamps import as_iso


def with_hashed_columns(rows: pa.Table, columns: Mapping[str, str], salt: str) -> pa.Table:
    """The rows with the values of these columns as ``sha256(salt + value)``, in hex; null stays."""
    for name in columns:
        at = rows.schema.get_field_index(name)
        if at < 0:
            continue
        coded = rows.column(at).combine_chunks().dictionary_encode()
        digests = [_digest(salt, value) for value in coded.dictionary.to_pylist()]
        values = pc.take(pa.array(digests, pa.string()), coded.indices)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def _digest(salt: str, value: str | None) -> str | None:
    return None if value is None else hashlib.sha256(f"{salt}{value}".encode()).hexdigest()


def rows_that_meet(
    rows: pa.Table, where: Mapping[str, object], declared: Mapping[str, ColumnSpec]
) -> pa.Table:
    """The rows that meet ``where``.

    :param declared: the columns that rows may lack: they are null then.
    :raises ContractBroken: no row has a column that ``where`` looks at: is its name misspelt?
    """
    if not where or not rows.num_rows:
        return rows
    names = {path if path in rows.column_names else path.split(".")[0] for path in where}
    for name in sorted(names - {*rows.column_names} - {*declared}):
        raise ContractBroken(
            f"`where` looks at `{name}`, and none of the {rows.num_rows:,} rows of a page has it. "
            f"Check: 1. its name in `where` (the rows have {', '.join(rows.column_names[:20])}); "
            f"2. where rows may lack it, declare its type, e.g. `columns: {{{name}: string}}`"
        )
    present = [name for name in rows.column_names if name in names]
    mask = [meets(row, where) for row in rows_of(rows.select(present), declared)]
    if not present:
        mask = [meets({}, where)] * rows.num_rows
    return rows if all(mask) else rows.filter(pa.array(mask, pa.bool_()))


@dataclass(frozen=True)
class PageContext:
    """The values around the rows of a page.

    :ivar values: of the partition value, by placeholder (``each``, ``parent.name``).
    :ivar start: of the window, or of the slice of it that is being read; as ``end``.
    :ivar members: values of the body, by the whole text of ``from``.
    :ivar headers: of the response; names in lower case.
    :ivar now: when the response came.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    now: datetime | None = None


@dataclass(frozen=True)
class _Added:
    field: pa.Field
    type: DeclaredType
    spec: ColumnSpec
    name: str
    """In ``from``; empty for a constant."""


class ContextColumns:
    """The columns that are added to an endpoint's rows, last in order.

    :ivar fields: as they land.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        of_value = endpoint.value_columns
        zone = endpoint.window.zone if endpoint.window.timezone else None
        self._added = []
        for name in endpoint.context_columns:
            spec = endpoint.columns[name]
            kind = parse_type(spec.type).in_zone(zone)
            source = of_value.get(name) or spec.from_ or ""
            self._added.append(_Added(pa.field(name, kind.arrow), kind, spec, source))
        self.fields = [added.field for added in self._added]

    def add(self, rows: pa.Table, context: PageContext) -> pa.Table:
        """The rows with these columns. :raises ContractBroken: a value does not fit its type."""
        for added in self._added:
            value = _scalar(added, _value(added, context))
            rows = rows.append_column(added.field, pa.repeat(value, rows.num_rows))
        return rows

    def add_without_values(self, none: pa.Table) -> pa.Table:
        """A table of no rows with these columns: there is no row that a value could be of."""
        for added in self._added:
            none = none.append_column(added.field, pa.array([], added.field.type))
        return none


def _value(added: _Added, context: PageContext) -> object:
    name = added.name
    if not name:
        return added.spec.value
    if added.spec.of_value or name in context.values:
        return context.values.get(name)
    if name.startswith("headers."):
        return context.headers.get(name.removeprefix("headers.").lower())
    if name.startswith("response."):
        return context.members.get(name)
    return {"window.start": context.start, "window.end": context.end, "now": context.now}[name]


def _scalar(added: _Added, value: object) -> pa.Scalar:
    arrow = added.field.type
    if value is None:
        return pa.scalar(None, arrow)
    if isinstance(value, datetime):
        utc = value.astimezone(UTC)
        if arrow == INSTANT:
            return pa.scalar(utc, INSTANT)
        return pa.scalar(utc.date() if pa.types.is_date(arrow) else as_iso(utc), arrow)
    try:
        if not isinstance(value, str | int | float | bool | list | dict):  # of a parent's row
            return pa.scalar(value).cast(arrow)
        return pa.scalar(cell(value, added.type, ConversionCounts()), arrow)
    except (CellRefused, pa.ArrowException) as error:
        reason = error.reason if isinstance(error, CellRefused) else "it does not fit"
        raise ContractBroken(
            f"The column `{added.field.name}` gets `{added.name}` = {shorten(value)}, and is "
            f"declared {added.type.text}: {reason}. Check: its type in `columns`, e.g. "
            f"`{added.field.name}: {{type: string, from: {added.name}}}`"
        ) from None


@dataclass(frozen=True)
class TailEnd:
    """Why the reading ends at a page though rows lie behind it (``growing_tail``).

    :ivar rows_left: that lay behind the page when it was requested again: they came meanwhile.
    :ivar unproved: why it is not known that all rows came that were there; None if it is.
    """

    rows_left: int
    unproved: str | None = None


@dataclass(frozen=True)
class ParsedPage:
    """A page: its request, what the page says of itself, and its rows (with ``_extracted_at``).

    :ivar outside: rows that the API had to give, since its bounds are coarser than the window.
    :ivar duplicates: rows that were dropped, as the one before each is equal in all columns.
    :ivar duplicates_at_edges: those of them with the key of the first and of the last row, which
        the page may share with the one before it and the one behind it.
    :ivar arrow_bytes: size of the table as parsed.
    :ivar body_bytes: size of the response's body.
    :ivar latency_s: seconds from the request to the response, as the client measures them.
    :ivar earlier_row: where rows are the tokens, the token of a row before the last one, and how
        many rows lie behind that row.
    :ivar last_row_deleted: the row that the page was requested behind no longer exists.
    :ivar response_columns: those that are of the response, and not of its rows.
    :ivar of_feed: what it shows of the feed that it is a page of.
    :ivar looks_incomplete: why it may lack rows that it should have.
    :ivar ends_by_empty: empty twice, after a full page or as the first one: that the data end here
        is what the API says.
    :ivar newer_than_reading: all of its rows changed after the reading began.
    :ivar tail: the reading ends here, as the rows grow faster than they are read.
    :ivar bookmark: the change token that the page has.
    :ivar open_ended: neither its response nor its format shows where its body ends, and it has not
        as many rows as were requested.
    """

    request: PageRequest
    info: PageInfo
    table: pa.Table
    outside: int = 0
    duplicates: int = 0
    duplicates_at_edges: tuple[int, int] = (0, 0)
    arrow_bytes: int = 0
    body_bytes: int = 0
    latency_s: float = 0.0
    earlier_row: tuple[PageToken, int] = (None, 0)
    last_row_deleted: bool = False
    ends_by_empty: bool = False
    response_columns: frozenset[str] = frozenset()
    of_feed: FeedPage | None = None
    looks_incomplete: str | None = None
    newer_than_reading: bool = False
    tail: TailEnd | None = None
    bookmark: str | None = None
    open_ended: bool = False

    @property
    def own_columns(self) -> list[str]:
        """The columns by which its rows are compared with others: without those of the response,
        and when it came."""
        others = {EXTRACTED_AT, *self.response_columns}
        return [name for name in self.table.column_names if name not in others]


class PageSource(Protocol):
    """The source of a reader's pages."""

    async def page(self, request: PageRequest) -> ParsedPage:
        """The page that was requested. :raises ContractBroken: another one came."""
        ...

    async def count(self, request: PageRequest) -> int | None:
        """How many rows match the request; None if the API can't count them."""
        ...
