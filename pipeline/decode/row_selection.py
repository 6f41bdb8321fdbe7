"""From a parsed body to its rows: the path to them, and the form of what stands there. Pure.

A path's step is a member of an object, an item of a list by its number, or ``*``: each item of a
list, each value of an object. What stands at the end of the path has one of the forms:

    form            what stands there                            rows
    list            a list of objects                            its items
    object          an object                                    one
    object_or_list  either of them                               one, or its items
    map             an object of objects, or of values           one a member
    columns         arrays of values, and names beside them,     one an array,
                    or an object of arrays side by side          or one a place in the arrays
    values          arrays of values                             one an array, by place: 0, 1, …
    scalars         a list of single values                      one a value

What comes behind a ``*`` may be absent, and an object there is one row. ``null`` in the place of
all rows stands for none, as Go writes an empty slice. Errors about other forms are in
``row_misfits``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from pipeline.decode.error_words import is_error_object
from pipeline.decode.exact_json import DuplicateMember, shorten
from pipeline.decode.row_misfits import ERROR_WORDS, RowsMisfit, missing_step, wrong_form, wrong_row

Row = dict[str, object]
Path = tuple[str, ...]
STAR: Final = "*"
_Trail = tuple[str | int, ...]
"""What each ``*`` of a path stands for: an item's number, or a member's name."""


@dataclass(frozen=True)
class RowSelection:
    """The place of the rows in a body, and their form.

    :ivar path: to the rows; () = the body itself. :ivar jmespath: an expression in place of it.
    :ivar form: one of ``FORMS``.
    :ivar may_lack: no member at the path stands for no rows, and ``null`` for no row.
    :ivar key_column: the column that gets the member's name of a map or of the last ``*``.
    :ivar value_column: the column of single values.
    :ivar names_at: path to the names of ``columns``.
    :ivar outer: columns from around a row, each with its path in the body; a ``*`` that the path
        shares with the rows' is the one that the row is in.
    """

    path: Path = ()
    jmespath: str | None = None
    form: str = "list"
    may_lack: bool = False
    key_column: str | None = None
    value_column: str = "value"
    names_at: Path = ()
    outer: Mapping[str, Path] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the rows are a list of objects at members of objects: the fast way reads them."""
        odd = any(step == STAR or step == r"\*" or step.isdecimal() for step in self.path)
        return self.form == "list" and not (odd or self.jmespath or self.outer or self.key_column)

    @property
    def nested(self) -> bool:
        """Whether one item of the API's list may be several rows."""
        return STAR in self.path

    @property
    def where(self) -> str:
        """The place of the rows, as the YAML says it."""
        return f"jmespath:{self.jmespath}" if self.jmespath else ".".join(self.path)


@dataclass(frozen=True)
class SelectedRows:
    """The rows of a body.

    :ivar items: what the API counts as rows: items of the list that the first ``*`` is about, or
        the rows, those included that are null.
    """

    rows: list[Row]
    items: int


def rows_in(body: object, selection: RowSelection, label: str) -> SelectedRows:
    """The rows of a parsed body. :raises ContractBroken: says what was there instead."""
    try:
        if selection.jmespath:
            leaves: list[tuple[object, _Trail]] = [(_searched(body, selection), ())]
            items = None
        else:
            walk = _Walk(body, selection)
            leaves = [*walk.leaves(body, selection.path, ())]
            items = walk.items
            walk.check_reached(len(leaves))
        rows: list[Row | None] = []
        for value, trail in leaves:
            rows += _rows_of_leaf(body, value, trail, selection)
    except RowsMisfit as misfit:
        raise misfit.sentence(label, body, selection.where) from None
    present = [row for row in rows if row is not None]
    return SelectedRows(present, len(rows) if items is None else items)


def rows_of_value(value: object, selection: RowSelection) -> list[Row]:
    """The rows of a value that has them by itself. :raises RowsMisfit: of another form."""
    rows = _checked(FORMS[selection.form](value, value, (), selection), may_lack=selection.may_lack)
    return [row for row in rows if row is not None]


def at_path(body: object, path: Path, trail: _Trail = ()) -> list[object]:
    """The values at a path: one, unless it has more ``*`` than ``trail``; none if absent."""
    if not path:
        return [body]
    step, rest = path[0], path[1:]
    if step != STAR:
        is_present, value = step_into(body, step)
        return at_path(value, rest, trail) if is_present else []
    if trail:
        is_present, value = step_into(body, str(trail[0]))
        return at_path(value, rest, trail[1:]) if is_present else []
    return [leaf for _, item in _items(body) for leaf in at_path(item, rest)]


