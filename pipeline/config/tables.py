"""Child tables: the rows in a list that each row of an endpoint has, as a table of their own.

    endpoints:
      orders:
        key: [id]
        columns: {id: int64}
        tables:
          items:
            rows: line_items
            key: [order_id, line]
            columns:
              order_id: {type: int64, from: parent.id}
              line: {type: int64, from: position}
              price: "decimal(12, 2)"

The table ``orders/items`` is committed with ``orders``, by the same manifest. In a table *parent*
is the row of the endpoint that the list stands in.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator

from pipeline.config.columns import (
    EXTRACTED_AT,
    ColumnSpec,
    HashKind,
    Key,
    RowFilter,
    short_column,
)
from pipeline.decode.nested_tables import list_column
from pipeline.decode.types import parse_type
from pipeline.model import DottedPath, Model, Name, split_path
from pipeline.partitions.base import is_folder_column

if TYPE_CHECKING:
    from pipeline.config.endpoint import Endpoint

PARENT: Final = "parent."
POSITION: Final = "position"
_CURRENT: Final = "_current"


class TableColumn(ColumnSpec):
    """A column of a child table. ``name: int64`` is short for the type."""

    from_: str | None = Field(
        None,
        alias="from",
        pattern=r"^(parent\.\S+|position)$",
        description="in place of the row: parent.COLUMN (of the row that the list is in), or "
        "position (the number of the row in its list, from 0)",
    )

    @property
    def parent_column(self) -> str | None:
        """The column of the parent's row that the value comes from."""
        of = self.from_ or ""
        return of.removeprefix(PARENT) if of.startswith(PARENT) else None


TableColumns = dict[str, Annotated[TableColumn, BeforeValidator(short_column)]]


class TableConfig(Model):
    """A child table: the rows in a list of each row of the endpoint."""

    rows: DottedPath = Field(
        description="path to the list inside a row of the endpoint; a row without it, or with "
        "null, has no rows in the table"
    )
    rows_as: Literal["list", "object", "object_or_list", "map", "columns", "values", "scalars"] = (
        Field("list", alias="as", description="the form of what is at rows, as of an endpoint")
    )
    key_column: str | None = Field(
        None, description="the column that gets the name of the member (as: map)"
    )
    value_column: str = Field("value", description="the column of single values (scalars, map)")
    key: Key = Field(
        description="the columns that identify a row of the table, held against all of the "
        "partition before the commit; none: rows have no key"
    )
    columns: TableColumns = Field(
        {},
        description="types of columns, by name; each column of the endpoint's key has to be there, "
        "as `from: parent.COLUMN`",
    )
    where: RowFilter = Field({}, description="the rows that are kept, as of an endpoint")
    exclude: tuple[DottedPath, ...] = Field((), description="members that no row of it keeps")
    hash: dict[str, HashKind] = Field(
        {}, description="columns whose values are hashed, as of an endpoint"
    )
    names: Literal["snake_case"] | None = Field(
        None, description="inferred columns get the names of their members in snake_case"
    )
    infer: bool = Field(True, description="members that are not declared become columns too")
    contract: Literal["evolve", "freeze"] = Field(
        "evolve", description="what new columns and wider numbers do, as of an endpoint"
    )
    description: str | None = Field(None, description="shown at the asset")

    @field_validator("rows")
    @classmethod
    def _inside_a_row(cls, path: str) -> str:
        if "*" in split_path(path) or path.startswith("jmespath:"):
            raise ValueError(
                f"`rows: {path}` of a table is a path inside of one row, without `*`: the lists of "
                "a list are rows of an endpoint of their own, e.g. `rows: data.*.lines`"
            )
        return path

    @property
    def path(self) -> tuple[str, ...]:
        """The path to the list inside a row."""
        return split_path(self.rows)

    @property
    def parent_key(self) -> Mapping[str, str]:
        """The columns that come from the parent's row: each with its name there."""
        named = {name: column.parent_column for name, column in self.columns.items()}
        return {name: of for name, of in named.items() if of is not None}

    @property
    def added(self) -> frozenset[str]:
        """The columns that the rows in the list lack."""
        of = self.columns.items()
        return frozenset(name for name, c in of if c.from_ is not None or c.value is not None)


def problems_of_tables(endpoint: "Endpoint") -> Iterator[str]:
    """The sentences on tables that do not fit their endpoint."""
    if not endpoint.tables:
        return
    first = next(iter(endpoint.tables))
    if not endpoint.format.has_paths:
        yield (
            f"`tables.{first}` is about lists inside of rows, and a row of `format: "
            f"{endpoint.format.kind}` has none: leave `tables` out"
        )
    if endpoint.transform is not None:
        yield (
            f"`transform` makes other rows of a page, and `tables.{first}` reads lists of the "
            "API's own rows: take one of them out"
        )
    for name, table in endpoint.tables.items():
        for sentence in _problems(table, endpoint):
            yield f"table `{name}`: {sentence}"


