"""Conditions on rows, as a mapping of columns: ``{type: file, size: {gt: 0}, owner: {not: null}}``.

All of them have to hold. A scalar is what the column equals, ``null`` included; a mapping has
operators: ``gt``, ``gte``, ``lt``, ``lte``, ``in``, ``not``. A dotted name is a member of an
object. Of null, ``gt`` and the like never hold.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator

from pipeline.errors import ContractBroken

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
_OPERATORS: Final = (*_ORDER, "in", "not")


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    for column, condition in given.items():
        if isinstance(condition, list):
            raise ValueError(f"`{column}` is a list: write `{column}: {{in: {condition}}}`")
        for name, value in condition.items() if isinstance(condition, dict) else ():
            if name not in _OPERATORS:
                raise ValueError(
                    f"`{column}` has `{name}`: expected one of {', '.join(_OPERATORS)}"
                )
            if name == "in" and not isinstance(value, list):
                raise ValueError(f"`{column}.in` is {value!r}: expected a list")
    return given


RowFilter = Annotated[dict[str, Any], AfterValidator(_checked)]


def meets(row: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether a row meets all conditions.

    :raises ContractBroken: a value can't be compared with that of the condition.
    """
    return all(_holds(member(row, path), wanted, path) for path, wanted in conditions.items())


def member(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of a member of an object in it; None if there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _holds(value: Any, wanted: Any, path: str) -> bool:
    if not isinstance(wanted, Mapping):
        return _same(value, wanted)
    for name, other in wanted.items():
        if name == "in":
            holds = any(_same(value, one) for one in other)
        elif name == "not":
            holds = not _holds(value, other, path)
        else:
            holds = value is not None and _ordered(name, value, other, path)
        if not holds:
            return False
    return True


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(_alike(value, wanted) == wanted)


def _ordered(name: str, value: Any, wanted: Any, path: str) -> bool:
    try:
        return bool(_ORDER[name](_alike(value, wanted), wanted))
    except TypeError:
        raise ContractBroken(
            f"`where` compares `{path}` = {value!r} with {wanted!r} by `{name}`, expected two "
            "numbers or two texts. Check: 1. the type of the column; 2. quotes in `where`"
        ) from None


def _alike(value: Any, wanted: Any) -> Any:
    """A time is compared with a text as ISO 8601."""
    if isinstance(value, datetime | date) and isinstance(wanted, str):
        return value.isoformat()
    return value
