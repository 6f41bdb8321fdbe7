"""The grammar of declared types."""

import contextlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.types import INTEGERS, member_text, parse_type

INSTANT = pa.timestamp("us", tz="UTC")
SCALARS = [
    *sorted(INTEGERS),
    "bool",
    "float",
    "double",
    "string",
    "date",
    "json",
    "timestamp[s]",
    "timestamp[ms]",
    "timestamp[us]",
    "timestamp[iso]",
    "timestamp[%Y-%m-%d %H:%M:%S]",
    "timestamp[%d/%m/%Y, %H:%M]",
]


def nested(types: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names = st.lists(st.sampled_from(["a", "b-c", "d_1", "é", "list", "int64"]), min_size=1)
    odd = st.lists(st.text(max_size=3).map(member_text), min_size=1, max_size=2)
    structs = (names | odd).flatmap(
        lambda found: st.tuples(*[types for _ in set(found)]).map(
            lambda of: ", ".join(f"{n}: {t}" for n, t in zip(sorted(set(found)), of, strict=True))
        )
    )
    return types.map("list<{}>".format) | structs.map("struct<{}>".format)


@given(st.recursive(st.sampled_from(SCALARS), nested, max_leaves=8))
def test_the_text_of_a_type_is_its_normal_form(text: str) -> None:
    declared = parse_type(text)
    assert declared.text == text
    if '"' not in text:
        spaced = f"  {text.replace('<', ' < ').replace(': ', ' :')} "
        assert parse_type(spaced).arrow == declared.arrow


@pytest.mark.parametrize(
    ("text", "arrow"),
    [
        ("bool", pa.bool_()),
        ("uint8", pa.uint8()),
        ("float", pa.float32()),
        ("date", pa.date32()),
        ("json", pa.string()),
        ("timestamp[ms]", INSTANT),
        ("timestamp[%Y]", INSTANT),
        ("list<list<int8>>", pa.list_(pa.list_(pa.int8()))),
        (
            "struct<id: int64, at: timestamp[s], tags: list<string>>",
            pa.struct([("id", pa.int64()), ("at", INSTANT), ("tags", pa.list_(pa.string()))]),
        ),
    ],
)
def test_what_lands(text: str, arrow: pa.DataType) -> None:
    assert parse_type(text).arrow == arrow


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("int", "'int' is not a type: did you mean int64?"),
        ("sting", "did you mean string?"),
        ("Boolean", "did you mean bool?"),
        ("timestamp", r"did you mean timestamp\[s\], timestamp\[ms\]"),
        ("timestamp[ns]", r"timestamp\[ns\] is not known: expected s, ms, us"),
        ("timestamp[s", "is not closed: a ']' is missing"),
        ("list<int64", "is not closed: a '>' is missing"),
        ("list", "did you mean list<…>"),
        ("struct<a int64>", "expected 'name: type'"),
        ("struct<a: int64, a: int64>", "has a twice"),
        ("struct<a: int64; b: int64>", "expected ',' or '>'"),
        ('struct<"a\\q": int64>', "is no JSON text"),
        ("struct<>", "expected 'name: type'"),
        ("int64 null", "the type ends after int64, but 'null' follows"),
        ("", "a type is missing"),
    ],
)
def test_a_wrong_text_is_one_clear_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_type(text)
    assert "Types are binary, bool" in str(caught.value)


@given(st.text() | st.text("list<>struc:[],ainm64% "))
def test_any_text_is_a_type_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_type(text).text
