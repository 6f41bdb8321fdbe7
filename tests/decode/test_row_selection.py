"""Rows at odd places and in odd forms; and a refusal names the YAML that reads what is there."""

import json
from typing import Any

import pytest

from pipeline.decode import DecodedPage
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape, in_snake_case
from pipeline.decode.types import parse_type
from pipeline.errors import ContractBroken
from pipeline.model import split_path
from tests.support.readers import reader_of

ONE, TWO = {"id": 1, "name": "a"}, {"id": 2, "name": "b"}
BOTH = [ONE, TWO]


def read(body: object, rows: str = "", **said: Any) -> DecodedPage:
    names_at = split_path(said.pop("names_at", ""))
    outer = {name: split_path(path) for name, path in said.pop("outer", {}).items()}
    columns = tuple(Column(name, parse_type("json")) for name in outer)
    how = RowSelection(split_path(rows), names_at=names_at, outer=outer, **said)
    decoder = reader_of(Shape(rows=how, infer=True, columns=columns))
    return decoder.read(json.dumps(body).encode())


def rows_of(body: object, rows: str = "", **said: Any) -> list[dict[str, Any]]:
    table = read(body, rows, **said).table
    return [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("body", "rows", "said"),
    [
        ({"data": {"1": ONE, "2": TWO}}, "data", {"form": "map"}),
        ({"1": ONE, "2": TWO}, "", {"form": "map"}),
        (
            {"d": {"1": {"name": "a"}, "2": {"name": "b"}}},
            "d",
            {"form": "map", "key_column": "id"},
        ),
        ({"fields": ["id", "name"], "rows": [[1, "a"], [2, "b"]]}, "rows", {"names_at": "fields"}),
        (
            {"meta": [{"name": "id"}, {"name": "name"}], "rows": [[1, "a"], [2, "b"]]},
            "rows",
            {"names_at": "meta.*.name"},
        ),
        ({"hourly": {"id": [1, 2], "name": ["a", "b"]}}, "hourly", {"form": "columns"}),
        ({"pages": [{"items": [ONE]}, {"items": [TWO]}]}, "pages.*.items", {}),
        ({"pages": {"x": {"items": [ONE]}, "y": {"items": [TWO]}}}, "pages.*.items", {}),
        ({"edges": [{"node": ONE}, {"node": TWO}]}, "edges.*.node", {}),
        ([{"a": [[ONE], [TWO]]}], "*.a.*", {}),
        ({"list": [{"rows": BOTH}, {"rows": []}]}, "list.0.rows", {}),
        ({"0": {"rows": BOTH}}, "0.rows", {}),
        ({"*": BOTH}, r"\*", {}),
        ({"a": {"b": BOTH}}, "", {"jmespath": "a.b[?id > `0`]"}),
        (BOTH, "", {"form": "object_or_list"}),
        ({"x": [None, ONE, TWO]}, "x", {"may_lack": True}),
    ],
)
def test_both_rows_come(body: object, rows: str, said: dict[str, Any]) -> None:
    if "names_at" in said:
        said = {**said, "form": "columns"}
    found = rows_of(body, rows, **said)
    as_texts = [{name: str(value) for name, value in row.items()} for row in found]
    assert as_texts == [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]


def test_other_forms() -> None:
    assert rows_of({"d": ONE}, "d", form="object") == [ONE]
    assert rows_of(ONE, form="object_or_list") == [ONE]
    assert rows_of([[1, "a"], [2, None]], form="values") == [{"0": 1, "1": "a"}, {"0": 2}]
    assert rows_of({"ids": [4, 5]}, "ids", form="scalars") == [{"value": 4}, {"value": 5}]
    assert rows_of(["x"], form="scalars", value_column="tag") == [{"tag": "x"}]
    rates = {"rates": {"USD": 1.1, "CHF": 0.9}}
    assert rows_of(rates, "rates", form="map", key_column="of", value_column="rate") == [
        {"of": "USD", "rate": 1.1},
        {"of": "CHF", "rate": 0.9},
    ]
    days = {"days": {"2026-11-01": [ONE], "2026-11-02": [TWO]}}
    assert rows_of(days, "days.*", key_column="day") == [
        ONE | {"day": "2026-11-01"},
        TWO | {"day": "2026-11-02"},
    ]


def test_no_rows_in_each_form() -> None:
    for form in ("list", "object", "object_or_list", "map", "columns", "values", "scalars"):
        assert rows_of({"d": None}, "d", form=form) == []
    assert rows_of(None, may_lack=True) == []
    assert rows_of({"d": []}, "d", form="map") == [], "PHP's object without members"
    assert rows_of({"d": []}, "d.*.x") == rows_of({"d": {}}, "d.*.x") == []
    assert rows_of({"d": [{"x": None}, {"x": []}]}, "d.*.x") == []
    assert rows_of({"d": [{"y": 1}]}, "d.*.x", may_lack=True) == []
    assert rows_of({"d": [{"y": 1}, {"x": [ONE]}]}, "d.*.x") == [ONE], "an item may lack it"


