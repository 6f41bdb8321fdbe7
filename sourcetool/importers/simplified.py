"""Values with what is known put in: settings with their defaults, joined texts, constants. Pure."""

from typing import Any

from sourcetool.importers.values import (
    Applied,
    Choice,
    Formatted,
    Joined,
    Literal,
    Setting,
    Value,
)


def either(first: Value, second: Value) -> Value:
    if isinstance(first, Setting) and first.default in (None, "") and isinstance(second, Literal):
        return Setting(first.path, second.value)
    return Choice(first, first, second)


def simplified(value: Value) -> Value:
    """The value with all that is known put in: settings with their defaults, joined texts."""
    if isinstance(value, Joined):
        return _joined(value)
    if isinstance(value, Choice):
        return _chosen(
            Choice(simplified(value.test), simplified(value.then), simplified(value.otherwise))
        )
    if isinstance(value, Formatted):
        return Formatted(simplified(value.value), value.format)
    if isinstance(value, Applied):
        return _folded(Applied(value.name, tuple(simplified(item) for item in value.values)))
    return value


def _joined(value: Joined) -> Value:
    merged: list[Value] = []
    for item in map(simplified, value.values):
        parts = item.values if isinstance(item, Joined) else (item,)
        for part in parts:
            last = merged[-1] if merged else None
            if isinstance(part, Literal) and isinstance(last, Literal):
                merged[-1] = Literal(f"{_text(last.value)}{_text(part.value)}")
            elif not (isinstance(part, Literal) and part.value in ("", None)):
                merged.append(part)
            _offset_with_colon(merged)
    if not merged:
        return Literal("")
    # A template of one expression has that expression's value; blanks around it don't count.
    solid = [
        each for each in merged if not (isinstance(each, Literal) and not _text(each.value).strip())
    ]
    return solid[0] if len(solid) == 1 else Joined(tuple(merged))


def _offset_with_colon(parts: list[Value]) -> None:
    """``x[:-2] + ":" + x[-2:]`` puts the colon into +0000: one value in place of three."""
    if len(parts) < 3 or parts[-2] != Literal(":"):
        return
    head, tail = parts[-3], parts[-1]
    if not (isinstance(head, Applied) and isinstance(tail, Applied)):
        return
    ends = (Literal(None), Literal(-2)), (Literal(-2), Literal(None))
    if head.name == tail.name == "slice" and (head.values[1:], tail.values[1:]) == ends:
        parts[-3:] = [Applied("offset with colon", (head.values[0],))]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _chosen(value: Choice) -> Value:
    test, then, other = value.test, value.then, value.otherwise
    if isinstance(test, Literal):
        return then if test.value else other
    if then == other:
        return then
    same = isinstance(test, Setting) and isinstance(then, Setting) and test.path == then.path
    if same and isinstance(then, Setting) and isinstance(other, Literal):
        return Setting(then.path, other.value)
    return value


def _folded(value: Applied) -> Value:
    """An operation on constants is their result, where that is plain to see."""
    items = [item.value for item in value.values if isinstance(item, Literal)]
    if len(items) != len(value.values) or not items:
        return value
    if value.name == "not":
        return Literal(not items[0])
    if value.name in ("eq", "ne") and len(items) == 2:
        return Literal((items[0] == items[1]) == (value.name == "eq"))
    if value.name in ("in", "notin") and isinstance(items[1], str | list | dict):
        return Literal((items[0] in items[1]) == (value.name == "in"))
    if value.name == ".join" and isinstance(items[1], list):
        return Literal(str(items[0]).join(map(str, items[1])))
    if value.name == "|int":
        return Literal(int(items[0])) if str(items[0]).isdigit() else value
    return value
