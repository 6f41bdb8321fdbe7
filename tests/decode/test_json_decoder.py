"""Pages to tables: shapes, paths, sentences. Conversion has files of its own."""

import json
import threading
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import DEFAULT_FORMAT, DecodedPage
from pipeline.decode.body_checks import BadBody
from pipeline.decode.fast_path import read_bytes
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.errors import ContractBroken
from pipeline.extract.prefetch import MAX_BATCH_BYTES
from tests.support.readers import reader_of


def column(name: str, text: str, *path: str, nullable: bool = True) -> Column:
    return Column(name, parse_type(text), path, nullable)


def shape(**types: str) -> Shape:
    return Shape(columns=tuple(column(name, text) for name, text in types.items()))


def read(how: Shape, body: object) -> DecodedPage:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reader_of(how).read(text)


GAMES = shape(id="int64", name="string", hypes="int64")


def test_the_columns_of_a_page_are_the_declared_ones() -> None:
    page = read(GAMES, [{"name": "Ico", "id": 1, "other": {"x": [1]}}, {"id": 2, "hypes": 7}])
    assert page.table.column_names == ["id", "name", "hypes"]
    assert page.table.to_pylist() == [
        {"id": 1, "name": "Ico", "hypes": None},
        {"id": 2, "name": None, "hypes": 7},
    ]
    assert page.converted.total() == 0
    assert page.extras == {}


def test_a_column_that_the_first_row_lacks_is_kept() -> None:
    for how in (GAMES, Shape(infer=True)):
        page = read(how, [{"id": 1}, {"id": 2, "hypes": 5}])
        assert page.table.column("hypes").to_pylist() == [None, 5]


def test_an_empty_page_has_the_declared_columns() -> None:
    page = read(GAMES, b" [ ]\n")
    assert page.table.num_rows == 0
    assert page.table.schema == reader_of(GAMES).schema


def test_every_type_lands_the_fast_way() -> None:
    types = {
        "b": "bool",
        "i": "int8",
        "u": "uint64",
        "f": "float",
        "d": "double",
        "day": "date",
        "s": "timestamp[s]",
        "ms": "timestamp[ms]",
        "us": "timestamp[us]",
        "iso": "timestamp[iso]",
        "own": "timestamp[%d.%m.%Y %H:%M]",
        "l": "list<struct<at: timestamp[s], x: double>>",
        "j": "json",
    }
    row = {
        "b": True,
        "i": -128,
        "u": 2**64 - 1,
        "f": 0.5,
        "d": 1e300,
        "day": "2024-02-29",
        "s": 1_700_000_000,
        "ms": 1_700_000_000_123,
        "us": -1,
        "iso": "2024-02-29T12:00:00.5+02:00",
        "own": "29.02.2024 10:30",
        "l": [{"at": 0, "x": 1}, None, {}],
        "j": {"a": [1, 2.5, None, "é"]},
    }
    found = read(shape(**types), [row]).table.to_pylist()[0]
    assert found == row | {
        "day": date(2024, 2, 29),
        "s": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "ms": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
        "us": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "iso": datetime(2024, 2, 29, 10, 0, 0, 500000, tzinfo=UTC),
        "own": datetime(2024, 2, 29, 10, 30, tzinfo=UTC),
        "l": [{"at": datetime(1970, 1, 1, tzinfo=UTC), "x": 1.0}, None, {"at": None, "x": None}],
        "j": '{"a":[1,2.5,null,"é"]}',
    }


def test_a_path_leads_into_objects() -> None:
    how = Shape(
        columns=(
            column("id", "int64"),
            column("url", "string", "cover", "image", "url"),
            column("cover", "json"),
            column("size", "struct<w: int64>", "cover", "size"),
        )
    )
    rows: list[dict[str, Any]] = [
        {"id": 1, "cover": {"image": {"url": "//x"}, "size": {"w": 3, "h": 4}}},
        {"id": 2, "cover": {"image": None}},
        {"id": 3, "cover": None},
        {"id": 4},
    ]
    table = read(how, rows).table
    assert table.column("url").to_pylist() == ["//x", None, None, None]
    assert table.column("size").to_pylist() == [{"w": 3}, None, None, None]
    assert json.loads(table.column("cover")[0].as_py()) == rows[0]["cover"]
    with pytest.raises(
        ContractBroken, match=r"column `url` .* row 1 \(id 2\) has 77: expected an object"
    ):
        read(how, [rows[0], {"id": 2, "cover": 77}])


