"""An endpoint, a collection of rows: its request, paging, key, cursor and columns."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal, TypeGuard

from pydantic import BeforeValidator, Field, model_validator

from pipeline.bookmarks import BOOKMARKS, BookmarkCursor
from pipeline.config.columns import Columns, DeletedMark, HashKind, Key, RowFilter
from pipeline.config.each import EachConfig, ParentsConfig
from pipeline.config.limits import OkWhen, ResponsesConfig
from pipeline.config.request import (
    DAY_S,
    CountConfig,
    HttpTemplate,
    Request,
    WindowFormat,
    placeholders_in,
)
from pipeline.config.tables import Tables
from pipeline.config.validation import problems
from pipeline.decode import DECODERS, DEFAULT_FORMAT, Format
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.types import INTEGERS
from pipeline.model import BASE_URL, JMESPATH, DottedPath, HostUrl, Model, RowsPath, split_path
from pipeline.pagination import PAGINATION, Paging, SharedRows

BY_WINDOW: Final = "window"
FIRST_CURSOR: Final = "_cursor"
"""The column that is added to the rows where several columns may have their cursor."""
_ONE_PAGE = PAGINATION["none"].model_validate({"kind": "none"})
_WHOLE = INTEGERS - {"uint64"}
CACHE_LEVELS_S = {"low": 300.0, "medium": 3600.0, "high": 86_400.0}


def _cursor(value: Any) -> Any:
    if _is_map(value):
        return BOOKMARKS.read(value)
    if value is None or isinstance(value, BookmarkCursor) or (value and isinstance(value, str)):
        return value
    if value and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ValueError(
        "expected the name of a column, a list of names, or a bookmark, e.g. {kind: token, at: "
        "nextSyncToken}"
    )


def _is_map(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


class Endpoint(Model):
    """A collection of rows. Incremental if it has a ``cursor``, else a snapshot."""

    path: str | None = Field(None, repr=False, description="below base_url; default: the name")
    base_url: Annotated[HostUrl, Field(pattern=BASE_URL)] | None = Field(
        None,
        repr=False,
        description="where the API has this endpoint at another host: the address that its `path` "
        "begins with, in place of the source's; credentials go there, too, and its requests count "
        "in the same budget",
    )
    description: str | None = Field(None, description="shown at the asset")
    request: Request = Field(HttpTemplate(), description="what is sent")
    paging: Annotated[Paging, PAGINATION.field] = Field(
        _ONE_PAGE, description="how pages follow each other"
    )
    window: WindowFormat = Field(
        WindowFormat(), description="how the bounds are written, and what the API does at them"
    )
    format: Annotated[Format, DECODERS.field_or_name] = Field(
        DEFAULT_FORMAT, description="of a page's body: json, or a kind with its settings"
    )
    rows: RowsPath = Field(
        "",
        description="path to the rows in the body; empty = the body itself; `*` is each item of a "
        "list or each value of an object, a number an item of a list; or `jmespath:` and an "
        "expression",
    )
    rows_as: Literal["list", "object", "object_or_list", "map", "columns", "values", "scalars"] = (
        Field(
            "list",
            alias="as",
            description="the form of what is at rows: a list of objects; one object, which is "
            "one row; either; an object with a row (or a value) a member; arrays of values beside "
            "names, or an object of arrays; arrays of values, whose columns are places "
            '(`path: "0"`); single values',
        )
    )
    key_column: str | None = Field(
        None, description="the column that gets the name of the member (as: map, or a * in rows)"
    )
    names_at: DottedPath | None = Field(
        None, description="with as: columns, the path to the names that stand beside the values"
    )
    value_column: str = Field("value", description="the column of single values (scalars, map)")
    rows_may_lack: bool = Field(
        False,
        description="the API leaves out what is at rows where there are none (Mailman, Google), or "
        "writes null for a row or for all of them; a response without it that says an error, or "
        "has another list in its place, is refused still",
    )
    cursor_spec: Annotated[
        Annotated[str, Field(min_length=1)]
        | Annotated[tuple[str, ...], Field(min_length=1)]
        | Annotated[BookmarkCursor, BOOKMARKS.field]
        | None,
        BeforeValidator(
            _cursor,
            json_schema_input_type=Annotated[str, Field(min_length=1)]
            | Annotated[list[str], Field(min_length=1)]
            | Annotated[BookmarkCursor, BOOKMARKS.field]
            | None,
        ),
    ] = Field(
        None,
        alias="cursor",
        description="the column that moves when a row changes: a time, or a number that only "
        "rises; a list: the first of them that a row has (a time of change that is null until "
        "then, and the time of creation); `window`: the API filters by a time that its rows do not "
        "show; a bookmark (`kind`): a number, or a change token that the API gives",
    )
    key: Key = Field(
        description="the columns that identify a row. Of rows with one key the latest by the "
        "cursor is kept; rows that differ, with equal cursors or none, or in pages that go by "
        "the key, are refused. none: rows have no key, all of them are kept, and a partition "
        "is replaced as a whole"
    )
    whole: bool = Field(
        False,
        description="of paging none, tokens and links: the pages are all there is, though one "
        "looks capped",
    )
    max_rows: int | None = Field(
        None,
        gt=0,
        description="a partition with more rows is refused: bounds a chain without an end",
    )
    search_cap: int | None = Field(
        None,
        gt=1,
        description="the API gives no row beyond so many of one search (Elasticsearch: 10000): the "
        "window is halved until each part has fewer, and the rows of each agree with its total",
    )
    sort: Literal["newest_first"] | None = Field(
        None,
        description="of a feed in pages: reading stops at the first page that is older than the "
        "window; found out by itself where a link or a token names the next page",
    )
    columns: Columns = Field({}, description="types of columns, by name")
    where: RowFilter = Field(
        {},
        description="the rows that are kept: `{type: file, size: {gt: 0}, x: {not: null}}`; "
        "the others are counted (filtered_rows)",
    )
    exclude: tuple[DottedPath, ...] = Field((), description="members that no row keeps")
    hash: dict[str, HashKind] = Field(
        {},
        description="columns whose values are hashed, with the source's hash_salt: {email: sha256}",
    )
    names: Literal["snake_case"] | None = Field(
        None, description="inferred columns get the names of their members in snake_case"
    )
    tables: Tables = Field(
        {},
        description="child tables by name: the rows in a list that each row has, committed with "
        "the rows themselves, as `endpoint/name`",
    )
    infer: bool = Field(True, description="members that are not declared become columns too")
    contract: Literal["evolve", "freeze"] = Field(
        "evolve",
        description="evolve: new columns and wider numbers are taken, and reported; freeze: they "
        "are refused",
    )
    count: CountConfig | None = Field(None, description="a request of its own that counts the rows")
    safety_margin_s: float | None = Field(
        None, ge=0, le=86_400 * 366, description="in place of the source's"
    )
    deleted: DottedPath | DeletedMark | None = Field(
        None,
        description="the member that is true in a tombstone: the row lands with _deleted; `{at, "
        "values}` where another value than true, or that it is there, means so",
    )
    sweep: bool = Field(
        False, description="an asset that reads only the keys, and records which are gone"
    )
    errors_at: DottedPath | None = Field(
        None,
        description="a member that only an error has, in a 200 response; with Retry-After, or with "
        "answers.throttled_text in it, it means too many requests",
    )
    answers: ResponsesConfig | None = Field(
        None, description="meanings of statuses for this endpoint, before those of the source"
    )
    ok_when: OkWhen | None = Field(
        None, description="what says in a 200 response that the request succeeded"
    )
    parents: ParentsConfig | None = Field(
        None, description="the endpoint whose rows the requests are made from"
    )
    each: EachConfig | None = Field(None, description="values that the endpoint is read for")
    transform: str | None = Field(
        None,
        pattern=r"^[\w.]+:\w+$",
        description="a function of yours over the rows of a page, as module:function; it may make "
        "more rows, or fewer, and declared columns, the key and the cursor among them",
    )
    batch_rows: int = Field(
        25_000, ge=1, description="rows of one Parquet file; what came in five minutes is one too"
    )
    order: Literal["ascending", "descending", "none"] = Field(
        "ascending", description="in which order of the key the pages come"
    )
    cache: Literal["low", "medium", "high"] | Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="how old a response from the cache may be: low (300 s), medium (3600 s), "
        "high (86400 s), or seconds; for reference data without a cursor",
    )
    deps: tuple[Annotated[str, Field(pattern=r"^[^/\s]+(/[^/\s]+)*$")], ...] = Field(
        (),
        description="keys of further assets that this one depends on in Dagster's graph, "
        "`group/asset`",
    )
    preview: bool | None = Field(
        None, description="false: no rows in Dagster's database; default: the source's `preview`"
    )
    conditional: bool = Field(
        False,
        description="for a feed: send the ETag or the date of the previous partition; a 304 is an "
        "empty partition",
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers_rise(cls, data: Any) -> Any:
        """`cursor: id` is a bookmark in short where `id` is declared as a whole number."""
        if not _is_map(data) or not isinstance(cursor := data.get("cursor"), str):
            return data
        column = columns.get(cursor) if _is_map(columns := data.get("columns")) else None
        kind = column.get("type") if _is_map(column) else column
        rises = isinstance(kind, str) and kind in _WHOLE
        return {**data, "cursor": {"kind": "number", "column": cursor}} if rises else data

    @property
    def bookmark(self) -> BookmarkCursor | None:
        """How partitions follow each other where the cursor is no time; None where it is one."""
        return self.cursor_spec if isinstance(self.cursor_spec, BookmarkCursor) else None

    @property
    def hashes(self) -> bool:
        """Whether a column of its rows, or of a table's, is hashed."""
        return bool(self.hash) or any(table.hash for table in self.tables.values())

    @property
    def latest_by(self) -> str | None:
        """The column by which the latest of the rows with one key is known."""
        return self.bookmark.column if self.bookmark else self.cursor

    @cached_property
    def cursor(self) -> str | None:
        """The column with a row's time; None: there is none, or the rows do not show it."""
        if self.bookmark is not None:
            return None
        if isinstance(self.cursor_spec, tuple):
            return self.cursor_spec[0] if len(self.cursor_spec) == 1 else FIRST_CURSOR
        return None if self.cursor_spec in (None, BY_WINDOW) else str(self.cursor_spec)

    @cached_property
    def cursors(self) -> tuple[str, ...]:
        """The API's columns that a row's cursor may come from, the first that it has."""
        of = self.cursor_spec
        return of if isinstance(of, tuple) else (self.cursor,) if self.cursor else ()

    @property
    def incremental(self) -> bool:
        return self.cursor_spec is not None

    @property
    def cache_s(self) -> float | None:
        """How old a cached response may be, seconds; None = no cache."""
        return CACHE_LEVELS_S[self.cache] if isinstance(self.cache, str) else self.cache

    @property
    def fans_out(self) -> bool:
        """True if it is read once for each of several values."""
        return self.parents is not None or self.each is not None

    @cached_property
    def value_columns(self) -> Mapping[str, str]:
        """The columns that the API's rows lack, since they are the value's: each with the
        placeholder (``each``, ``parent.name``) that it gets.
        """
        of = self.parents or self.each
        name = "parent" if self.parents else "each"
        of_list = {of.column_here: name} if of and of.column_here else {}
        declared = {n: c.from_ for n, c in self.columns.items() if c.from_ and c.of_value}
        return of_list | declared

    @cached_property
    def context_columns(self) -> tuple[str, ...]:
        """The columns that the API's rows lack: of the value, constants, from around the rows."""
        of_value = self.value_columns
        around = (
            name
            for name, column in self.columns.items()
            if name not in of_value
            and (column.value is not None or (column.from_ is not None and not column.is_outer))
        )
        return (*of_value, *around)

    @cached_property
    def response_columns(self) -> frozenset[str]:
        """The columns that are of the response which a row came in, and not of the row: an equal
        row that comes again has others there.
        """
        around = {n for n in self.context_columns if self.columns[n].from_ is not None}
        return frozenset(around - self.value_columns.keys() - {*self.key})

    @cached_property
    def added_columns(self) -> tuple[str, ...]:
        """The columns that rows get besides the API's, in order; ``_extracted_at`` comes last."""
        first = (FIRST_CURSOR,) if self.cursor == FIRST_CURSOR else ()
        return (*self.context_columns, *first)

    @cached_property
    def key_of_rows(self) -> tuple[str, ...]:
        """The columns of the key that the API's rows have."""
        added = self.context_columns
        return tuple(name for name in self.key if name not in added)

    @cached_property
    def pages_go_by_rows(self) -> bool:
        """True if the next page, or the proof, is made of a page's rows."""
        paging = self.paging
        shares = self.overlaps or paging.shared_rows is SharedRows.SAME_CURSOR
        return self.proven or shares or paging.by_row

    @cached_property
    def row_selection(self) -> RowSelection:
        """The selection of rows in a body: where they are, and in which form."""
        query = self.rows.removeprefix(JMESPATH) if self.rows.startswith(JMESPATH) else None
        outer = {n: c.response_path for n, c in self.columns.items() if c.is_outer}
        return RowSelection(
            path=self.rows_path,
            jmespath=query.strip() if query is not None else None,
            form=self.rows_as,
            may_lack=self.rows_may_lack,
            key_column=self.key_column,
            value_column=self.value_column,
            names_at=split_path(self.names_at) if self.names_at else (),
            outer={name: path for name, path in outer.items() if path is not None},
        )

    @property
    def needed(self) -> frozenset[str]:
        """The columns that every row must have a value of."""
        return frozenset(self.key).union(n for n, c in self.columns.items() if not c.nullable)

    @property
    def rows_path(self) -> tuple[str, ...]:
        return () if self.rows.startswith(JMESPATH) else split_path(self.rows)

    @cached_property
    def by_key(self) -> bool:
        """True if pages come in order of the key, so that the proof by keys holds.

        In which order rows with a key of several columns come is not known.
        """
        in_order = self.paging.sorted_by_key and self.row_order != "none"
        return in_order and len(self.key_of_rows) == 1

    @property
    def overlaps(self) -> bool:
        """True if each page by offset begins with the last row of the page before it."""
        return self.paging.shared_rows is SharedRows.LAST and self.row_order != "none"

    @cached_property
    def row_order(self) -> Literal["ascending", "descending", "none"]:
        """The order of the key in which the pages come; rows without a key have none."""
        return self.order if self.key else "none"

    @property
    def counted(self) -> bool:
        """True if the API says how many rows match."""
        return bool(self.paging.total_at or self.count)

    @property
    def resumable(self) -> bool:
        """False if a later attempt can't resume where this one stopped.

        A token may die with the run; rows shift between numbered pages, and nothing would show it.
        """
        return self.paging.resumes(proven=self.proven)

    @cached_property
    def proven(self) -> bool:
        """True if the keys of the pages prove that nothing lies between them."""
        return self.by_key and self.paging.contiguous

    @property
    def feed(self) -> bool:
        """True if the API knows no window: a response has its latest rows."""
        return self.incremental and self.window.start == self.window.end == "none"

    @property
    def may_stop_early(self) -> bool:
        """True of a feed in pages, which may come newest first: none behind the window is needed.

        Numbered pages are held against a count of all of them, unless the YAML says the order.
        """
        return (
            self.feed and not self.paging.one_page and (self.paging.names_next or bool(self.sort))
        )

    @property
    def can_seek(self) -> bool:
        """True if rows after a given key can be requested."""
        return self.request.can_seek

    @property
    def request_values(self) -> tuple[Any, ...]:
        """The parameters and the body of the request, as in the YAML; none of Apicalypse."""
        return self.request.templates

    @cached_property
    def placeholders(self) -> frozenset[str] | None:
        """The placeholders in the request and the path; None if the request's dialect has none."""
        of_request = self.request.placeholders
        return None if of_request is None else of_request | placeholders_in(str(self.path))

    @model_validator(mode="after")
    def _consistent(self) -> "Endpoint":
        """:raises ValueError: all that does not fit, one a line."""
        if misfits := dict.fromkeys(self._misfits()):
            raise ValueError("\n".join(misfits))
        return self

    def _misfits(self) -> Iterator[str]:
        bare = next((name for name in self.value_columns if name not in self.columns), None)
        if bare is not None:
            yield f"column_here `{bare}` needs a declared type, e.g. `columns: {{{bare}: int64}}`"
        for cursor in self.cursors:
            if cursor not in self.columns:
                yield (
                    f"the cursor `{cursor}` needs a declared type, e.g. "
                    f"`columns: {{{cursor}: 'timestamp[s]'}}`"
                )
        yield from self._cursor_is_a_time()
        yield from problems(self)

    def _cursor_is_a_time(self) -> Iterator[str]:
        for cursor in self.cursors:
            if cursor not in self.columns:
                continue
            kind = self.columns[cursor].type
            if not kind.startswith(("timestamp[", "date")):
                yield (
                    f"the cursor `{cursor}` is declared as `{kind}`: expected `date` or a "
                    "timestamp, e.g. `timestamp[s]` for seconds since 1970, `timestamp[iso]` for "
                    "text; or `int64`, for a number that only rises"
                )
            if kind == "date" and self.window.resolution_s < DAY_S:
                yield (
                    f"the cursor `{cursor}` is a day without a time: say so with "
                    "`window: {resolution_s: 86400}`"
                )