def test_members_around_nested_rows_are_kept() -> None:
    body = {
        "at": "now",
        "orders": [
            {"no": 7, "by": {"name": "x"}, "lines": [{"id": 1}, {"id": 2}]},
            {"no": 8, "lines": [{"id": 1}]},
        ],
    }
    outer = {"order": "orders.*.no", "buyer": "orders.*.by.name"}
    found = rows_of(body, "orders.*.lines", outer=outer)
    assert [(row["order"], row.get("buyer"), row["id"]) for row in found] == [
        ("7", '"x"', 1),
        ("7", '"x"', 2),
        ("8", None, 1),
    ]


def test_items_are_what_the_api_counts() -> None:
    """Pages are held against its count and limit by these, not by the rows that they make."""
    assert read({"d": [{"x": BOTH}, {"x": []}, {"x": [ONE]}]}, "d.*.x").items == 3
    assert read([None, ONE], may_lack=True).items == 2
    assert read(BOTH).items == read({"1": ONE, "2": TWO}, form="map").items == 2
    decoder = reader_of(Shape(infer=True))
    decoder.read(json.dumps(BOTH).encode())
    pages = decoder.read_together([json.dumps(BOTH).encode(), b"[]"])
    assert pages is not None
    assert [page.items for page in pages] == [2, 0]


@pytest.mark.parametrize(
    ("body", "rows", "sentence", "remedy"),
    [
        ({"data": {"1": ONE, "2": TWO}}, "data", "`as: map`", {"form": "map"}),
        ({"data": ONE}, "data", "`as: object`.* in place of a list", {"form": "object"}),
        ({"data": ONE}, "data", "`as: object_or_list`", {"form": "object_or_list"}),
        ({"data": {"id": [1, 2]}}, "data", "`as: columns`", {"form": "columns"}),
        ({"data": {"items": BOTH}}, "data", "`rows: data.items`", {"rows": "data.items"}),
        ({"data": {"items": BOTH}}, "", "`rows: data`|`as: object`", {"rows": "data.items"}),
        ({"data": [[1, 2], [3, 4]]}, "data", "`as: values`", {"form": "values"}),
        ({"data": [[ONE], [TWO]]}, "data", r"`rows: data.\*`", {"rows": "data.*"}),
        ({"data": [1, 2]}, "data", "`as: scalars`", {"form": "scalars"}),
        ({"data": [ONE, None]}, "data", "`rows_may_lack: true`", {"may_lack": True}),
        ({"d": [{"x": [ONE]}, {"x": [TWO]}]}, "d.x", r"`rows: d.\*.x`", {"rows": "d.*.x"}),
        ({"d": {"u": {"x": [ONE]}}}, "d.x", r"`rows: d.\*.x`", {"rows": "d.*.x"}),
        ({"d": [{"x": BOTH}]}, "d.x", r"`rows: d.0.x`", {"rows": "d.0.x"}),
        ({"d": [{"y": 1}]}, "d.*.x", "rows_may_lack: true", {"may_lack": True}),
    ],
)
def test_a_refusal_names_the_yaml_that_reads_it(
    body: object, rows: str, sentence: str, remedy: dict[str, Any]
) -> None:
    with pytest.raises(ContractBroken, match=sentence):
        rows_of(body, rows)
    rows_of(body, remedy.pop("rows", rows), **remedy)


@pytest.mark.parametrize(
    ("body", "rows", "said", "sentence"),
    [
        ([ONE], "", {"form": "object"}, "expected one object.*`as: list`"),
        ({"a": [1, 2], "b": [1]}, "", {"form": "columns"}, "not of one length"),
        ({"n": ["a"], "d": [[1, 2]]}, "d", {"form": "columns", "names_at": "n"}, "has 2 values"),
        ({"n": ["a", "a"], "d": []}, "d", {"form": "columns", "names_at": "n"}, "a name twice"),
        ({"d": [[1]]}, "d", {"form": "columns", "names_at": "n"}, r"`names_at: n` leads to \[\]"),
        ([ONE], "", {"form": "values"}, "leave `as` out"),
        ([1], "", {"form": "values"}, "as: scalars"),
        ([[1]], "", {"form": "scalars"}, "as: values"),
        ({"a": [ONE]}, "", {"form": "map"}, r"the member `a` is a list.*`rows: \*`"),
        ({"7": ONE}, "", {"form": "map", "key_column": "id"}, "the member `7` has `id` = 1"),
        ({"d": 5}, "d.*.x", {}, "`d` is 5"),
        ({"d": [5]}, "d.*.x", {}, "is 5"),
        ({"error": {"x": {}}}, "data", {}, "the API says: .*1. the request.*errors_at: error"),
        ({"a": 1}, "", {"jmespath": "b"}, "finds nothing.*rows_may_lack"),
        ({"a": "x"}, "", {"jmespath": "sum(a)"}, "can't be evaluated"),
        (None, "", {}, "the body is null"),
    ],
)
def test_what_fits_no_form_is_refused(
    body: object, rows: str, said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ContractBroken, match=sentence):
        rows_of(body, rows, **said)