def test_rows_and_facts_of_an_envelope() -> None:
    how = Shape(
        rows=RowSelection(("data", "items")),
        columns=(column("id", "int64"),),
        extras={"next": ("page", "next"), "total": ("total",), "none": ("a", "b")},
    )
    reader = reader_of(how)
    for total in (12, 13, None, "many", 2.5, True):
        body = {"total": total, "page": {"next": "abc"}, "data": {"x": 1, "items": [{"id": 1}]}}
        page = reader.read(json.dumps(body).encode())
        assert page.extras == {"next": "abc", "total": total, "none": None}
        assert page.table.to_pylist() == [{"id": 1}]
        assert page.converted.total() == 0
    assert reader.read(b'{"data": {"items": null}}').table.num_rows == 0


@pytest.mark.parametrize(
    ("rows", "body", "sentence"),
    [
        ((), {"message": "quota", "code": 1}, 'expected a list of rows, but .* says: "quota"'),
        ((), "text", 'expected a list of rows, but the body is "text"'),
        ((), None, "the body is null"),
        (
            ("data",),
            {"errors": ["no"]},
            r"at `data`, but there is no `data` among `errors`; .* \[\"no",
        ),
        (("data",), {"data": {"a": 1}}, r'at `data`, but `data` is {"a": 1}'),
        (("data", "x"), {"data": 5}, r"at `data.x`, but `data` is 5"),
        (("data",), [], r"at `data`, but the body is \[\]"),
        (("data",), {}, "no `data` among no members"),
        ((), [{"id": 1}, 7], "row 1 is 7, expected an object"),
        ((), [None], "row 0 is null, expected an object"),
        ((), [[]], r"row 0 is \[\], expected an object"),
    ],
)
def test_no_rows_where_they_should_be(rows: tuple[str, ...], body: object, sentence: str) -> None:
    for infer in (False, True):
        how = Shape(rows=RowSelection(rows), columns=(column("id", "int64"),), infer=infer)
        with pytest.raises(ContractBroken, match="igdb/games: .*" + sentence):
            read(how, body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"<html><title>502 Bad Gateway</title>", "the body is HTML or XML: '502 Bad Gateway'"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "the body is HTML or XML"),
        (b'[{"id": 1}, {"id"', "ends early, after 17 bytes"),
        (b'[{"id": 1}, {"id"]', "not JSON"),
        (b"[1]]", "not JSON"),
        (b'[{"id": 1}] [{"id": 2}]', "not JSON: Extra data"),
        (b'[{"id": 1}], "y": [{"id": 2}]', "not JSON: Extra data"),
        (b'[{"id": 1}], [{"id": 2}]', "not JSON: Extra data"),
        (b"upstream connect error", "starts with 'upstream"),
        (b"no healthy upstream", "not JSON"),
        (b"[{'id': 1}]", "no JSON"),
    ],
)
def test_a_body_that_a_resend_may_mend(body: bytes, sentence: str) -> None:
    for how in (GAMES, Shape(infer=True), shape(id="json")):
        with pytest.raises(BadBody, match="igdb/games: .*" + sentence):
            read(how, body)


def test_looking_at_the_ends_is_enough_for_most_bad_bodies() -> None:
    for good in (b"[]", b' {"a": 1}\n', b"17", b'"x"', b"null", b"\xef\xbb\xbf[]"):
        DEFAULT_FORMAT.check(good)
    for bad in (b"", b"<p>", b"[", b"{]", b"oops"):
        with pytest.raises(BadBody):
            DEFAULT_FORMAT.check(bad)


