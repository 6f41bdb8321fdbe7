"""Which rows a `where` can match at all, from the indexes over `id` and `updated_at`.

A plan is a superset of the matches; `exact` says that it is the matches. What the indexes
cannot tell is left to the predicate.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emulator.evaluate import Predicate
from emulator.query import And, Compare, Or, Where
from emulator.table import Table

_ORDERINGS = frozenset({"=", ">", ">=", "<", "<="})


@dataclass(frozen=True, slots=True)
class _Span:
    """The places `[low, high)` of one index."""

    field: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """`rows` is None where every row may match."""

    rows: _Span | frozenset[int] | None
    exact: bool


def matching_ids(
    table: Table, where: Where | None, predicate: Callable[[Where], Predicate]
) -> list[int]:
    """The ids of the rows that match, rising."""
    if where is None:
        return table.ids.copy()
    plan = _plan(table, where)
    if isinstance(plan.rows, _Span) and plan.rows.field == "id":
        ids = list(table.ids[plan.rows.low : plan.rows.high])
    elif plan.rows is None:
        ids = table.ids.copy()
    else:
        ids = sorted(_listed(table, plan.rows))
    if plan.exact:
        return ids
    holds = predicate(where)
    return [id_ for id_ in ids if holds(table.row(id_))]


def _plan(table: Table, where: Where) -> _Plan:
    if isinstance(where, Compare):
        return _compare(table, where)
    if isinstance(where, And):
        return _both(table, [_plan(table, part) for part in where.parts])
    if isinstance(where, Or):
        plans = [_plan(table, part) for part in where.parts]
        if any(plan.rows is None for plan in plans):
            return _Plan(None, False)
        found = (_listed(table, plan.rows) for plan in plans if plan.rows is not None)
        return _Plan(frozenset().union(*found), all(plan.exact for plan in plans))
    return _Plan(None, False)


def _compare(table: Table, where: Compare) -> _Plan:
    value = where.value
    if where.field == "updated_at" and value is None and where.op == "=":
        return _Plan(frozenset(table.index.nulls), True)
    if isinstance(value, bool | str | None) or where.op not in _ORDERINGS:
        return _Plan(None, False)
    if where.field == "updated_at":
        return _Plan(_Span("updated_at", *table.index.bounds(where.op, value)), True)
    if where.field == "id":
        return _Plan(_Span("id", *_id_bounds(table.ids, where.op, value)), True)
    return _Plan(None, False)


def _id_bounds(ids: Sequence[int], op: str, value: float) -> tuple[int, int]:
    low = {">": bisect_right(ids, value), ">=": bisect_left(ids, value)}.get(op, 0)
    high = {"<": bisect_left(ids, value), "<=": bisect_right(ids, value)}.get(op, len(ids))
    return (bisect_left(ids, value), bisect_right(ids, value)) if op == "=" else (low, high)


def _both(table: Table, plans: Sequence[_Plan]) -> _Plan:
    exact = all(plan.exact for plan in plans)
    spans: dict[str, _Span] = {}
    parts: list[_Span | frozenset[int]] = []
    for plan in plans:
        if isinstance(plan.rows, _Span):
            span, known = plan.rows, spans.get(plan.rows.field, plan.rows)
            low, high = max(span.low, known.low), min(span.high, known.high)
            spans[span.field] = _Span(span.field, low, max(low, high))
        elif plan.rows is not None:
            parts.append(plan.rows)
    parts.extend(spans.values())
    if len(parts) < 2:
        return _Plan(parts[0] if parts else None, exact)
    smallest, *others = sorted((frozenset(_listed(table, part)) for part in parts), key=len)
    return _Plan(smallest.intersection(*others), exact)


def _listed(table: Table, rows: _Span | frozenset[int]) -> Sequence[int] | frozenset[int]:
    if isinstance(rows, frozenset):
        return rows
    return (table.ids if rows.field == "id" else table.index.ids)[rows.low : rows.high]
