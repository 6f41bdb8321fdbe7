"""Columns of an endpoint: their types, the origin of their values, and conditions on them.

A value comes from the row, from what is around the row, or from the YAML.

A condition is a mapping of columns: ``{type: file, size: {gt: 0}, owner: {not: null}}``. All of its
members have to hold. A scalar is what the column equals, ``null`` included; a mapping has
operators: ``gt``, ``gte``, ``lt``, ``lte``, ``in``, ``not``. A dotted name is a member of an
object. Of null, ``gt`` and the like never hold.
"""

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.coerce import CellRefused, cell
from pipeline.decode.types import INSTANT, parse_type
from pipeline.errors import ContractBroken
from pipeline.model import DottedPath, Model, split_path

if TYPE_CHECKING:
    from pipeline.config.endpoint import Endpoint


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
_OPERATORS: Final = (*_ORDER, "in", "not")


def _checked(conditions: dict[str, Any]) -> dict[str, Any]:
    for column, condition in conditions.items():
        if isinstance(condition, list):
            raise ValueError(f"`{column}` is a list: write `{column}: {{in: {condition}}}`")
        for name, value in condition.items() if isinstance(condition, dict) else ():
            if name not in _OPERATORS:
                raise ValueError(
                    f"`{column}` has `{name}`: expected one of {', '.join(_OPERATORS)}"
                )
            if name == "in" and not isinstance(value, list):
                raise ValueError(f"`{column}.in` is {value!r}: expected a list")
    return conditions


RowFilter = Annotated[dict[str, Any], AfterValidator(_checked)]


class DeletedMark(Model):
    """The member of a row that says that it is deleted, where it is not true or false."""

    at: DottedPath = Field(description="the member, e.g. '@removed' or status")
    values: tuple[bool | int | float | str, ...] = Field(
        (),
        description="those that mean deleted, e.g. [cancelled]; default: all but null, false and "
        "what APIs write for it (0, N, '')",
    )


