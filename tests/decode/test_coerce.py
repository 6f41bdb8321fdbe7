"""Conversion: a value lands faithfully, or the page is refused; never changed in silence."""

import json
import math
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import INTEGERS, mark_of, parse_type
from pipeline.errors import ContractBroken
from tests.support.readers import reader_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"timestamp[s]": 1_000_000, "timestamp[ms]": 1_000, "timestamp[us]": 1}

NUMBER_LIKE = ["", "5", "-3", "007", "5.0", "1e3", "12.5", "NaN", " 5", "9" * 30, str(2**53 + 1)]
TIME_LIKE = ["2024-02-29", "2023-02-29", "2024-02-29T12:00:00Z", "2024-02-29 12:00:00.25"]
TEXTS = st.sampled_from([*NUMBER_LIKE, *TIME_LIKE, "true"]) | st.text(max_size=5)
NUMBERS = (
    st.integers(-300, 300)
    | st.integers(-(2**66), 2**66)
    | st.sampled_from([2**53 + 1, 2**63, 2**64 - 1, 2**64, 2**24 + 1, -(2**63)])
    | st.floats()
    | st.sampled_from([3.0, 1e3, 1e22, 0.1, 1700000000.5])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
DECLARED = st.recursive(
    st.sampled_from(
        [
            *sorted(INTEGERS),
            *UNITS,
            "bool",
            "float",
            "double",
            "string",
            "date",
            "json",
            "timestamp[iso]",
            "timestamp[%Y-%m-%d]",
        ]
    ),
    lambda inner: (
        inner.map("list<{}>".format)
        | st.tuples(inner, inner).map(lambda of: f"struct<a: {of[0]}, b: {of[1]}>")
    ),
    max_leaves=3,
)


def land(text: str, values: list[Any]) -> tuple[list[Any], int]:
    """What the values of one column land as, timestamps as microseconds; and how many converted."""
    page = reader_of(Shape(columns=(Column("c", parse_type(text)),))).read(
        json.dumps([{"c": value} for value in values]).encode()
    )
    page.table.validate(full=True)
    return page.table.column("c").to_pylist(), page.converted.total()


def faithful(text: str, value: Any, landed: Any) -> bool:
    """Whether what landed says what the value said. Written apart from the code under test."""
    if value == "" and text.startswith(("timestamp", "date")):  # as many APIs say "never"
        return landed is None
    if value is None or landed is None:
        return value is None and landed is None
    if text.startswith("list<"):
        inner = text[5:-1]
        return len(value) == len(landed) and all(
            faithful(inner, one, other) for one, other in zip(value, landed, strict=True)
        )
    if text.startswith("struct<"):
        return all(
            faithful(member.text, value.get(name), landed[name])
            for name, member in parse_type(text).members
        )
    if isinstance(value, str) and text not in ("string", "json"):
        return faithful_text(text, value, landed)
    if text in INTEGERS:
        return not isinstance(value, bool) and type(landed) is int and bool(landed == value)
    if text in ("float", "double"):
        return not isinstance(value, bool) and faithful_real(text, value, landed)
    if text == "string":
        return bool(landed == (value if isinstance(value, str) else str(value)))
    if text == "json":
        return same_json(json.loads(landed), value)
    if text in UNITS:
        micros = Fraction(value) * UNITS[text]
        landed_us = (landed - EPOCH) // timedelta(microseconds=1)
        return bool(abs(landed_us - micros) <= max(abs(micros) / 2**51, Fraction(1, 2)))
    return text == "bool" and landed is value


def faithful_real(text: str, value: Any, landed: float) -> bool:
    if isinstance(value, int):
        return int(landed) == value
    if math.isnan(value):
        return math.isnan(landed)
    nearest = pa.scalar(value, pa.float32()).as_py() if text == "float" else value
    return bool(landed == nearest and (math.isinf(value) or not math.isinf(landed)))


def faithful_text(text: str, value: str, landed: Any) -> bool:
    if text in INTEGERS:
        return str(landed) == value
    if text in ("float", "double"):
        whole = value.lstrip("-").isdigit()
        return int(value) == landed if whole else faithful_real(text, float(value), landed)
    if text in UNITS:
        return bool((landed - EPOCH) // timedelta(microseconds=1) == int(value) * UNITS[text])
    if text == "timestamp[iso]":
        parsed = datetime.fromisoformat(value)
        return bool(landed == (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)))
    return str(landed).startswith(value) and text in ("date", "timestamp[%Y-%m-%d]")


def same_json(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return type(one) is type(other) and bool(one == other)


@given(DECLARED, st.lists(VALUES, min_size=1, max_size=3))
def test_a_value_lands_faithfully_or_is_refused(text: str, values: list[Any]) -> None:
    try:
        landed, _ = land(text, values)
    except ContractBroken:
        return
    for value, found in zip(values, landed, strict=True):
        assert faithful(text, value, found), (text, value, found)


@given(st.data(), DECLARED)
def test_the_fast_way_and_the_exact_way_agree(data: st.DataObject, text: str) -> None:
    values = data.draw(st.lists(fitting(text), min_size=1, max_size=4))
    landed, converted = land(text, values)
    column = Column("c", parse_type(text))
    odd = reader_of(Shape(columns=(column, Column("odd", parse_type("int64")))))
    body = [{"c": value, "odd": "5"} for value in values]
    page = odd.read(json.dumps(body).encode())
    assert page.table.column("c").to_pylist() == landed
    assert (page.converted.total(), converted) == (len(values), 0)


def fitting(text: str) -> st.SearchStrategy[Any]:
    """Values that a column of the type takes as they are."""
    declared = parse_type(text)
    if declared.json == "list":
        return st.none() | st.lists(fitting(declared.members[0][1].text), max_size=3)
    if declared.json == "struct":
        members = {name: fitting(member.text) for name, member in declared.members}
        return st.none() | st.fixed_dictionaries({}, optional=members)
    whole = int(text.lstrip("uint")) if text in INTEGERS else 0
    low, high = (0, 2**whole) if text[0] == "u" else (-(2 ** (whole - 1)), 2 ** (whole - 1))
    instants = st.datetimes(timezones=st.just(UTC))
    plain: dict[str, st.SearchStrategy[Any]] = {
        "bool": st.booleans(),
        "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
        "string": st.text(st.characters(exclude_categories=["Cs"])),
        "date": st.dates().map(str),
        "json": st.none() | st.booleans() | st.lists(st.text(st.characters(codec="utf-8"))),
        "timestamp[s]": st.integers(-62135596800, 253402300799),
        "timestamp[ms]": st.integers(-62135596800000, 253402300799999),
        "timestamp[us]": st.integers(-62135596800000000, 253402300799999999),
        "timestamp[iso]": instants.map(datetime.isoformat),
        "timestamp[%Y-%m-%d]": st.dates(min_value=date(1000, 1, 1)).map(str),
    }
    return st.none() | (st.integers(int(low), int(high) - 1) if whole else plain[text])


@pytest.mark.parametrize(
    ("text", "value", "landed", "converted"),
    [
        ("int64", 3.0, 3, 1),
        ("int8", "5", 5, 1),
        ("double", "-Infinity", -math.inf, 1),
        ("float", "+Inf", math.inf, 1),
        ("uint8", 1e2, 100, 1),
        ("string", 5, "5", 1),
        ("string", 2**70, str(2**70), 1),
        ("double", "12.50", 12.5, 1),
        ("double", 2**60, 2.0**60, 0),
        ("double", math.inf, math.inf, 0),
        ("float", 0.1, 0.10000000149011612, 0),
        ("timestamp[s]", "1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 1),
        ("timestamp[s]", 1.25, EPOCH + timedelta(seconds=1.25), 1),
        ("timestamp[iso]", "2024-02-29", datetime(2024, 2, 29, tzinfo=UTC), 0),
        ("timestamp[iso]", "20240229T12Z", datetime(2024, 2, 29, 12, tzinfo=UTC), 0),
        (
            "timestamp[iso]",
            "2024-02-29t00:00:00.5z",
            datetime(2024, 2, 29, 0, 0, 0, 500000, UTC),
            0,
        ),
        ("timestamp[iso]", "2024-02-29 01:00+0100", datetime(2024, 2, 29, tzinfo=UTC), 0),
        (
            "timestamp[iso]",
            "2024-02-29T00:00:00.000001999Z",
            datetime(2024, 2, 29, 0, 0, 0, 1, UTC),
            1,
        ),
        ("timestamp[%Y-%m-%d %z]", "2024-02-29 +0100", datetime(2024, 2, 28, 23, tzinfo=UTC), 0),
    ],
)
def test_what_is_converted_without_loss(
    text: str, value: object, landed: object, converted: int
) -> None:
    assert land(text, [None, value]) == ([None, landed], converted)


@pytest.mark.parametrize(
    ("text", "value", "sentence"),
    [
        (
            "int64",
            3.7,
            r"declared int64, but row 1 has 3\.7: expected a whole number\. Declare c: d",
        ),
        ("int64", "007", 'has "007": expected a whole number. Declare c: string or json'),
        ("int64", True, "has true: expected a whole number. Declare c: bool or json"),
        ("int8", 128, "int8 goes from -128 to 127. Declare c: int64, uint64, string"),
        ("uint64", -1, "uint64 goes from 0 to"),
        ("int64", 1e300, r"has 1e\+300: expected a whole number"),
        ("int64", math.nan, "has NaN"),
        ("double", 2**53 + 1, "9007199254740993: the nearest double is 9007199254740992"),
        ("double", "", 'has "": expected a number'),
        ("double", "nan", 'has "nan": expected a number'),
        ("double", "1e400", "beyond the range of double"),
        ("double", 10**400, "beyond the range of double"),
        ("float", 1e39, "beyond the range of float"),
        ("float", 2**24 + 1, "the nearest float is 16777216"),
        ("bool", 1, "expected true or false"),
        ("bool", "true", "expected true or false"),
        ("string", 1.5, "expected text. Declare c: double or json"),
        ("string", [1], r"has \[1\]: expected text. Declare c: json"),
        ("string", False, "expected text. Declare c: bool or json"),
        ("date", "29.2.2024", "expected a date like 2024-02-29"),
        ("date", "2023-02-29", "expected a date like"),
        ("timestamp[s]", 1_700_000_000_000, r"its year lies outside 1 to 9999. Declare c: timest"),
        ("timestamp[s]", "soon", "expected a number since 1970"),
        ("timestamp[s]", 1e300, "expected a number since 1970"),
        ("timestamp[iso]", "TBD", "expected a time like 2024"),
        ("timestamp[iso]", "2024-02-29T25:00:00Z", "expected a time like 2024"),
        ("timestamp[iso]", 5, "expected a time like 2024"),
        ("timestamp[%Y]", "May", "expected text in that format"),
        ("list<int8>", 5, "expected an array. Declare c: int64 or json"),
        ("list<int8>", [1, 2.5], "number. Declare c: json, or that part of it double or json in"),
        ("list<struct<a: int8>>", [{"a": "x"}], "Declare c: json, or that part of it string or"),
        ("struct<a: bool>", [], "expected an object"),
        ("string", ["x" * 100], r'has \["x{77}…: '),
    ],
)
def test_what_is_refused_says_so_and_what_to_do(text: str, value: object, sentence: str) -> None:
    with pytest.raises(ContractBroken, match="igdb/games: column `c` .*" + sentence) as caught:
        land(text, [None, value])
    assert "in the YAML of igdb" in str(caught.value)


def test_the_sentence_names_the_row_by_its_id() -> None:
    how = Shape(columns=(Column("id", parse_type("int64")), Column("hypes", parse_type("int64"))))
    with pytest.raises(ContractBroken, match=r"column `hypes` .* row 1 \(id 1942\) has 3\.7"):
        reader_of(how).read(b'[{"id": 1, "hypes": 3.0}, {"id": 1942, "hypes": 3.7}]')


def test_a_number_of_a_million_digits() -> None:
    body = b'[{"c": ' + b"9" * 1_000_000 + b"}]"
    for text in ("int64", "double", "string"):
        with pytest.raises(ContractBroken, match=r"has 9{79}…"):
            reader_of(Shape(columns=(Column("c", parse_type(text)),))).read(body)
    kept = reader_of(Shape(columns=(Column("c", parse_type("json")),))).read(body)
    assert kept.table["c"][0].as_py() == "9" * 1_000_000


@pytest.mark.parametrize(
    ("text", "landed"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2017-01-01T05:29:60.25+05:30", "2017-01-01T00:00:00.250000+00:00"),
        ("20161231T235960", "2017-01-01T00:00:00+00:00"),
    ],
)
def test_a_leap_second_is_the_second_after_it(text: str, landed: str) -> None:
    [found], converted = land("timestamp[iso]", [text])
    assert (found.isoformat(), converted) == (landed, 1)


@pytest.mark.parametrize(
    "text", ["2016-12-31T12:34:60Z", "2016-12-31T23:59:61Z", "9999-12-31T23:59:60Z"]
)
def test_what_is_no_leap_second_is_refused(text: str) -> None:
    with pytest.raises(ContractBroken, match=r"timestamp\[iso\]"):
        land("timestamp[iso]", [text])


def test_a_mark_of_any_form_is_one_unless_it_says_no() -> None:
    """Every row would be deleted, in a run that ends green."""
    no: list[Any] = [False, 0, 0.0, "false", "FALSE", "0", "N", "no", "", " "]
    no += ["0000-00-00", "0000-00-00 00:00:00"]
    yes: list[Any] = [True, 1, "true", "Y", "x", {}, [], "2026-11-01T00:00:00Z"]
    rows = [{"c": value} for value in [*no, *yes, None]]
    read = reader_of(Shape(columns=(Column("c", mark_of(())),))).read(json.dumps(rows).encode())
    assert read.table["c"].to_pylist() == [False] * len(no) + [True] * len(yes) + [None]