def test_a_member_that_an_object_of_rows_has_twice_is_refused() -> None:
    decoder = reader_of(Shape(rows=RowSelection(form="map"), infer=True))
    with pytest.raises(ContractBroken, match=r"the member `1` is there twice"):
        decoder.read(b'{"1": {"id": 1}, "1": {"id": 2}}')


def test_numbers_keep_their_digits_on_the_way_through_a_form() -> None:
    columns = (Column("d", parse_type("decimal(30, 18)")), Column("j", parse_type("json")))
    decoder = reader_of(Shape(rows=RowSelection(form="map"), columns=columns))
    row = decoder.read(b'{"a": {"d": 0.123456789012345678, "j": 1e400}}').table.to_pylist()[0]
    assert str(row["d"]) == "0.123456789012345678"
    assert row["j"] == "1e400"


@pytest.mark.parametrize("fast", [True, False])
def test_excluded_members_are_in_no_column(fast: bool) -> None:
    body = [{"id": 1, "_links": {"a": 1}, "meta": {"secret": 1, "x": [{"y": 1, "z": 2}]}}]
    paths = [("_links",), ("meta", "secret"), ("meta", "x", "y")]
    how = Shape(infer=True, excluded=frozenset(paths))
    text = json.dumps(body if fast else [*body, {"id": "2"}]).encode()
    if not fast:  # the exact way: a whole number as text
        how = Shape(infer=True, excluded=how.excluded, columns=(Column("id", parse_type("int64")),))
    row = reader_of(how).read(text).table.to_pylist()[0]
    assert row == {"id": 1, "meta": {"x": [{"z": 2}]}}
    moved = Column("secret", parse_type("int64"), ("meta", "secret"))
    kept = Shape(infer=True, excluded=how.excluded, columns=(*how.columns, moved))
    assert reader_of(kept).read(text).table.to_pylist()[0] == {"id": 1, "secret": 1}


def test_names_in_snake_case() -> None:
    names = {
        "createdAt": "created_at", "CreatedAt": "created_at", "HTTPServer": "http_server",
        "user-id": "user_id", "user id": "user_id", "_links": "_links", "address1": "address1",
        "already_so": "already_so", "ID": "id", "größeCm": "größe_cm", "🎉": "🎉",
    }  # fmt: skip
    assert {name: in_snake_case(name) for name in names} == names
    how = Shape(infer=True, snake_case=True)
    columns = (Column("n", parse_type("int64")),)
    decoder = reader_of(Shape(infer=True, snake_case=True, columns=columns))
    for n in (b"1", b'"1"', b"1"):  # a number as text takes the exact way
        page = decoder.read(b'[{"userId": 1, "n": %b, "subItem": {"bC": 2}}]' % n)
        assert page.table.to_pylist() == [{"n": 1, "sub_item": {"bC": 2}, "user_id": 1}]
    assert decoder.schema.names == ["n", "sub_item", "user_id"]
    with pytest.raises(ContractBroken, match=r"`user_id` and `userId`|`userId` and `user_id`"):
        reader_of(how).read(b'[{"userId": 1, "user_id": 2}]')
    declared = Shape(infer=True, snake_case=True, columns=(Column("at", parse_type("string")),))
    with pytest.raises(ContractBroken, match=r"both make a column `at`.*`path: At`"):
        reader_of(declared).read(b'[{"At": "x"}]')


def test_a_number_in_the_path_of_a_column() -> None:
    columns = (
        Column("first", parse_type("string"), ("owners", "0", "name")),
        Column("third", parse_type("int64"), ("n", "2")),
    )
    decoder = reader_of(Shape(columns=columns, infer=True))
    rows = [{"id": 1, "owners": [{"name": "x"}], "n": [1, 2, 3]}, {"id": 2, "owners": [], "n": {}}]
    page = decoder.read(json.dumps(rows).encode())
    assert page.table.to_pylist() == [
        {"first": "x", "third": 3, "id": 1},
        {"first": None, "third": None, "id": 2},
    ]
