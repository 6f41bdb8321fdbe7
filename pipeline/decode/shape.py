"""How an endpoint's pages look: plain data, and the errors about bodies that look otherwise.

Paths to values of a body and of a row belong here; the way to the rows is in ``row_selection``, the
types of columns in ``types``, the way from bytes to columns in ``base`` and in each kind.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pyarrow as pa

from pipeline.decode.coerce import CellRefused
from pipeline.decode.exact_json import DuplicateMember, NotJson, shorten
from pipeline.decode.row_selection import Path, RowSelection, step_into
from pipeline.decode.types import DeclaredType
from pipeline.errors import ContractBroken


@dataclass(frozen=True)
class Column:
    """A declared column. ``path`` leads to it inside a row; default: the member of its name.

    :ivar hidden: its values stand in no error, since they are hashed before they land.
    :ivar aside: what it is made of is there for other columns, too.
    :param only: the beginnings of the types that its use allows, of a cursor those of times; None:
        all types.
    """

    name: str
    type: DeclaredType
    path: tuple[str, ...] = ()
    nullable: bool = True
    hidden: bool = False
    aside: bool = False
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", (self.name,))


@dataclass(frozen=True)
class Shape:
    """How a page's body looks, and what its rows are.

    :param rows: where the rows are, and in which form; a path alone leads to a list of them.
    :param infer: members of a row that no declared column reads become columns too. A member with
        the name of a declared column is never inferred: the declaration wins.
    :param needed: columns that every row has, declared or not: those of the key and the cursor.
    :param ours: columns that are added to the rows: a member of that name is not inferred either.
    :param excluded: paths of members that no row keeps.
    :param snake_case: inferred columns get the names of their members in snake_case.
    :param contract: what happens to inferred columns that differ from the ``known`` schema.
    :param extras: name → path of values of the body outside the rows (next token, total).
    :param through_objects: the extras whose path leads through objects, and items by number; what
        else it meets there comes as ``NoObject`` in place of the value.
    :param max_columns: inferred columns, members of structs counted one by one.
    """

    rows: RowSelection = field(default_factory=RowSelection)
    columns: tuple[Column, ...] = ()
    infer: bool = False
    needed: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    excluded: frozenset[Path] = frozenset()
    snake_case: bool = False
    contract: Literal["evolve", "freeze"] = "evolve"
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    through_objects: frozenset[str] = frozenset()
    max_body_bytes: int = 64 * 1024 * 1024
    max_depth: int = 64
    max_columns: int = 2_000

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"column `{twice[0]}` is declared twice, expected one declaration a column"
            )

    def infers(self, column: str) -> bool:
        """Whether a column is inferred."""
        return self.infer and column not in self._declared

    def inferred_members(self, members: Iterable[str]) -> dict[str, str]:
        """The members of rows that become columns by inference: column → member.

        :raises ContractBroken: two members make one column.
        """
        members_by_column: dict[str, str] = {}
        for member in members:
            if not self.infers(member) or (member,) in self.excluded:
                continue
            name = in_snake_case(member) if self.snake_case else member
            if name in members_by_column or (self.snake_case and name in self._columns):
                other = members_by_column.get(name, name)
                raise ContractBroken(
                    f"the members `{member}` and `{other}` of the rows both make a column `{name}` "
                    "(`names: snake_case`), expected one. Check: 1. declare one of them under a "
                    f"name of its own, e.g. columns: {{{name}_2: {{type: json, path: {member}}}}}; "
                    f"2. if `{name}` is declared, its path, e.g. `path: {member}`; 3. exclude"
                )
            members_by_column[name] = member
        return members_by_column

    @cached_property
    def excluded_from_rows(self) -> frozenset[Path]:
        """The excluded paths that no declared column is made of."""
        made_of = [column.path for column in self.columns]
        return frozenset(
            path for path in self.excluded if all(of[: len(path)] != path for of in made_of)
        )

    def exclusions_inside(self, column: Column) -> frozenset[Path]:
        """The paths inside the values of a declared column that no row keeps."""
        n = len(column.path)
        return frozenset(path[n:] for path in self.excluded if path[:n] == column.path and path[n:])

    @cached_property
    def nested_exclusions(self) -> Mapping[str, frozenset[Path]]:
        """By member of a row: the paths inside it that no row keeps."""
        inside: dict[str, set[Path]] = {}
        for step, *rest in self.excluded:
            if rest:
                inside.setdefault(step, set()).add(tuple(rest))
        return {name: frozenset(paths) for name, paths in inside.items()}

    @cached_property
    def _columns(self) -> frozenset[str]:
        return self.ours.union(c.name for c in self.columns)

    @cached_property
    def _declared(self) -> frozenset[str]:
        names = ((c.name,) if c.aside else (c.name, c.path[0]) for c in self.columns)
        return self.ours.union(*names)


_HUMP = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def in_snake_case(name: str) -> str:
    """``createdAt``, ``CreatedAt``, ``created-at`` → ``created_at``; leading ``_`` stay."""
    lead = "_" * (len(name) - len(name.lstrip("_")))
    words = re.sub(r"[\W_]+", "_", _HUMP.sub("_", name)).strip("_").lower()
    return lead + words if words else name


def pruned(value: object, paths: Collection[Path]) -> object:
    """A value without the members at these paths, which lead through lists as well."""
    if isinstance(value, list):
        return [pruned(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    below: dict[str, list[Path]] = {}
    for step, *rest in paths:
        below.setdefault(step, []).append(tuple(rest))
    return {
        name: pruned(member, below[name]) if name in below else member
        for name, member in value.items()
        if () not in below.get(name, ())
    }


@dataclass(frozen=True)
class NoObject:
    """What a path meets in the place of an object, ``path`` being the way up to it."""

    value: object
    path: tuple[str, ...]


def extra_in(body: object, path: tuple[str, ...]) -> object:
    """The value at a path of a parsed body, outside the rows; None if absent.

    What is empty on the way, as PHP's ``[]`` for ``{}``, is an absent object; any other value that
    is none comes as ``NoObject``.
    """
    value = body
    for n, key in enumerate(path):
        by_number = isinstance(value, list) and key.isdecimal()
        if value and not isinstance(value, dict) and not by_number:
            return NoObject(value, path[:n])
        value = step_into(value, key)[1]
        if isinstance(value, DuplicateMember):
            value = value.second
    return float(value) if isinstance(value, NotJson) else value


def dig(row: Mapping[str, object], path: tuple[str, ...]) -> object:
    """The value at a path inside a row; None if absent.

    :raises CellRefused: a parent is no object.
    """
    value: object = row
    for key in path:
        if value is None:
            return None
        if isinstance(value, list) and key.isdecimal():
            value = value[int(key)] if int(key) < len(value) else None
            continue
        if not isinstance(value, dict):
            raise CellRefused(
                value, f"expected an object with `{key}`", "the member itself, or json"
            )
        value = value.get(key)
    return value


def table_of(columns: Mapping[str, pa.Array], shape: Shape, rows: int) -> pa.Table:
    """The columns as a table: the declared ones in their order, then the others by name."""
    names = [column.name for column in shape.columns]
    names += sorted(columns.keys() - set(names))
    if names:
        return pa.table([columns[name] for name in names], names=names)
    return pa.Table.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def remedy_for(column: Column, remedy: str) -> tuple[str, str]:
    """The types of a remedy that the column may have, and what to do where there are none."""
    if column.only is None or not remedy:
        return remedy, ""
    types = re.split(r", (?:or )?| or ", remedy) if not remedy.startswith("[") else [remedy]
    allowed = [text for text in types if text.startswith(column.only)]
    if allowed:
        return " or ".join(allowed), ""
    if not column.only:
        return (
            "",
            f". Check: that `deleted` names a member that is true or false, not `{column.name}`",
        )
    return "", (
        ". The column is the cursor, which has to be a time. Set one: 1. another column as "
        "`cursor`; 2. a `transform` that makes a time of it"
    )


def misfit(label: str, name: str, text: str, key: object, refused: CellRefused) -> ContractBroken:
    """The error about a value that a column does not take."""
    row = f"row {refused.row}" + (f" (id {shorten(key, 40)})" if key is not None else "")
    source = label.split("/")[0]
    remedy = f". Declare {name}: {refused.remedy} in the YAML of {source}" if refused.remedy else ""
    return ContractBroken(
        f"{label}: column `{name}` {text}, but {row} has {shorten(refused.value)}: "
        f"{refused.reason}{remedy}"
    )
