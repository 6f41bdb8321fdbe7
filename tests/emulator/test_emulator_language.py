"""Parser and evaluator: precedence, operators, errors, and a naive reading to compare with."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.apicalypse import parse, parse_multi
from emulator.data import Timeline
from emulator.evaluate import compile_where
from emulator.plan import matching_ids
from emulator.query import And, Compare, Match, Members, Or, Query, QueryError, Sort
from emulator.schema import sizes
from emulator.store import Store


def matches(where: str, row: dict[str, Any]) -> bool:
    parsed = parse(f"where {where};").where
    assert parsed is not None
    return compile_where(parsed)(row)


def test_every_statement_in_long_and_short_form() -> None:
    long = 'fields a,b.c; exclude d; where a = 1; limit 5; offset 7; sort a desc; search "x";'
    short = 'f a,b.c; x d; w a = 1; l 5; o 7; s a desc; search "x";'
    expected = Query(
        ("a", "b.c"), ("d",), Compare("a", "=", 1), 5, 7, Sort("a", descending=True), "x"
    )
    assert parse(long) == parse(short) == expected
    assert parse("") == Query(limit=10, offset=0)


def test_and_binds_tighter_than_or() -> None:
    a, b, c = (Compare(name, "=", 1) for name in "abc")
    assert parse("where a=1 | b=1 & c=1;").where == Or((a, And((b, c))))
    assert parse("where a=1 & b=1 | c=1;").where == Or((And((a, b)), c))
    assert parse("where (a=1 | b=1) & c=1;").where == And((Or((a, b)), c))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('n = "a"', Compare("n", "=", "a")),
        ('n = "a"*', Match("n", "prefix", "a", fold=False)),
        ('n = *"a"', Match("n", "suffix", "a", fold=False)),
        ('n ~ *"a"*', Match("n", "infix", "a", fold=True)),
        ('n ~ "a"', Match("n", "exact", "a", fold=True)),
        ('n != *"a"*', Match("n", "infix", "a", fold=False, negated=True)),
        ("g = [1,2]", Members("g", "all", (1, 2))),
        ("g = (1,2)", Members("g", "any", (1, 2))),
        ("g = {1,2}", Members("g", "exact", (1, 2))),
        ("g = ![1,2]", Members("g", "all", (1, 2), negated=True)),
        ("g = !(1,2)", Members("g", "any", (1, 2), negated=True)),
        ("g != (1)", Members("g", "any", (1,), negated=True)),
        ("r >= -1.5", Compare("r", ">=", -1.5)),
        ("c = null", Compare("c", "=", None)),
        ("t = true", Compare("t", "=", True)),
        (r'n = "a \"quoted\" ü;"', Compare("n", "=", 'a "quoted" ü;')),
    ],
)
def test_conditions(text: str, expected: object) -> None:
    assert parse(f"where {text};").where == expected


@pytest.mark.parametrize(
    ("where", "row", "expected"),
    [
        ("g = 5", {"g": [4, 5]}, True),
        ("g = [4,5]", {"g": [4, 5, 6]}, True),
        ("g = [4,7]", {"g": [4, 5, 6]}, False),
        ("g = (4,7)", {"g": [4, 5, 6]}, True),
        ("g = {5,4}", {"g": [4, 5]}, True),
        ("g = {5,4}", {"g": [4, 5, 6]}, False),
        ("g = !(1,2)", {"g": [3]}, True),
        ("g = !(1,2)", {}, True),
        ("id = (1,2)", {"id": 2}, True),
        ("c = null", {}, True),
        ("c != null", {"c": 0}, True),
        ("c < 5", {}, False),
        ("c != 5", {}, True),
        ("t = true", {"t": 1}, False),
        ('n = "ab"*', {"n": "abc"}, True),
        ('n = "AB"*', {"n": "abc"}, False),
        ('n ~ "AB"*', {"n": "abc"}, True),
        ('n < "b"', {"n": "abc"}, True),
        ("n < 5", {"n": "abc"}, False),
    ],
)
def test_meaning(where: str, row: dict[str, Any], expected: bool) -> None:
    assert matches(where, row) is expected


@pytest.mark.parametrize(
    ("text", "title", "cause"),
    [
        ("fields *", "Syntax Error", "Missing `;` at end of query"),
        ("where a = 1 &;", "Syntax Error", "Expecting a field"),
        ("where (a = 1;", "Syntax Error", "Expecting `)`"),
        ('where a = "b;', "Syntax Error", "Unexpected input"),
        ("limit 501;", "Invalid Limit", "maximum is 500"),
        ("limit -1;", "Syntax Error", "whole number"),
        ("fetch a;", "Syntax Error", "Unknown statement `fetch`"),
        ("limit 5; l 6;", "Syntax Error", "given twice"),
        ("where " + "(" * 100 + "a=1" + ")" * 100 + ";", "Syntax Error", "nested deeper"),
    ],
)
def test_errors(text: str, title: str, cause: str) -> None:
    with pytest.raises(QueryError, match=title) as caught:
        parse(text)
    (body,) = caught.value.body()
    assert body["status"] == 400
    assert cause in str(body["cause"])


def test_multiquery_blocks() -> None:
    blocks = parse_multi('query games "A" { fields *; limit 5; };\nquery games/count "B" {};')
    assert [(b.endpoint, b.name, b.count) for b in blocks] == [
        ("games", "A", False),
        ("games", "B", True),
    ]
    with pytest.raises(QueryError, match="Too Many Concurrent queries"):
        parse_multi('query games "A" {};' * 11)
    with pytest.raises(QueryError, match="Missing `;`"):
        parse_multi('query games "A" {}')


ROWS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(0, 4),
        "b": st.integers(0, 4),
        "n": st.sampled_from(["ab", "Ab", "ba", "abab"]),
        "g": st.lists(st.integers(0, 4), unique=True, max_size=4),
    },
)
_ATOMS = st.one_of(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from(["=", "!=", ">", ">=", "<", "<="]), st.integers(0, 4)
    ),
    st.tuples(st.just("n"), st.sampled_from(["^", "$", "*", "~"]), st.sampled_from(["ab", "a"])),
    st.tuples(
        st.just("g"),
        st.sampled_from(["[]", "()", "{}", "![]", "!()"]),
        st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
    ),
)
TREES: st.SearchStrategy[Any] = st.recursive(
    _ATOMS,
    lambda inner: st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=8,
)


def as_text(tree: Any, parent: str = "|") -> str:
    """With no more parentheses than precedence requires."""
    if isinstance(tree[1], list) and tree[0] in "&|":
        text = f" {tree[0]} ".join(as_text(part, tree[0]) for part in tree[1])
        return f"({text})" if parent == "&" and tree[0] == "|" else text
    field, op, value = tree
    if field == "n":
        patterns = {"^": '= "{}"*', "$": '= *"{}"', "*": '= *"{}"*', "~": '~ "{}"'}
        return f"n {patterns[op].format(value)}"
    if field == "g":
        return f"g = {op[:-1]}{','.join(map(str, value))}{op[-1]}"
    return f"{field} {op} {value}"


def naive(tree: Any, row: dict[str, Any]) -> Any:
    if isinstance(tree[1], list) and tree[0] in "&|":
        results = [naive(part, row) for part in tree[1]]
        return all(results) if tree[0] == "&" else any(results)
    field, op, wanted = tree
    if field == "n":
        n = row.get("n", "")
        tests = {"^": n[: len(wanted)] == wanted, "$": n[-len(wanted) :] == wanted}
        return {**tests, "*": n.find(wanted) >= 0, "~": n.lower() == wanted}[op] and "n" in row
    if field == "g":
        have, want = set(row.get("g", [])), set(wanted)
        result = {"[": want <= have, "(": bool(want & have), "{": want == have}[op[-2]]
        return result != op.startswith("!")
    value = row.get(field)
    if op in ("=", "!="):
        return (value == wanted) == (op == "=")
    if value is None:
        return False
    return {">": value > wanted, ">=": value >= wanted, "<": value < wanted, "<=": value <= wanted}[
        op
    ]


@pytest.mark.slow
@given(TREES, st.lists(ROWS, max_size=8))
@settings(max_examples=150)
def test_evaluator_agrees_with_a_naive_one(tree: Any, rows: list[dict[str, Any]]) -> None:
    where = as_text(tree)
    for row in rows:
        assert matches(where, row) == naive(tree, row), where


STORE = Store(sizes(300), 5, Timeline(1_700_000_000, daily_share=0.02))
# Values that rows have, so that boundaries are met, and some beyond.
VALUES: dict[str, list[Any]] = {
    field: [0, *values[:: max(1, len(values) // 8)], 10**10]
    for field in ("id", "updated_at", "hypes")
    for values in [sorted({row[field] for row in STORE.table("games").rows() if field in row})]  # type: ignore[type-var]
}
_INDEXED = st.tuples(
    st.sampled_from(["id", "updated_at", "hypes"]),
    st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "null"]),
    st.integers(0, 8),
)
CONDITIONS: st.SearchStrategy[Any] = st.recursive(
    _INDEXED,
    lambda inner: st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=6,
)


def indexed_text(tree: Any) -> str:
    if isinstance(tree[1], list):
        return "(" + f" {tree[0]} ".join(map(indexed_text, tree[1])) + ")"
    field, op, place = tree
    return f"{field} = null" if op == "null" else f"{field} {op} {VALUES[field][place]}"


@given(CONDITIONS)
@settings(max_examples=60)
def test_indexes_find_what_a_scan_finds(tree: Any) -> None:
    where = parse(f"where {indexed_text(tree)};").where
    assert where is not None
    holds = compile_where(where)
    table = STORE.table("games")
    scanned = [row["id"] for row in table.rows() if holds(row)]
    assert matching_ids(table, where, compile_where) == scanned