def step_into(value: object, step: str) -> tuple[bool, object]:
    """Whether a value has the member, or the item of that number; and what it is."""
    if isinstance(value, dict):
        name = STAR if step == r"\*" else step
        return name in value, value.get(name)
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return True, value[int(step)]
    return False, None


@lru_cache(maxsize=256)
def compiled(expression: str) -> Any:
    """A JMESPath expression, compiled. :raises ValueError: it is none."""
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(str(error).replace("\n", " ")) from None


def _searched(body: object, selection: RowSelection) -> object:
    try:
        result = compiled(str(selection.jmespath)).search(body)
    except JMESPathError as error:
        text = str(error).replace("\n", " ")
        raise RowsMisfit(f"`rows` can't be evaluated on the body: {text}", []) from None
    if result is None and not selection.may_lack:
        raise RowsMisfit(
            "the expression `rows` finds nothing in the body",
            ["rows_may_lack: true, if a response without rows is like that"],
        )
    return result


class _Walk:
    """A way along the path of the rows; counts the items of its first ``*``."""

    def __init__(self, body: object, selection: RowSelection) -> None:
        self._body, self._selection = body, selection
        self.items: int | None = None

    def leaves(self, value: object, steps: Path, trail: _Trail) -> Iterator[tuple[object, _Trail]]:
        """The values at the end of the path, each with what the ``*`` stood for."""
        path = self._selection.path
        for number, step in enumerate(steps):
            depth = len(path) - len(steps) + number
            if step == STAR:
                yield from self._each(value, steps[number + 1 :], trail, depth)
                return
            is_present, inner = step_into(value, step)
            if not is_present:
                if self._passes_over(value, trail):
                    return
                lack = may_have_no_rows(self._body, value)
                raise missing_step(value, path, depth, may_lack=lack)
            value = inner
        yield value, trail

    def _each(
        self, value: object, rest: Path, trail: _Trail, depth: int
    ) -> Iterator[tuple[object, _Trail]]:
        if value is not None and not isinstance(value, dict | list):
            raise missing_step(value, self._selection.path, depth, may_lack=False)
        if self.items is None:
            self.items = len(value or ())
        for key, item in _items(value):
            yield from self.leaves(item, rest, (*trail, key))

    def _passes_over(self, value: object, trail: _Trail) -> bool:
        if trail:
            return value is None or isinstance(value, dict | list)
        return self._selection.may_lack and may_have_no_rows(self._body, value)

    def check_reached(self, leaves: int) -> None:
        """:raises RowsMisfit: there are items, and none has what the path leads to."""
        if not self.items or leaves or self._selection.may_lack:
            return
        path = self._selection.path
        star = path.index(STAR)
        rest = ".".join(path[star + 1 :])
        raise RowsMisfit(
            f"none of the {self.items:,} items at `{'.'.join(path[:star]) or 'the body'}` has "
            f"`{rest}`",
            ["rows_may_lack: true, if a page may have no row"],
        )


