"""An endpoint that is read once for each value of a list: repositories, accounts, shops.

A list is written down, or a column of another endpoint's committed rows; several named lists are
multiplied. ``parents`` of an endpoint is a list of the same kind; ``lists_of`` gives both as one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipeline.config.columns import RowFilter
from pipeline.config.request import placeholders_in
from pipeline.decode.types import parse_type
from pipeline.errors import cut
from pipeline.model import Model, Name, fits_header

if TYPE_CHECKING:
    from pipeline.config.endpoint import Endpoint


def _listed(values: Any) -> Any:
    """A setting is a text: its values are told apart by commas."""
    if isinstance(values, str):
        return [value for value in map(str.strip, values.split(",")) if value]
    for value in values if isinstance(values, list | tuple) else ():
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        if not whole and not (isinstance(value, str) and value):
            raise ValueError(
                f"expected texts and whole numbers, got {cut(repr(value), 60)}: put it into "
                "quotes, or take it away"
            )
    return values


def _different(values: tuple[str | int, ...]) -> tuple[str | int, ...]:
    texts: set[str] = set()
    for text in map(str, values):
        if text in texts:
            raise ValueError(f"{text!r} stands here twice: take one away")
        texts.add(text)
    return values


ListName = Annotated[
    str, Field(pattern=r"^[A-Za-z_]\w*$", description="letters, digits and _, no digit first")
]
"""Of a list of a product: what stands behind ``each.`` in placeholders."""


class EachList(Model):
    """A list of values: ``values``, or ``column`` of the newest committed rows of ``endpoint``.

    Of another endpoint's rows each different value is taken once.
    """

    values: (
        Annotated[
            tuple[str | int, ...],
            BeforeValidator(_listed, json_schema_input_type=list[str | int] | str),
            AfterValidator(_different),
            Field(min_length=1),
        ]
        | None
    ) = Field(None, description="a list, or a text with commas, such as a setting")
    endpoint: Name | None = Field(None, description="another endpoint: its newest committed rows")
    column: str | None = Field(None, description="the column of these rows that has the values")
    where: RowFilter = Field({}, description="of these rows those that meet it")

    @model_validator(mode="after")
    def _one_kind(self) -> "EachList":
        if self.values is not None and self.endpoint is not None:
            raise ValueError(
                "`values` and `endpoint` exclude each other: leave `values` out, or `endpoint` "
                "with its `column` and `where`"
            )
        if self.endpoint is None and (self.column or self.where):
            raise ValueError("`column` and `where` are of another endpoint's rows: add `endpoint`")
        if self.endpoint is not None and self.column is None:
            raise ValueError(
                "`endpoint` needs `column`, the column of its rows that has the values: add it"
            )
        return self


def _product_in_schema(schema: dict[str, Any]) -> None:
    """Named lists stand beside the other keys."""
    lists = schema["properties"].pop("lists")
    (schema["additionalProperties"],) = lists["patternProperties"].values()


class EachConfig(EachList):
    """The values, each with the window and all pages of its own. Several named lists in place of
    one make a product: `company: {endpoint: companies, column: id}`, `kind: {values: [a, b]}`.
    """

    model_config = {"json_schema_extra": _product_in_schema}

    lists: dict[ListName, EachList] = {}
    column_here: str | None = Field(None, description="a column of the rows that gets the value")
    group: int = Field(1, ge=1, description="how many values one request names, joined by ,")
    concurrency: int = Field(8, ge=1, description="values that are read side by side")
    timeout_s: float | None = Field(
        None, gt=0, description="a value that takes longer has failed, where some may"
    )
    max_failed_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the partition commits while at most this share failed; with a cursor, the "
        "next partition reads further back for them",
    )

    @model_validator(mode="before")
    @classmethod
    def _named_lists(cls, data: Any) -> Any:
        """Mappings by other names than the keys' are the lists of a product."""
        if not isinstance(data, Mapping):
            return data
        lists = {
            name: part
            for name, part in data.items()
            if name not in cls.model_fields and isinstance(part, Mapping | EachList)
        }
        rest = {name: part for name, part in data.items() if name not in lists}
        return {**rest, "lists": {**rest.get("lists", {}), **lists}} if lists else data

    @property
    def found_in_run(self) -> bool:
        """True if the source finds the values when a run begins, and each run may find others."""
        return False

    @property
    def in_lanes(self) -> bool:
        """True if the values are lanes of the source, or rows that know theirs."""
        return False

    @property
    def lists_failures(self) -> bool:
        """True if a value that fails is listed, and the others go on."""
        return self.max_failed_share > 0

    @model_validator(mode="after")
    def _has_values(self) -> "EachConfig":
        if self.found_in_run:
            return self
        of_its_own = self.values is not None or self.endpoint is not None
        if self.lists and of_its_own:
            raise ValueError(
                "a list of its own and named lists exclude each other: give the list a name, too"
            )
        parts = self.lists or {"": self}
        for name, part in parts.items():
            if part.values is None and part.endpoint is None:
                of = f" of `{name}`" if name else ""
                raise ValueError(
                    f"there are no values{of}: add `values` (a setting that is empty gives none), "
                    "or `endpoint` and `column`"
                )
        if self.group > 1 and self.lists:
            raise ValueError("`group` is of one list: leave it out, or the product")
        return self