def test_null_where_a_value_was_promised() -> None:
    how = Shape(columns=(column("id", "int64"), column("name", "string", nullable=False)))
    assert not reader_of(how).schema.field("name").nullable
    with pytest.raises(ContractBroken, match=r"column `name` .* row 1 \(id 5\) has null"):
        read(how, [{"id": 4, "name": "x"}, {"id": 5}])


@pytest.mark.slow
def test_limits() -> None:
    with pytest.raises(ContractBroken, match="has 20 bytes, expected at most 10"):
        read(Shape(max_body_bytes=10), b" " * 20)
    wide = [{f"k{n}": n for n in range(i * 100, i * 100 + 100)} for i in range(100)]
    with pytest.raises(ContractBroken, match="10,000 inferred columns, expected at most 2,000"):
        read(Shape(infer=True), wide)
    prices = {"id": 1, "prices": {f"sku{n}": n for n in range(5_000)}}
    with pytest.raises(ContractBroken, match=r"`prices` makes 5,000\. Check"):
        read(Shape(infer=True), [prices])
    declared = Shape(infer=True, columns=(column("prices", "json"),))
    assert read(declared, [prices]).table.column("id").to_pylist() == [1]


@pytest.mark.parametrize("levels", [70, 900, 100_000, 1_000_000])
@pytest.mark.parametrize("unit", [b'{"a":', b"["])
def test_deep_nesting_is_an_error_and_no_crash(levels: int, unit: bytes) -> None:
    close = {b"[": b"]", b'{"a":': b"}"}[unit]
    body = b'[{"x":' + unit * levels + b"1" + close * levels + b"}]"
    with pytest.raises(ContractBroken, match=r"levels deep|declared int64"):
        read(Shape(infer=True), body)
    with pytest.raises(ContractBroken, match=r"levels deep|declared int64"):
        read(shape(x="int64"), body)
    assert read(shape(y="int64"), body).table.num_rows == 1
    if levels > 300:
        with pytest.raises(ContractBroken, match=r"levels deep|too deep"):
            read(shape(x="json"), body)


def test_repeated_keys_are_the_same_or_an_error() -> None:
    assert read(GAMES, b'[{"id": 1, "hypes": 2, "hypes": 2}]').table.to_pylist()[0]["hypes"] == 2
    assert read(GAMES, b'[{"id": 1, "x": 2, "x": 3}]').table.num_rows == 1
    for how in (GAMES, shape(hypes="json"), Shape(infer=True)):
        with pytest.raises(ContractBroken, match=r"hypes.* twice .* with 3"):
            read(how, b'[{"id": 1, "hypes": 2, "hypes": 3}]')


def test_a_json_column_keeps_numbers_and_text_as_they_are() -> None:
    text = '{"a":123456789012345678901234567890,"b":1e400,"c":0.12345678901234567890,"d":-0.0}'
    page = read(shape(x="json"), f'[{{"x": {text}}}, {{"x": "s"}}, {{"x": null}}]'.encode())
    assert page.table.column("x").to_pylist() == [text, '"s"', None]
    with pytest.raises(ContractBroken, match="NaN: JSON has no such number"):
        read(shape(x="json"), b'[{"x": [NaN]}]')


def test_text_that_is_no_unicode_is_replaced_and_counted() -> None:
    for how in (shape(x="string"), Shape(infer=True)):
        page = read(how, b'[{"x": "a\\ud800b"}, {"x": "\\ud83d\\ude00"}, {"x": "c"}]')
        assert page.table.column("x").to_pylist() == ["a\ufffdb", "\U0001f600", "c"]
        assert page.converted == {"(invalid Unicode)": 1}
        page = read(how, b'[{"x": "caf\xe9"}, {"x": "\xef\xbf\xbd"}]')
        assert page.table.column("x").to_pylist() == ["caf\ufffd", "\ufffd"]
        assert page.converted == {"(invalid UTF-8)": 1}
    assert read(shape(x="string"), b'\xef\xbb\xbf[{"x": "a\nb"}]').table["x"][0].as_py() == "a\nb"


def test_a_column_that_always_needs_repair_stays_right() -> None:
    reader = reader_of(shape(id="int64", price="double"))
    for _ in range(3):
        page = reader.read(b'[{"id": 1, "price": "12.50"}, {"id": 2, "price": 3}]')
        assert page.table.column("price").to_pylist() == [12.5, 3.0]
        assert page.converted == {"price": 1}


