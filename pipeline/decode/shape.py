"""How an endpoint's pages look: plain data, and the errors about bodies that look otherwise.

The paths to the rows and to other values of a body belong here. The types of columns are in
``types``; the way from bytes to columns is in ``base`` and in each kind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pyarrow as pa

from pipeline.decode.coerce import CellRefused
from pipeline.decode.exact_json import DuplicateMember, shorten
from pipeline.decode.types import DeclaredType
from pipeline.errors import ContractBroken

_ERRORS = ("error", "errors")
_ERROR_WORDS = ("message", "error", "errors", "detail", "title", "error_description", "reason")


@dataclass(frozen=True)
class Column:
    """One declared column. ``path`` leads to it inside a row; default: the member of its name.

    :param only: the beginnings of the types that its use allows, of a cursor those of times; None:
        all types.
    """

    name: str
    type: DeclaredType
    path: tuple[str, ...] = ()
    nullable: bool = True
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", (self.name,))


@dataclass(frozen=True)
class Shape:
    """How a page's body looks, and what its rows are.

    :param rows: path to the list of rows; () = the body is the list itself.
    :param rows_may_lack: no member at that path stands for no rows.
    :param infer: members of a row that no declared column reads become columns too. A member with
        the name of a declared column is never inferred: the declaration wins.
    :param ours: columns that are added to the rows: a member of that name is not inferred either.
    :param contract: what happens to inferred columns that differ from the ``known`` schema.
    :param extras: name → path of values of the body outside the rows (next token, total).
    :param max_columns: inferred columns, members of structs counted one by one.
    """

    rows: tuple[str, ...] = ()
    rows_may_lack: bool = False
    columns: tuple[Column, ...] = ()
    infer: bool = False
    ours: frozenset[str] = frozenset()
    contract: Literal["evolve", "freeze"] = "evolve"
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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

    def infers(self, member: str) -> bool:
        """Whether a row's member becomes a column by inference."""
        return self.infer and member not in self._declared

    @cached_property
    def _declared(self) -> frozenset[str]:
        return self.ours.union(name for c in self.columns for name in (c.name, c.path[0]))


def rows_in(body: object, shape: Shape, label: str) -> list[dict[str, object]]:
    """The rows of a parsed body; ContractBroken says what was there instead.

    ``null`` at a path stands for no rows: that is how Go writes an empty slice.
    """
    value = body
    for depth, key in enumerate(shape.rows):
        if not isinstance(value, dict) or key not in value:
            if shape.rows_may_lack and _may_have_no_rows(body, value):
                return []
            raise _no_rows(body, value, shape.rows, depth, label)
        value = value[key]
    if value is None and shape.rows:
        return []
    if not isinstance(value, list):
        raise _no_rows(body, value, shape.rows, len(shape.rows), label)
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise ContractBroken(
                f"{label}: row {index} is {shorten(row)}, expected an object. Check `rows`, the "
                f"path to the rows, in the YAML of {label.split('/')[0]}"
            )
    return value


def _may_have_no_rows(body: object, value: object) -> bool:
    """Whether a member may be absent because there are no rows.

    A body with a word for errors reports an error. A body with another list in the member's place
    shows that the path is wrong.
    """
    if not isinstance(body, dict) or not isinstance(value, dict):
        return False
    lists = any(isinstance(member, list) and member for member in value.values())
    return not lists and not any(word in body for word in _ERROR_WORDS)


def extra_in(body: object, path: tuple[str, ...]) -> object:
    """The value at a path of a parsed body, outside the rows; None if absent."""
    value = body
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, DuplicateMember):
        return value.second
    return float(value) if isinstance(value, float) else value


def dig(row: Mapping[str, object], path: tuple[str, ...]) -> object:
    """The value at a path inside a row; None if absent.

    :raises CellRefused: a parent is no object.
    """
    value: object = row
    for key in path:
        if value is None:
            return None
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
    offered = re.split(r", (?:or )?| or ", remedy) if not remedy.startswith("[") else [remedy]
    allowed = [text for text in offered if text.startswith(column.only)]
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


def _no_rows(
    body: object, value: object, path: tuple[str, ...], depth: int, label: str
) -> ContractBroken:
    expected = f"a list of rows at `{'.'.join(path)}`" if path else "a list of rows"
    if path[:depth]:
        found = f"`{'.'.join(path[:depth])}` is {shorten(value)}"
    else:
        found = f"the body is {shorten(value)}"
    if depth < len(path) and isinstance(value, dict):
        members = ", ".join(f"`{name}`" for name in list(value)[:20]) or "no members"
        found = f"there is no `{path[depth]}` among {members}"
    errors = [body[key] for key in _ERROR_WORDS if key in body] if isinstance(body, dict) else []
    message = f"; the API says: {shorten(errors[0], 200)}" if errors else ""
    checks = ["the request", f"`rows`, the path to the rows, in the YAML of {label.split('/')[0]}"]
    if depth < len(path) and _may_have_no_rows(body, value):
        checks.append("rows_may_lack: true, if the API leaves the member out where it has no rows")
    elif isinstance(body, dict) and (word := next((w for w in _ERRORS if w in body), None)):
        checks.append(f"errors_at: {word}, if only an error has it")
    numbered = "; ".join(f"{number}. {check}" for number, check in enumerate(checks, 1))
    return ContractBroken(f"{label}: expected {expected}, but {found}{message}. Check: {numbered}")
