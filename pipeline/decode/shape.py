"""How an endpoint's pages look, and what is made of one: plain data, and sentences about misfits.

What belongs here: where in a body the rows and the scalar facts are. What a column holds is in
``types``; how bytes become columns is in ``fast_path``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, repeat
from typing import Literal

import pyarrow as pa

from pipeline.decode.coerce import CellRefused
from pipeline.decode.exact_json import DuplicateMember, shorten
from pipeline.decode.types import DeclaredType
from pipeline.errors import ContractBroken

_SPEAKING = ("message", "error", "errors", "detail", "title", "error_description", "reason")


@dataclass(frozen=True)
class Column:
    """One declared column. ``path`` leads to it inside a row; default: the member of its name."""

    name: str
    type: DeclaredType
    path: tuple[str, ...] = ()
    nullable: bool = True

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
    :param extras: name → path in the body of scalar facts (next token, total).
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
            raise ValueError(f"column {twice[0]} is declared twice: name each column once")

    def infers(self, member: str) -> bool:
        """Whether a row's member becomes a column by inference."""
        return self.infer and member not in self._declared

    @cached_property
    def _declared(self) -> frozenset[str]:
        return self.ours.union(name for c in self.columns for name in (c.name, c.path[0]))


@dataclass(frozen=True)
class DecodedPage:
    """One page, read.

    :param table: declared columns, then inferred ones by name. An inferred column whose values are
        all null or empty is there in a pending type; ``PageReader.conform`` settles it.
    :param extras: the scalar facts; None where absent.
    :param converted: how many cells of each column did not come as they landed.
    :param arrow_bytes: of the table; of one read together with others, its share by rows.
    """

    table: pa.Table
    extras: Mapping[str, object]
    converted: Counter[str]
    arrow_bytes: int


def rows_in(body: object, shape: Shape, where: str) -> list[dict[str, object]]:
    """The rows of a parsed body; ContractBroken says what was there instead.

    ``null`` at a path stands for no rows: that is how Go writes an empty slice.
    """
    value = body
    for depth, key in enumerate(shape.rows):
        if not isinstance(value, dict) or key not in value:
            if shape.rows_may_lack and _says_nothing(body, value):
                return []
            raise _no_rows(body, value, shape.rows, depth, where)
        value = value[key]
    if value is None and shape.rows:
        return []
    if not isinstance(value, list):
        raise _no_rows(body, value, shape.rows, len(shape.rows), where)
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise ContractBroken(
                f"{where}: row {index} is {shorten(row)}, an object was expected. "
                "Set the path to the rows in the source's YAML, if they are elsewhere"
            )
    return value


def _says_nothing(body: object, value: object) -> bool:
    """Whether rows may lack at a path since there are none.

    A body with a word for errors says that something is wrong, and one with another list where the
    path ends that the path is.
    """
    if not isinstance(body, dict) or not isinstance(value, dict):
        return False
    lists = any(isinstance(member, list) and member for member in value.values())
    return not lists and not any(word in body for word in _SPEAKING)


def extra_in(body: object, path: tuple[str, ...]) -> object:
    """A scalar fact of a parsed body; None if it isn't there."""
    value = body
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, DuplicateMember):
        return value.second
    return float(value) if isinstance(value, float) else value


def dig(row: Mapping[str, object], path: tuple[str, ...]) -> object:
    """The value at a path inside a row, None if it isn't there; Refused if a parent is no object"""
    value: object = row
    for key in path:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise CellRefused(
                value, f"an object with {key} was expected", "the member itself, or json"
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


def pages_of(
    table: pa.Table,
    extras: Sequence[Mapping[str, object]],
    rows: Sequence[int],
    converted: Counter[str],
) -> list[DecodedPage]:
    """The pages that were read together as one table: so many rows each."""
    starts = accumulate(rows, initial=0)
    conversions = chain([converted], repeat(Counter()))  # counted for all: their sum is asked for
    row_bytes = table.get_total_buffer_size() // max(1, table.num_rows)
    return [
        DecodedPage(table.slice(start, number), facts, cells, row_bytes * number)
        for start, number, facts, cells in zip(starts, rows, extras, conversions, strict=False)
    ]


def misfit(where: str, name: str, text: str, key: object, refused: CellRefused) -> ContractBroken:
    """The sentence about a value that a column does not take."""
    row = f"row {refused.row}" + (f" (id {shorten(key, 40)})" if key is not None else "")
    source = where.split("/")[0]
    remedy = f". Declare {name}: {refused.remedy} in the YAML of {source}" if refused.remedy else ""
    return ContractBroken(
        f"{where}: column {name} {text}, but {row} has {shorten(refused.value)}: "
        f"{refused.reason}{remedy}"
    )


def _no_rows(
    body: object, value: object, path: tuple[str, ...], depth: int, where: str
) -> ContractBroken:
    expected = f"a list of rows at {'.'.join(path)}" if path else "a list of rows"
    if path[:depth]:
        found = f"{'.'.join(path[:depth])} is {shorten(value)}"
    else:
        found = f"the body is {shorten(value)}"
    if depth < len(path) and isinstance(value, dict):
        found = f"there is no {path[depth]} among {', '.join(list(value)[:20]) or 'no members'}"
    said = [body[key] for key in _SPEAKING if key in body] if isinstance(body, dict) else []
    says = f"; it says: {shorten(said[0], 200)}" if said else ""
    remedy = ""
    if depth < len(path) and _says_nothing(body, value):
        remedy = ", or say rows_may_lack: true, if the API leaves them out where there are none"
    elif errors := [
        word for word in ("error", "errors") if isinstance(body, dict) and word in body
    ]:
        remedy = f", and say errors_at: {errors[0]}, if only an error has it"
    return ContractBroken(
        f"{where}: expected {expected}, but {found}{says}. If the request is right, correct the "
        f"path to the rows in the YAML of {where.split('/')[0]}{remedy}"
    )