class ParentsConfig(Model):
    """This endpoint's requests are made from the rows of another one: those of the same partition;
    with a ``cursor`` of its own, from the newest committed rows of all.
    """

    endpoint: Name
    column: str = Field("id", description="the parent's column that goes into {parent}")
    group: int = Field(1, ge=1, description="how many parents one request names, joined by ,")
    column_here: str | None = Field(
        None, description="a column of the child rows that gets the parent's value"
    )
    concurrency: int = Field(8, ge=1, description="parents that are read side by side")
    timeout_s: float | None = Field(
        None, gt=0, description="a parent that takes longer has failed, where some may"
    )
    max_failed_share: float = Field(
        0.0, ge=0, le=1, description="the partition commits while at most this share failed"
    )


@dataclass(frozen=True)
class ValueList:
    """A list that an endpoint fans out over.

    :ivar prefix: its placeholder, ``each``, ``each.NAME`` or ``parent``; with a dot and a name
        behind it, another column of the same row.
    :ivar endpoint: whose rows the values are of; None: they are ``values``.
    """

    prefix: str
    values: tuple[str | int, ...] | None = None
    endpoint: str | None = None
    column: str = ""
    where: RowFilter | None = None


def lists_of(endpoint: "Endpoint") -> tuple[ValueList, ...]:
    """The lists that an endpoint fans out over; of several, the product."""
    each, parents = endpoint.each, endpoint.parents
    if parents is not None:
        return (ValueList("parent", None, parents.endpoint, parents.column),)
    if each is None:
        return ()
    by_prefix = {f"each.{name}": part for name, part in each.lists.items()} or {"each": each}
    return tuple(
        ValueList(prefix, part.values, part.endpoint, part.column or "", part.where)
        for prefix, part in by_prefix.items()
    )


def used_columns(endpoint: "Endpoint", prefix: str) -> tuple[str, ...]:
    """The other columns of a list's rows that the request or the rows' columns take."""
    names = [*(endpoint.placeholders or ()), *endpoint.value_columns.values()]
    columns = (name.removeprefix(f"{prefix}.") for name in names if name.startswith(f"{prefix}."))
    whole = {of.prefix for of in lists_of(endpoint)}
    return tuple(sorted({name for name in columns if f"{prefix}.{name}" not in whole}))


