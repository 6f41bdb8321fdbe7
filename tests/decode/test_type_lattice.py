"""Inference and evolution: the order of pages changes nothing, and nothing is lost."""

import contextlib
import json
import random
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import fast_path
from pipeline.decode.base import Decoder
from pipeline.decode.inferred_columns import TypeConflict, adapt, join, settled, type_of
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.errors import ContractBroken
from tests.support.readers import reader_of

INFER = Shape(infer=True)

SCALARS = st.sampled_from(
    [None, True, 0, 7, -3, 2**53 + 1, 2**63, 2.5, 1e300, "x", "12", "2024-01-01", "TBD"]
)
CALM = st.sampled_from([None, 1, 2.5, 2**53 + 1, 4])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
    ),
    max_leaves=4,
)
NEAT = st.dictionaries(st.sampled_from("xy"), CALM, max_size=2)
LISTS = st.none() | st.lists(st.fixed_dictionaries({}, optional={"a": NEAT, "b": st.lists(NEAT)}))
# Columns that mostly agree, so that the pages are not all refused.
ROWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "number": CALM,
        "text": st.sampled_from([None, "a", "2024-01-01", "2024-01-01T00:00:00Z"]),
        "list": st.none() | st.lists(CALM, max_size=2),
        "object": st.none() | st.dictionaries(st.sampled_from("xyz"), CALM, max_size=2),
        "mixed": st.none() | st.lists(st.dictionaries(st.just("k"), st.just([])), max_size=2),
    },
)
WILD = st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2)


def outcome(pages: list[list[dict[str, Any]]], order: list[int]) -> Any:
    """Schema and rows, by page, after reading the pages in that order; None if refused."""
    reader = reader_of(INFER)
    tables = {}
    try:
        for number in order:
            tables[number] = reader.read(json.dumps(pages[number]).encode()).table
        conformed = {number: reader.conform(table) for number, table in tables.items()}
    except ContractBroken:
        return None
    return reader.schema, [conformed[number].to_pylist() for number in range(len(pages))]


@given(st.lists(st.lists(ROWS | WILD, max_size=3), min_size=1, max_size=4), st.randoms())
def test_the_order_of_pages_changes_nothing(
    pages: list[list[dict[str, Any]]], rng: random.Random
) -> None:
    first = outcome(pages, list(range(len(pages))))
    for _ in range(3):
        order = rng.sample(range(len(pages)), len(pages))
        assert outcome(pages, order) == first