def meets(row: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether a row meets all conditions.

    :raises ContractBroken: a value can't be compared with that of the condition.
    """
    return all(_holds(member(row, path), condition, path) for path, condition in conditions.items())


def rows_of(table: pa.Table, declared: Mapping[str, "ColumnSpec"]) -> list[dict[str, Any]]:
    """The rows of a table; a column that is declared ``json`` holds its value, not the text."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for name, column in declared.items():
        if column.type == "json" and name in table.column_names:
            for row in rows:
                row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def member(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of a member of an object in it; None if there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _holds(value: Any, condition: Any, path: str) -> bool:
    if not isinstance(condition, Mapping):
        return _same(value, condition)
    for name, other in condition.items():
        if name == "in":
            holds = any(_same(value, choice) for choice in other)
        elif name == "not":
            holds = not _holds(value, other, path)
        else:
            holds = value is not None and _ordered(name, value, other, path)
        if not holds:
            return False
    return True


def _same(value: Any, expected: Any) -> bool:
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    return bool(_alike(value, expected) == expected)


def _ordered(name: str, value: Any, bound: Any, path: str) -> bool:
    try:
        return bool(_ORDER[name](_alike(value, bound), bound))
    except TypeError:
        raise ContractBroken(
            f"`where` compares `{path}` = {value!r} with {bound!r} by `{name}`, expected two "
            "numbers or two texts. Check: 1. the type of the column; 2. quotes in `where`"
        ) from None


def _alike(value: Any, other: Any) -> Any:
    """A time is compared with a text as ISO 8601."""
    if isinstance(value, datetime | date) and isinstance(other, str):
        return value.isoformat()
    return value


STAR: Final = "*"
EXTRACTED_AT: Final = "_extracted_at"
"""When the row was read: the last column of every row that lands."""
DELETED: Final = "_deleted"
"""True in a tombstone: the API says that the row was deleted."""
STALE: Final = "_stale"
"""Of lanes: the row is of an earlier partition, since its lane could not be read in this one."""
OF_VALUES: Final = ("parent", "each")
"""What begins the name of something that is known of the partition value."""
_TIMES: Final = ("window.start", "window.end", "now")


def _type(value: Any) -> Any:
    """Several forms of a time are one type: the first that fits each value."""
    if isinstance(value, list) and value and all(isinstance(form, str) for form in value):
        return " | ".join(value)
    return value


class ColumnSpec(Model):
    """A column: its type, and where in the row it stands. ``name: int64`` is short for the type."""

    type: Annotated[str, BeforeValidator(_type, json_schema_input_type=str | list[str])] = Field(
        description="see the table of types; several forms of a time as a list"
    )
    path: DottedPath | None = Field(
        None,
        description="members inside the row; a number is an item of a list; default: the name",
    )
    value: str | int | float | bool | None = Field(None, description="the same in each row")
    from_: str | None = Field(
        None,
        alias="from",
        pattern=r"^((parent|each)(\.\w+)*|window\.(start|end)|response\..+|headers\.[\w-]+|now)$",
        description="from around the rows: parent or each (the value), parent.COLUMN (of the "
        "parent's row), each.NAME (of a named list), window.start, window.end, response.PATH (a "
        "`*` that `rows` has too is the item that the row is in), headers.NAME (of the response), "
        "now (when the response came)",
    )
    nullable: bool = Field(True, description="false: a row without the value is refused")
    description: str | None = Field(None, description="shown in Dagster's column schema")

    @model_validator(mode="after")
    def _type_is_known(self) -> "ColumnSpec":
        parse_type(self.type)
        return self

    @model_validator(mode="after")
    def _one_place(self) -> "ColumnSpec":
        places = [
            name
            for name, is_set in (
                ("path", self.path is not None),
                ("value", self.value is not None),
                ("from", self.from_ is not None),
            )
            if is_set
        ]
        if len(places) > 1:
            raise ValueError(
                f"a column comes from one place, and this one has {' and '.join(places)}: keep one"
            )
        if self.value is not None:
            try:
                cell(self.value, parse_type(self.type), ConversionCounts())
            except CellRefused as refused:
                raise ValueError(
                    f"`value: {self.value}` does not fit the type `{self.type}`: {refused.reason}"
                ) from None
        return self

    @model_validator(mode="after")
    def _time_fits(self) -> "ColumnSpec":
        arrow = parse_type(self.type).arrow
        if self.from_ in _TIMES and arrow != INSTANT and self.type not in ("date", "string"):
            raise ValueError(
                f"`from: {self.from_}` is a time, and the type is `{self.type}`: expected "
                "`timestamp[iso]`, `date` or `string`"
            )
        return self

    @property
    def response_path(self) -> tuple[str, ...] | None:
        """The path in the response's body, of ``from: response.PATH``."""
        if self.from_ is None or not self.from_.startswith("response."):
            return None
        return split_path(self.from_.removeprefix("response."))

    @property
    def is_outer(self) -> bool:
        """Whether the value is of the item that a row is in, and not of the whole response."""
        return STAR in (self.response_path or ())

    @property
    def of_value(self) -> bool:
        """Whether the value is known of the partition value (``each``, ``parent``)."""
        return self.from_ is not None and self.from_.partition(".")[0] in OF_VALUES


def short_column(value: Any) -> Any:
    """``name: int64`` is short for ``name: {type: int64}``."""
    return {"type": value} if isinstance(value, str | list) else value


def _column(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return (_of_type(value) if isinstance(value, str) else None) or read(short_column(value))


@lru_cache(maxsize=256)
def _of_type(name: str) -> "ColumnSpec | None":
    """The column of which nothing but the type is said: one object for all that have it.

    None of a type that is not known: the validator's sentence says where it stands.
    """
    with suppress(ValidationError):
        return ColumnSpec(type=name)
    return None


def _key(value: Any) -> Any:
    """``none`` is written where rows have no key; an empty list is a mistake."""
    if value in ([], ()):
        raise ValueError("name the columns that identify a row, or say `key: none` if none do")
    return () if value == "none" else value


Key = Annotated[tuple[str, ...], BeforeValidator(_key, Literal["none"] | tuple[str, ...])]
Columns = dict[str, Annotated[ColumnSpec, WrapValidator(_column)]]
HashKind = Literal["sha256"]


def problems_of_columns(endpoint: "Endpoint") -> Iterator[str]:
    """The sentences on columns that do not fit the other parts of the endpoint."""
    rows = endpoint.rows_path
    for name, column in endpoint.columns.items():
        path = column.response_path
        if path is not None and STAR in path:
            shared = len(path) - path[::-1].index(STAR)
            if path[:shared] != rows[:shared]:
                yield (
                    f"the column `{name}` comes from `{column.from_}`, whose `*` has to be one of "
                    f"`rows: {endpoint.rows}`: write the path as in `rows` up to the `*`"
                )
        first = endpoint.window.floor_at is None
        if column.from_ == "window.start" and name in endpoint.needed and first:
            yield (
                f"`{name}` must have a value in each row, and a first partition has no "
                "window.start: use window.end, or set `window.floor`, e.g. '1970-01-01'"
            )
    of_value = next((name for name in endpoint.cursors if name in endpoint.value_columns), None)
    if of_value is not None:
        yield (
            f"the cursor `{of_value}` is of the partition value, the same in all its rows: "
            "name a column that moves when a row changes"
        )
    for name in endpoint.cursors:
        spec = endpoint.columns.get(name)
        if spec is not None and spec.from_ in _TIMES:
            yield (
                f"the cursor `{name}` comes from `{spec.from_}`, which tells nothing of when a "
                "row changed: `cursor: window` says that the API alone knows"
            )
    around = next((name for name in endpoint.cursors if name in endpoint.context_columns), None)
    if len(endpoint.cursors) > 1 and around is not None:
        yield (
            f"`{around}` comes from around the rows, which all have it: name it alone as `cursor`, "
            "or leave it out of the list"
        )
    yield from _hashed_fit(endpoint)
    yield from _excluded_fit(endpoint)


def _hashed_fit(endpoint: "Endpoint") -> Iterator[str]:
    for name in endpoint.hash:
        column = endpoint.columns.get(name)
        if column is None or column.type != "string":
            declared = "is not declared" if column is None else f"is declared as `{column.type}`"
            yield (
                f"`hash` names the column `{name}`, which {declared}: add it, e.g. `columns: "
                f"{{{name}: string}}`, so that a name that is misspelt shows"
            )
        if name in endpoint.cursors:
            yield f"the cursor `{name}` can't be hashed: take it out of `hash`"
        if name in endpoint.key and endpoint.pages_go_by_rows:
            yield (
                f"pages go by their rows (`paging: {{kind: {endpoint.paging.kind}}}`), so that the "
                f"key `{name}` would stand in checkpoints as it came: take it out of `hash`, or "
                "use another kind of paging, such as `token` or `link`"
            )
        condition = endpoint.where.get(name)
        if condition is not None and condition != {"not": None}:
            yield (
                f"`where` compares `{name}`, which is hashed before: only `{{not: null}}` can be "
                "said of it"
            )
    if endpoint.hash and endpoint.cache is not None:
        yield (
            "`cache` stores responses as they came, with the values that `hash` hides: leave "
            "one of them out"
        )


def _excluded_fit(endpoint: "Endpoint") -> Iterator[str]:
    """A column with a path of its own keeps what it is made of, under its own name."""
    declared: dict[tuple[str, ...], str] = {
        (name,): name for name, column in endpoint.columns.items() if column.path is None
    }
    for text in endpoint.exclude:
        path = split_path(text)
        name = declared.get(path)
        if name is None and text in endpoint.key:
            name = text
        if name is not None:
            yield (
                f"`exclude` has `{text}`, which the column `{name}` (declared, or in the key) is "
                "made of: leave one of them out"
            )
