"""A `where` to a predicate over rows.

The law: `!=` and `!` are the exact negations of `=` and the plain list, so they hold for a
row without the field. `>`, `>=`, `<`, `<=` never hold for such a row, nor between a number
and a string. `null` is a field that is absent, or an empty array. For an array, `= x` means
that it contains x, and an ordering holds if it holds for any element. Numbers compare by
value; a boolean is equal to no number.
"""

import operator
from collections.abc import Callable, Iterator
from typing import TypeAlias

from emulator.query import And, Compare, Match, Members, Or, Scalar, Where

Row: TypeAlias = dict[str, object]
Predicate: TypeAlias = Callable[[Row], bool]
Getter: TypeAlias = Callable[[Row], object]
MakeGetter: TypeAlias = Callable[[str], Getter]

_ORDERINGS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def plain_getter(field: str) -> Getter:
    """The value of a field of the row itself; None if it has none."""
    return lambda row: row.get(field)


def compile_where(where: Where, getter: MakeGetter = plain_getter) -> Predicate:
    """The predicate; `getter` says how a field, perhaps a dotted one, is read."""
    if isinstance(where, And):
        parts = [compile_where(part, getter) for part in where.parts]
        return lambda row: all(part(row) for part in parts)
    if isinstance(where, Or):
        parts = [compile_where(part, getter) for part in where.parts]
        return lambda row: any(part(row) for part in parts)
    get = getter(where.field)
    if isinstance(where, Compare):
        return _compare(where, get)
    if isinstance(where, Match):
        return _match(where, get)
    return _members(where, get)


def fields_of(where: Where) -> Iterator[str]:
    """Every field that a `where` reads."""
    if isinstance(where, And | Or):
        for part in where.parts:
            yield from fields_of(part)
    else:
        yield where.field


def _same(value: object, wanted: Scalar) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _elements(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _negate_if(predicate: Predicate, *, negated: bool) -> Predicate:
    return (lambda row: not predicate(row)) if negated else predicate


def _compare(where: Compare, get: Getter) -> Predicate:
    wanted = where.value
    if where.op in ("=", "!="):
        if wanted is None:
            return _negate_if(lambda row: not _elements(get(row)), negated=where.op == "!=")
        return _negate_if(
            lambda row: any(_same(value, wanted) for value in _elements(get(row))),
            negated=where.op == "!=",
        )
    if isinstance(wanted, bool | None):
        return lambda row: False
    holds: Callable[[object, object], bool] = _ORDERINGS[where.op]  # type: ignore[assignment]
    kinds: tuple[type, ...] = (str,) if isinstance(wanted, str) else (int, float)

    def ordered(row: Row) -> bool:
        return any(
            isinstance(value, kinds) and not isinstance(value, bool) and holds(value, wanted)
            for value in _elements(get(row))
        )

    return ordered


def _match(where: Match, get: Getter) -> Predicate:
    wanted = where.text.casefold() if where.fold else where.text
    kind = where.kind

    def fits(value: object) -> bool:
        if not isinstance(value, str):
            return False
        text = value.casefold() if where.fold else value
        if kind == "prefix":
            return text.startswith(wanted)
        if kind == "suffix":
            return text.endswith(wanted)
        return wanted in text if kind == "infix" else text == wanted

    return _negate_if(lambda row: any(fits(v) for v in _elements(get(row))), negated=where.negated)


def _members(where: Members, get: Getter) -> Predicate:
    wanted = where.values

    def contains(values: list[object], value: Scalar) -> bool:
        return any(_same(element, value) for element in values)

    def holds(row: Row) -> bool:
        values = _elements(get(row))
        if where.mode == "any":
            return any(contains(values, value) for value in wanted)
        if not all(contains(values, value) for value in wanted):
            return False
        return where.mode == "all" or all(
            any(_same(element, value) for value in wanted) for element in values
        )

    return _negate_if(holds, negated=where.negated)