def test_converted_cells_are_counted_by_column() -> None:
    reader = reader_of(shape(id="int64", price="double", by="struct<age: int64>", ok="bool"))
    row = b'{"id": "7", "price": "1.5", "by": {"age": "30"}, "ok": true}'
    of_each = {"id": 1, "price": 1, "by": 1}
    assert reader.read(b"[" + row + b"]").converted == of_each
    pages = reader.read_together([b"[" + row + b"]"] * 2)
    assert pages is not None
    assert sum((page.converted for page in pages), Counter()) == dict.fromkeys(of_each, 2)


def test_a_name_declared_twice() -> None:
    with pytest.raises(ValueError, match="column `id` is declared twice"):
        Shape(columns=(column("id", "int64"), column("id", "string")))


def test_many_threads_read_into_one_schema() -> None:
    reader = reader_of(Shape(infer=True))
    pages = [json.dumps([{"id": n, f"c{n % 7}": [n]}]).encode() for n in range(200)]
    tables: list[pa.Table] = []
    workers = [
        threading.Thread(target=lambda part=part: tables.extend(reader.read(p).table for p in part))
        for part in (pages[::4], pages[1::4], pages[2::4], pages[3::4])
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    whole = pa.concat_tables([reader.conform(table) for table in tables])
    assert whole.schema.names == [f"c{n}" for n in range(7)] + ["id"]
    assert sorted(whole.column("id").to_pylist()) == list(range(200))


def test_what_was_read_stays_as_it_is_while_the_thread_reads_on() -> None:
    rows = {
        many: [{"id": n, "name": f"{many} {n}"} for n in range(many)] for many in (3, 9, 90_000)
    }
    bodies = {many: json.dumps(of).encode() for many, of in rows.items()}
    assert len(bodies[90_000]) > 1.5 * MAX_BATCH_BYTES  # in memory of its own
    kind = pa.list_(pa.struct([("id", pa.int64()), ("name", pa.string())]))
    found = [(many, read_bytes([bodies[many]], kind, "error")) for many in (9, 3, 90_000, 3)]
    for many, read in found:
        assert read.to_pylist() == [rows[many]]


HOWS = [
    shape(id="int64", x="string"),
    shape(id="timestamp[iso]", x="json"),
    Shape(infer=True),
    Shape(rows=RowSelection(("data",)), infer=True, extras={"n": ("next",)}),
    Shape(columns=(column("id", "list<int64>"),), infer=True),
]
SEEDS = [
    b'[{"id": 1, "x": "a"}, {"id": 2, "x": null, "y": {"z": [1, 2.5]}}]',
    b'{"next": "t", "data": [{"id": 1, "when": "2024-01-01"}]}',
    b'[{"id": [1, 2], "x": "\\ud83d\\ude00", "y": -1.5e3}]',
]


@given(st.binary(max_size=60) | st.text(alphabet='[]{}:,"\\0123eE.+-ntfaul \n', max_size=30))
def test_any_bytes_are_a_page_or_one_of_two_errors(body: bytes | str) -> None:
    expect_one_of_two(body if isinstance(body, bytes) else body.encode())


@given(
    st.sampled_from(SEEDS),
    st.integers(0, 80),
    st.integers(0, 10),
    st.binary(max_size=3) | st.sampled_from([b'"', b"[", b"}", b"1e999", b"NaN", b"{}", b"null"]),
)
def test_a_mangled_page_is_a_page_or_one_of_two_errors(
    seed: bytes, at: int, drop: int, insert: bytes
) -> None:
    expect_one_of_two(seed[:at] + insert + seed[at + drop :])


def expect_one_of_two(body: bytes) -> None:
    for how in HOWS:
        reader = reader_of(how)
        try:
            page = reader.read(body)
        except (BadBody, ContractBroken) as error:
            said = str(error)
        else:
            said = "igdb/games: read"
            reader.conform(page.table).validate(full=True)
        assert said.startswith("igdb/games: ")
