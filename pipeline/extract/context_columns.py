"""Columns that the API's rows lack: constants, and what is known around the rows of a page.

``columns: {day: {type: date, from: window.start}}``. All of them are built here, from one
``PageContext``; where a name in ``from`` leads is written in ``_value``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.config.columns import ColumnSpec
from pipeline.config.endpoint import Endpoint
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.coerce import CellRefused, cell
from pipeline.decode.exact_json import shorten
from pipeline.decode.types import INSTANT, DeclaredType, parse_type
from pipeline.errors import ContractBroken
from pipeline.timestamps import as_iso


@dataclass(frozen=True)
class PageContext:
    """What is known around the rows of a page.

    :ivar values: of the partition value, by placeholder (``each``, ``parent.name``).
    :ivar start: of the window that the page requests, as ``end``.
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