@given(st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_what_is_read_is_what_was_sent(pages: list[list[dict[str, Any]]]) -> None:
    found = outcome(pages, list(range(len(pages))))
    if found is None:
        return
    for page, rows in zip(pages, found[1], strict=True):
        if rows:
            assert [prune(row) for row in rows] == [prune(row) for row in page]


def prune(value: Any) -> Any:
    """Without what a table can't tell apart: absent and null; and without empty things."""
    if isinstance(value, dict):
        return {k: v for k, v in ((k, prune(v)) for k, v in value.items()) if v not in (None, {})}
    if isinstance(value, list):
        return [prune(item) for item in value] if any(prune(i) for i in value) else None
    return value


def test_members_are_columns_by_name_and_iso_text_stays_text() -> None:
    reader = reader_of(INFER)
    day = {"b": 1, "a": {"y": "2024-01-01", "x": [{"t": "2024-01-01 00:00:00"}]}, "none": None}
    table = reader.conform(reader.read(json.dumps([day | {"e": [], "o": {}}]).encode()).table)
    assert table.to_pylist() == [{"a": day["a"], "b": 1}]
    assert str(table.schema.field("a").type) == (
        "struct<x: list<item: struct<t: string>>, y: string>"
    )
    later = reader.read(b'[{"a": {"y": "TBD"}, "e": [1], "o": {"k": null}, "none": "2024-01-01"}]')
    assert reader.schema.names == ["a", "b", "e", "none"]
    assert reader.conform(later.table).column("none").to_pylist() == ["2024-01-01"]


def test_earlier_pages_conform_to_later_ones() -> None:
    reader = reader_of(Shape(columns=(Column("id", parse_type("int64")),), infer=True))
    bodies = [
        b'[{"n": 1, "id": 1, "o": {"a": 1}, "l": []}]',
        b'[{"n": 2.5, "id": 2, "o": {"b": "x", "a": null}, "l": [3]}]',
        b'[{"id": 3, "o": {}}]',
    ]
    tables = [reader.read(body).table for body in bodies]
    whole = pa.concat_tables([reader.conform(table) for table in tables])
    assert whole.schema == reader.schema
    assert whole.schema.names == ["id", "l", "n", "o"]
    assert whole.to_pylist() == [
        {"id": 1, "l": [], "n": 1.0, "o": {"a": 1, "b": None}},
        {"id": 2, "l": [3], "n": 2.5, "o": {"a": None, "b": "x"}},
        {"id": 3, "l": None, "n": None, "o": {"a": None, "b": None}},
    ]


def test_parts_of_tables_conform() -> None:
    start = reader_of(INFER)
    rows = [{"l": [{"n": n}], "o": {"n": [n, None]}, "n": n} for n in range(5)]
    table = start.read(json.dumps(rows).encode()).table
    start.read(b'[{"l": [{"n": 0.5}], "o": {"n": [0.5]}, "n": 0.5}]')
    assert start.conform(table.slice(3)).to_pylist() == rows[3:]
    assert start.conform(table.slice(1, 0)).schema == start.schema
    assert start.conform(table.filter(pa.array([False, True] * 2 + [False]))).to_pylist() == [
        rows[1],
        rows[3],
    ]


def test_only_a_page_with_something_new_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that are always empty, or come and go, don't make every page slow."""
    inferred: list[bytes] = []
    safe = fast_path.safe_to_infer

    def watched(body: bytes, **limits: int) -> bool:
        inferred.append(body)
        return safe(body, **limits)

    monkeypatch.setattr(fast_path, "safe_to_infer", watched)
    start = reader_of(Shape(rows=RowSelection(("data",)), infer=True))
    new = b'{"note": "x", "data": [{"id": 1, "none": null, "list": [], "o": {}, "s": "a"}]}'
    less = b'{"note": null, "data": [{"id": 1, "none": null}]}'
    more = b'{"note": null, "data": [{"id": 1, "none": null, "late": null}]}'
    for body in (new, less, new, more, less, new, more):
        start.read(body)
    assert inferred == [new, more]


def test_a_pinned_schema_while_others_read_on() -> None:
    start = reader_of(INFER)
    tables = [start.read(b'[{"a": 1}]').table, start.read(b'[{"b": 1}]').table]
    pinned = start.schema
    start.read(b'[{"a": 2.5, "c": 1}]')
    whole = pa.concat_tables([start.conform(table, pinned) for table in tables])
    assert whole.schema == pinned


def test_columns_that_others_add_stay_at_the_end() -> None:
    reader = reader_of(INFER)
    table = reader.read(b'[{"b": 1}]').table.append_column("_extracted_at", pa.array([5]))
    reader.read(b'[{"z": 1}]')
    assert reader.conform(table).to_pylist() == [{"b": 1, "z": None, "_extracted_at": 5}]
    assert reader.conform(table).column_names == ["b", "z", "_extracted_at"]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (5, "12", 'column `c` was int64 so far, but row 1 (id 9) has "12", which is string'),
        ("12", 5, "column `c` was string so far, but row 1 (id 9) has 5, which is int64"),
        (5, [5], "column `c` was int64 so far, but row 1 (id 9) has [5], which is list"),
        ({"a": [1]}, {"a": ["x"]}, "column `c` was int64 so far (at a.[]), but row 1 (id 9) has"),
        (True, 1, "column `c` was bool so far, but row 1 (id 9) has 1"),
        (1, 2**63, "row 1 (id 9) has 9223372036854775808: int64 goes from"),
        (2.5, 2**53 + 1, "has 9007199254740993: the nearest double is"),
    ],
)
def test_types_that_do_not_join(first: object, second: object, sentence: str) -> None:
    same = json.dumps([{"id": 8, "c": first}, {"id": 9, "c": second}]).encode()
    with pytest.raises(ContractBroken) as caught:
        reader_of(INFER).read(same)
    assert sentence in str(caught.value)
    assert "Declare c: " in str(caught.value)
    reader = reader_of(INFER)
    before = reader.read(json.dumps([{"id": 8, "c": first}]).encode()).table
    with pytest.raises(ContractBroken, match="column `c` "):
        conform_both(reader, before, json.dumps([{"id": 9, "c": second}]).encode())


def conform_both(reader: Decoder, before: pa.Table, body: bytes) -> None:
    for table in (before, reader.read(body).table):
        reader.conform(table)


def test_two_pages_read_side_by_side_that_do_not_join() -> None:
    """Both were read before either was joined: the sentence is made from the table."""
    reader, other = reader_of(INFER), reader_of(INFER)
    table = other.read(b'[{"id": 1, "c": null}, {"id": 2, "c": "12"}]').table
    reader.read(b'[{"c": 5}]')
    with pytest.raises(ContractBroken, match=r'`c` was int64 so far, but row 1 \(id 2\) has "12"'):
        reader.inferred.join(table)


def test_whole_numbers_that_no_double_holds_are_not_widened() -> None:
    reader = reader_of(INFER)
    first = reader.read(b'[{"c": 9007199254740993}]').table
    reader.read(b'[{"c": 2.5}]')
    with pytest.raises(
        ContractBroken, match="column `c` is double now, and an earlier page has a w"
    ):
        reader.conform(first)


KNOWN = pa.schema(
    [("id", pa.int32()), ("l", pa.large_list(pa.float32())), ("s", pa.large_string())]
)