def _problems(table: TableConfig, endpoint: "Endpoint") -> Iterator[str]:
    of_parent = {column: child for child, column in table.parent_key.items()}
    for column in (c for c in endpoint.key if c not in of_parent):
        kind = endpoint.columns[column].type if column in endpoint.columns else "int64"
        yield (
            f"its rows belong to the row with a `{column}`, and no column has that: add it, e.g. "
            f"`columns: {{parent_{column}: {{type: {kind}, from: parent.{column}}}}}`"
        )
    for child, column in table.parent_key.items():
        yield from _fits_parent(child, column, table, endpoint)
    for column in (c for c in table.key if c not in table.columns and not table.infer):
        yield (
            f"the key `{column}` is not among its columns, and `infer` is false: declare it, e.g. "
            f"`columns: {{{column}: int64}}`"
        )
    if table.key and set(table.key) <= set(table.parent_key) and table.rows_as != "object":
        yield (
            "its key is the parent's alone, and a list has several rows: add to `key` what tells "
            "them apart, or their number, e.g. `columns: {position: {type: int64, from: position}}`"
        )
    for column in filter(is_folder_column, table.columns):
        yield f"the column `{column}` has the name of the partitions' folders (dt=…): rename it"
    for column in (c for c in table.columns if c == EXTRACTED_AT or c.startswith(list_column(""))):
        yield f"the column `{column}` has a meaning of its own in the lake: rename it"
    for column in table.hash:
        spec = table.columns.get(column)
        if spec is None or spec.type != "string" or column in table.added:
            yield (
                f"`hash` names the column `{column}`: expected a column of its own rows that is "
                f"declared as `string`, e.g. `columns: {{{column}: string}}`"
            )
        if table.where.get(column, {"not": None}) != {"not": None}:
            yield (
                f"`where` compares `{column}`, which is hashed before: only `{{not: null}}` can be "
                "said of it"
            )
    for column in (c for c in table.exclude if c in table.columns or c in table.key):
        yield f"`exclude` has `{column}`, which is a column of it: leave one of them out"
    if table.key_column is not None and table.rows_as != "map":
        yield "`key_column` gets the name of a member of an object: say `as: map`, or leave it out"


def _fits_parent(
    child: str, column: str, table: TableConfig, endpoint: "Endpoint"
) -> Iterator[str]:
    spec = endpoint.columns.get(column)
    if spec is None and column not in endpoint.key:
        yield (
            f"`{child}` comes from `parent.{column}`, and the endpoint declares no such column: "
            f"declare its type there, e.g. `columns: {{{column}: string}}`"
        )
    kind = table.columns[child].type
    if spec is not None and parse_type(spec.type).arrow != parse_type(kind).arrow:
        yield (
            f"`{child}` is declared as `{kind}`, and `{column}` of the endpoint as `{spec.type}`: "
            f"write `{child}: {{type: {spec.type}, from: parent.{column}}}`"
        )


def problems_of_names(endpoints: Mapping[str, "Endpoint"]) -> Iterator[str]:
    """The tables and endpoints whose name in SQL, ``endpoint_table``, or in Dagster is another
    one's."""
    names = {each + end: f"the endpoint `{each}`" for each in endpoints for end in ("", _CURRENT)}
    for endpoint, spec in endpoints.items():
        for table in spec.tables:
            for end in ("", _CURRENT):
                name = f"{endpoint}_{table}{end}"
                if name in names:
                    yield (
                        f"endpoint {endpoint}: its table `{table}` is `{name}` in SQL, and so is "
                        f"{names[name]}: give the table another name"
                    )
                names[name] = f"the table `{table}` of `{endpoint}`"
    yield from _problems_of_assets(endpoints)


def _problems_of_assets(endpoints: Mapping[str, "Endpoint"]) -> Iterator[str]:
    """The endpoints whose name Dagster gives to something else of another one."""
    for endpoint, spec in endpoints.items():
        if spec.sweep and (name := f"{endpoint}_gone") in endpoints:
            yield (
                f"endpoint {name}: the deletions of `{endpoint}`, which has `sweep`, are an asset "
                "of this name: give the endpoint another name, or take `sweep` away"
            )
        for table in spec.tables:
            if (name := f"{endpoint}__{table}") in endpoints:
                yield (
                    f"endpoint {name}: Dagster calls the table `{table}` of `{endpoint}` so, too: "
                    "give one of them another name"
                )


Tables = dict[Name, TableConfig]
