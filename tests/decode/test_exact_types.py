"""``decimal(p, s)``, ``time`` and ``binary``: exactly, by either way of the decoder, or refused."""

import base64
import json
from datetime import time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import describe, parse_type, schema_of
from pipeline.errors import ContractBroken
from tests.support.readers import reader_of


def land(text: str, cells: list[str], *, exact: bool = False) -> list[Any]:
    """What cells, given as JSON text, land as. :param exact: by the exact way."""
    odd = '"1"' if exact else "1"  # a whole number as text
    rows = ", ".join(f'{{"c": {cell}, "odd": {odd}}}' for cell in cells)
    columns = (Column("c", parse_type(text)), Column("odd", parse_type("int64")))
    page = reader_of(Shape(columns=columns)).read(f"[{rows}]".encode())
    page.table.validate(full=True)
    return list(page.table["c"].to_pylist())


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("text", "cell", "value"),
    [
        ("decimal(15, 2)", "12.50", Decimal("12.50")),
        ("decimal(15, 2)", '"12.5"', Decimal("12.50")),
        ("decimal(15, 2)", "12.500", Decimal("12.50")),
        ("decimal(15, 2)", "1e3", Decimal("1000.00")),
        ("decimal(15, 2)", "-0.01", Decimal("-0.01")),
        ("decimal(38, 18)", "12345678901234567890.123456789012345678",
         Decimal("12345678901234567890.123456789012345678")),
        ("decimal(38, 0)", "9" * 38, Decimal("9" * 38)),
        ("decimal(2, 2)", '"0.25"', Decimal("0.25")),
        ("list<decimal(4, 1)>", '[1.5, "2"]', [Decimal("1.5"), Decimal("2.0")]),
        ("time", '"12:30"', time(12, 30)),
        ("time", '"23:59:59.999999"', time(23, 59, 59, 999999)),
        ("time", '"00:00:00.1200000"', time(0, 0, 0, 120000)),
        ("binary", '"aGk="', b"hi"),
        ("binary", '"aGk"', b"hi"),
        ("binary", '"_-8="', b"\xff\xef"),
        ("binary", '"/+8="', b"\xff\xef"),
        ("binary", '""', b""),
        ("binary", "null", None),
    ],
)  # fmt: skip
def test_lands_exactly(text: str, cell: str, value: object, exact: bool) -> None:
    assert land(text, [cell], exact=exact) == [value]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("text", "cell", "sentence"),
    [
        ("decimal(15, 2)", "12.505", "at most 15 digits, 2 of them behind the point"),
        ("decimal(15, 2)", '"12.505"', "at most 15 digits"),
        ("decimal(5, 2)", "1234", "at most 5 digits"),
        ("decimal(38, 18)", "9" * 38, "at most 38 digits"),
        ("decimal(38, 18)", "1" + "0" * 37, "at most 38 digits"),
        ("decimal(38, 37)", "34", "at most 38 digits"),
        ("decimal(15, 2)", "1e400", "at most 15 digits"),
        ("decimal(15, 2)", '"1e9999"', "at most 15 digits"),
        ("decimal(15, 2)", '"NaN"', "expected a number"),
        ("decimal(15, 2)", '""', "expected a number"),
        ("decimal(15, 2)", '"1,234.50"', "expected a number"),
        ("decimal(15, 2)", "true", "expected a number"),
        ("decimal(15, 2)", "[1]", "expected a number"),
        ("time", '"24:00"', "time of day"),
        ("time", '"12:30:00Z"', "time of day"),
        ("time", '"12:30:00.1234567"', "time of day"),
        ("time", "5", "time of day"),
        ("binary", '"a"', "base64"),
        ("binary", '"aGl="', "base64"),
        ("binary", '"a GK="', "base64"),
        ("binary", '"aGk=="', "base64"),
        ("binary", "1", "base64"),
    ],
)
def test_is_refused(text: str, cell: str, sentence: str, exact: bool) -> None:
    with pytest.raises(ContractBroken, match=f"column `c` is declared .*{sentence}"):
        land(text, [cell], exact=exact)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=4), min_size=1))
def test_decimals_by_both_ways(values: list[Decimal]) -> None:
    cells = [format(value, "f") for value in values]
    try:
        landed = land("decimal(20, 4)", cells)
    except ContractBroken:
        with pytest.raises(ContractBroken):
            land("decimal(20, 4)", cells, exact=True)
        return
    assert landed == values == land("decimal(20, 4)", cells, exact=True)


@given(st.lists(st.binary(), min_size=1), st.lists(st.times(), min_size=1))
def test_bytes_and_times_come_back(data: list[bytes], times: list[time]) -> None:
    for exact in (False, True):
        texts = [json.dumps(base64.b64encode(one).decode()) for one in data]
        assert land("binary", texts, exact=exact) == data
        assert land("time", [json.dumps(one.isoformat()) for one in times], exact=exact) == times


def test_a_manifest_says_these_types_as_the_yaml_does() -> None:
    schema = pa.schema([("d", pa.decimal128(15, 2)), ("t", pa.time64("us")), ("b", pa.binary())])
    columns = describe(schema)
    assert [column["type"] for column in columns] == ["decimal(15, 2)", "time", "binary"]
    assert schema_of(columns) == schema
    assert parse_type("list<decimal( 15,2 )>").text == "list<decimal(15, 2)>"


@pytest.mark.parametrize("text", ["decimal", "decimal(5)", "decimal(39, 0)", "decimal(2, 3)"])
def test_a_decimal_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal\(|at most 38 digits|expected decimal"):
        parse_type(text)


def test_what_is_hashed_stands_in_no_error() -> None:
    columns = (Column("id", parse_type("int64")), Column("mail", parse_type("string"), hidden=True))
    with pytest.raises(ContractBroken, match=r"column `mail`.*not shown") as caught:
        reader_of(Shape(columns=columns)).read(b'[{"id": 1, "mail": {"at": "ada@example.org"}}]')
    assert "ada" not in str(caught.value)