def reader(contract: Literal["evolve", "freeze"]) -> Decoder:
    return reader_of(Shape(infer=True, contract=contract), KNOWN)


def test_a_known_schema_is_where_a_run_starts() -> None:
    start = reader("evolve")
    assert start.schema == pa.schema(
        [("id", pa.int64()), ("l", pa.list_(pa.float64())), ("s", pa.string())]
    )
    table = start.conform(start.read(b'[{"id": 1, "new": true}]').table)
    assert table.to_pylist() == [{"id": 1, "l": None, "new": True, "s": None}]


def test_a_known_column_of_a_type_that_is_not_inferred_has_to_be_declared() -> None:
    known = pa.schema([("at", pa.timestamp("us", tz="UTC")), ("u", pa.uint64())])
    start = reader_of(INFER, known)
    assert start.conform(start.read(b'[{"id": 1, "at": null}]').table).schema.names == [
        "at",
        "id",
        "u",
    ]
    for member in ("at", "u"):
        with pytest.raises(ContractBroken, match=f"column `{member}` was .* so far, but row 0"):
            start.read(json.dumps([{member: 5}]).encode())
    declared = reader_of(Shape(columns=(Column("u", parse_type("string")),), infer=True), known)
    assert declared.schema.field("u").type == pa.string()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"new": 1}, "column `new` is new (int64); expected no change, since `contract` is freeze"),
        ({"id": 2.5}, "column `id` is double and was int64; expected no change"),
        ({"new": {"a": [None, 1]}}, "column `new` is new (struct<a: list<item: int64>>)"),
    ],
)
def test_freeze_refuses_what_is_new(row: dict[str, object], sentence: str) -> None:
    for _ in range(2):
        with pytest.raises(ContractBroken) as caught:
            reader("freeze").read(json.dumps([row]).encode())
        assert sentence in str(caught.value)


def test_freeze_takes_what_is_known_and_what_is_empty() -> None:
    row = {"id": 1, "l": [1], "s": None, "new": {}, "more": []}
    start = reader("freeze")
    table = start.conform(start.read(json.dumps([row]).encode()).table)
    assert table.to_pylist() == [{"id": 1, "l": [1.0], "s": None}]
    first = reader_of(Shape(infer=True, contract="freeze"))
    assert first.read(b'[{"a": 1}]').table.column_names == ["a"]


def test_members_that_are_declared_are_not_inferred_again() -> None:
    columns = (
        Column("url", parse_type("string"), ("cover", "url")),
        Column("id", parse_type("string"), ("uuid",)),
    )
    start = reader_of(Shape(columns=columns, infer=True))
    body = b'[{"cover": {"url": "u", "w": 1}, "uuid": "x", "id": 5, "n": 1}]'
    for _ in range(2):
        assert start.read(body).table.to_pylist() == [{"url": "u", "id": "x", "n": 1}]
    unlike = b'[{"cover": {"url": "v", "w": "wide"}, "uuid": "y", "id": [], "n": 2}]'
    assert start.read(unlike).table.to_pylist() == [{"url": "v", "id": "y", "n": 2}]


def test_an_envelope_may_change_its_own_types() -> None:
    start = reader_of(Shape(rows=RowSelection(("data",)), infer=True))
    for note in (1, "x", [1], {"a": 1}, None, "2024-01-01"):
        body = json.dumps({"note": note, "data": [{"id": 1}]}).encode()
        assert start.read(body).table.to_pylist() == [{"id": 1}]


def test_rows_without_members_are_rows() -> None:
    start = reader_of(INFER)
    table = start.read(b"[{}, {}]").table
    assert table.num_rows == 2
    start.read(b'[{"a": 1}]')
    assert start.conform(table).to_pylist() == [{"a": None}, {"a": None}]


@given(VALUES, VALUES, VALUES)
def test_join_is_a_semilattice(a: object, b: object, c: object) -> None:
    def all_of(*values: object) -> pa.DataType | None:
        of = pa.null()
        try:
            for value in values:
                of = join(of, type_of(value))
        except TypeConflict:
            return None
        return of

    assert all_of(a, b, c) == all_of(c, b, a) == all_of(b, a, c)
    assert all_of(a, a) == all_of(a)


@pytest.mark.slow
@given(st.lists(LISTS, max_size=4))
def test_adapt_keeps_values(rows: list[object]) -> None:
    of = pa.null()
    arrays = []
    for row in rows:
        own = type_of(row)
        of = join(of, own)
        with contextlib.suppress(pa.ArrowInvalid):  # a whole number beside fractions
            arrays.append((row, pa.array([row], own)))
    for row, array in arrays:
        try:
            wide = adapt(array, of)
        except ValueError:
            continue
        wide.validate(full=True)
        assert wide.type == of
        assert prune(wide[0].as_py()) == prune(row)
        kept = settled(of)
        if kept is not None:
            assert prune(adapt(wide, kept)[0].as_py()) == prune(row)