def may_have_no_rows(body: object, value: object) -> bool:
    """Whether a member may be absent because there are no rows.

    A body with a word for errors reports an error. A body with another list in the member's place
    shows that the path is wrong.
    """
    if not isinstance(body, dict) or not isinstance(value, dict):
        return False
    lists = any(isinstance(member, list) and member for member in value.values())
    return not lists and not any(word in body for word in ERROR_WORDS)


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _rows_of_leaf(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> list[Row | None]:
    """The rows of what stands at the end of the path, with the columns from around them."""
    if isinstance(value, DuplicateMember):
        raise RowsMisfit(f"{shorten(value.first)} is there, and {value.reason}", [])
    if value is None and (selection.where or selection.may_lack):
        return []
    if selection.form == "list" and selection.nested and isinstance(value, dict):
        rows = _object(body, value, trail, selection)
    else:
        rows = FORMS[selection.form](body, value, trail, selection)
    around: Row = {}
    key = next((step for step in reversed(trail) if isinstance(step, str)), None)
    if selection.key_column and selection.form != "map":
        around[selection.key_column] = key
    for name, path in selection.outer.items():
        around[name] = next(iter(at_path(body, path, trail)), None)
    return [
        row if row is None or not around else row | around
        for row in _checked(rows, may_lack=selection.may_lack)
    ]


def _checked(rows: Sequence[object], *, may_lack: bool) -> list[Row | None]:
    """The rows, each an object, or null where that stands for no row."""
    checked: list[Row | None] = []
    for number, row in enumerate(rows):
        if isinstance(row, dict) or (row is None and may_lack):
            checked.append(row)
            continue
        raise wrong_row(rows, number)
    return checked


def _list(body: object, value: object, trail: _Trail, selection: RowSelection) -> Sequence[object]:
    if not isinstance(value, list):
        raise wrong_form(value)
    return value


def _object(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> Sequence[object]:
    if not isinstance(value, dict):
        raise wrong_form(value, expected="one object, since `as: object` says so")
    return [value]


def _object_or_list(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> Sequence[object]:
    return value if isinstance(value, list) else _object(body, value, trail, selection)


def _map(body: object, value: object, trail: _Trail, selection: RowSelection) -> Sequence[object]:
    if value == []:  # how PHP writes an object without members
        return []
    if not isinstance(value, dict):
        raise wrong_form(value, expected="an object with a row a member (`as: map`)")
    if is_error_object(value) and all(
        isinstance(m, str) or is_error_object(m) for m in value.values()
    ):
        raise RowsMisfit(f"{{at}} is an error and no rows: {shorten(value, 200)}", [])
    rows: list[Row | None] = []
    for key, member in value.items():
        if isinstance(member, DuplicateMember):
            raise RowsMisfit(f"the member `{key}` is there twice: {member.reason}", [])
        if member is None and selection.may_lack:
            rows.append(None)
        elif isinstance(member, dict):
            rows.append(_with_key(member, key, selection.key_column))
        elif isinstance(member, list):
            raise RowsMisfit(
                f"the member `{key}` is a list",
                [f"`rows: {selection.where + '.*' if selection.where else '*'}` without `as`"],
            )
        else:
            rows.append(_with_key({selection.value_column: member}, key, selection.key_column))
    return rows


def _with_key(row: Row, key: str, column: str | None) -> Row:
    if column is None:
        return row
    own = row.get(column)
    if own is None:
        return {**row, column: key}
    if str(own) != key:
        raise RowsMisfit(
            f"the member `{key}` has `{column}` = {shorten(own)}, and `key_column: {column}` would "
            "put its name there",
            ["another name as `key_column`"],
        )
    return row


def _columns(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> Sequence[object]:
    if selection.names_at:
        names = _names(body, trail, selection.names_at)
        return [_named(row, names, number) for number, row in enumerate(_arrays(value))]
    if not isinstance(value, dict) or not all(isinstance(v, list) for v in value.values()):
        raise wrong_form(
            value,
            expected="an object of arrays side by side (`as: columns`; `names_at` says where names "
            "are beside arrays of values)",
        )
    lengths = {name: len(values) for name, values in value.items()}
    if len(set(lengths.values())) > 1:
        raise RowsMisfit(f"the arrays are not of one length: {shorten(lengths, 200)}", [])
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _names(body: object, trail: _Trail, path: Path) -> list[str]:
    values = at_path(body, path, trail)
    names = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    if not names or not all(isinstance(name, str) for name in names):
        raise RowsMisfit(
            f"`names_at: {'.'.join(path)}` leads to {shorten(names)}, expected a list of names",
            ["names_at, e.g. `fields.*.name` where each field is an object"],
        )
    if len({*names}) < len(names):
        raise RowsMisfit(f"`names_at` has a name twice: {shorten(names, 200)}", ["as: values"])
    return [str(name) for name in names]


def _named(row: object, names: Sequence[str], number: int) -> Row | None:
    if row is None:
        return None
    assert isinstance(row, list)
    if len(row) != len(names):
        raise RowsMisfit(
            f"row {number} has {len(row)} values, and `names_at` {len(names)} names",
            ["names_at"],
        )
    return dict(zip(names, row, strict=True))


def _arrays(value: object) -> list[object]:
    if not isinstance(value, list):
        raise wrong_form(value, expected="a list of arrays of values")
    for number, row in enumerate(value):
        if row is not None and not isinstance(row, list):
            raise RowsMisfit(
                f"row {number} is {shorten(row)}, expected an array of values",
                ["leave `as` out" if isinstance(row, dict) else "as: scalars"],
            )
    return value


def _values(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> Sequence[object]:
    return [
        {str(at): cell for at, cell in enumerate(row)} if isinstance(row, list) else None
        for row in _arrays(value)
    ]


def _scalars(
    body: object, value: object, trail: _Trail, selection: RowSelection
) -> Sequence[object]:
    if not isinstance(value, list):
        raise wrong_form(value, expected="a list of single values (`as: scalars`)")
    for number, cell in enumerate(value):
        if isinstance(cell, dict | list):
            raise RowsMisfit(
                f"row {number} is {shorten(cell)}, expected a single value",
                ["leave `as` out" if isinstance(cell, dict) else "as: values"],
            )
    return [
        None if cell is None and selection.may_lack else {selection.value_column: cell}
        for cell in value
    ]


FORMS: Final[Mapping[str, Callable[[object, object, _Trail, RowSelection], Sequence[object]]]] = {
    "list": _list,
    "object": _object,
    "object_or_list": _object_or_list,
    "map": _map,
    "columns": _columns,
    "values": _values,
    "scalars": _scalars,
}