def _fits(value: str | int, kind: str) -> bool:
    try:
        pa.scalar(value).cast(parse_type(kind).arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def problems_of_each(endpoint: "Endpoint") -> Iterator[str]:
    """The sentences on what does not fit the other parts of the endpoint."""
    if endpoint.parents is not None and endpoint.each is not None:
        yield "an endpoint has either `each` or `parents`: leave one of them out"
        return
    yield from _placeholders_have_lists(endpoint)
    yield from _values_fit(endpoint)
    of = endpoint.each or endpoint.parents
    if of is None:
        return
    name = "each" if endpoint.each else "parents"
    if of.group > 1 and endpoint.value_columns:
        noun = "parent" if endpoint.parents else "value"
        column = "column_here" if of.column_here else f"{next(iter(endpoint.value_columns))}.from"
        yield f"`{name}.{column}` needs one {noun} a request: set `group: 1`"
    if of.group > 1 and any(used_columns(endpoint, part.prefix) for part in lists_of(endpoint)):
        yield (
            f"`{name}.group` puts several values into one request, which other columns of their "
            f"rows can't go into: set `group: 1`, or use {{{lists_of(endpoint)[0].prefix}}} alone"
        )
    if endpoint.each and endpoint.sweep and not endpoint.value_columns:
        yield (
            "a sweep needs `each.column_here`, or it would take the rows of a value that is taken "
            "out of the list for deleted: name a column for it, and leave it out of the key if "
            "the API's key is unique by itself"
        )
    if endpoint.each and endpoint.sweep and lists_of(endpoint)[0].values is None:
        yield (
            "a sweep reads all keys of `each: {values: […]}` only: leave `sweep` out, or write the "
            "values down"
        )
    if endpoint.conditional:
        yield (
            f"`conditional` asks one response whether it has changed, and `{name}` has one for "
            "every value: leave `conditional` out"
        )


_OF_LISTS = re.compile(r"(?:each|parent)(?:\.[\w.]+)?")


def _placeholders_have_lists(endpoint: "Endpoint") -> Iterator[str]:
    """Each list is in the request, and each placeholder and column has its list."""
    lists = [value_list.prefix for value_list in lists_of(endpoint)]
    names = {f"{{{n}}}": n for n in endpoint.placeholders or () if _OF_LISTS.fullmatch(n)}
    names |= {f"`from: {n}` of `{c}`": n for c, n in endpoint.value_columns.items()}
    for spelling, name in names.items():
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in lists):
            continue
        top = name.partition(".")[0]
        owner = "each" if top == "each" else "parents"
        place = "the request has" if spelling.startswith("{") else "a column has"
        if not any(prefix.startswith(top) for prefix in lists):
            example = "`each: {values: […]}`" if top == "each" else "them"
            yield f"{place} {spelling}, but the endpoint has no `{owner}`: add {example}"
        else:
            expected = ", ".join(f"{{{prefix}}}" for prefix in lists)
            yield f"{place} {spelling}, and no list of `each` has that name: expected {expected}"
    placeholders = endpoint.placeholders or frozenset()
    for value_list in lists_of(endpoint):
        prefix = value_list.prefix
        alone = value_list.values is not None
        if alone and used_columns(endpoint, prefix):
            column = used_columns(endpoint, prefix)[0]
            yield (
                f"{{{prefix}.{column}}} is a column of another endpoint's rows, and the values "
                f"of `{prefix}` are written down: write {{{prefix}}}"
            )
        if endpoint.each and not any(
            name == prefix or name.startswith(f"{prefix}.") for name in placeholders
        ):
            yield (
                f"`{prefix}` requests the same for every value, since the request has no "
                f"{{{prefix}}}: put it into `path` or `request`"
            )


def _values_fit(endpoint: "Endpoint") -> Iterator[str]:
    """Written values go where they are put: into the column, the path, a header."""
    for value_list in lists_of(endpoint):
        prefix, values = value_list.prefix, value_list.values or ()
        for column in (c for c, name in endpoint.value_columns.items() if name == prefix):
            kind = endpoint.columns[column].type if column in endpoint.columns else "string"
            bad = next((value for value in values if not _fits(value, kind)), None)
            if bad is not None:
                yield (
                    f"column_here `{column}` is declared as `{kind}`, which can't hold the value "
                    f"{bad!r}: declare `{column}: string`"
                )
        leads_out = prefix in placeholders_in(endpoint.path or "") and next(
            (value for value in values if {".", ".."} & {*str(value).split("/")}), None
        )
        if leads_out:
            yield (
                f"the value {leads_out!r} of `{prefix}` would lead out of the path "
                f"`{endpoint.path}`: write it without . and .. as parts"
            )
        unread = prefix in endpoint.request.header_placeholders and next(
            (v for v in values if not fits_header(str(v))), None
        )
        if unread:
            yield (
                f"the value {unread!r} of `{prefix}` would go into a header, and has a line "
                f"break or a letter beyond ASCII, which no API can read there: put "
                f"{{{prefix}}} into `params`"
            )


def problems_of_lists(
    endpoints: Mapping[str, "Endpoint"],
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The endpoints whose list names rows that do not exist or fit: each with the key and the
    sentence.
    """
    for name, endpoint in endpoints.items():
        for value_list in lists_of(endpoint):
            above = endpoints.get(value_list.endpoint or "")
            if above is None:
                continue
            column = above.columns.get(value_list.column)
            whose = "its parent" if endpoint.parents else f"`{value_list.prefix}`'s endpoint"
            at = ("parents",) if endpoint.parents else tuple(value_list.prefix.split("."))
            if column is None and not above.infer and not value_list.column.startswith("_"):
                yield (
                    name,
                    (*at, "column"),
                    f"{whose} `{value_list.endpoint}` has no column `{value_list.column}`, and "
                    f"`infer` is false there: expected one of {', '.join(above.columns)}",
                )
            if column is not None and column.type.startswith(("list", "struct")):
                of = "its parent" if endpoint.parents else "the endpoint"
                yield (
                    name,
                    (*at, "column"),
                    f"`{value_list.column}` of {of} `{value_list.endpoint}` is declared as "
                    f"`{column.type}`: expected a column of single values",
                )
