"""JSON lines and CSV: the rows that the same JSON would give, or a refusal."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.decode import DECODERS, DEFAULT_FORMAT, Decoder
from pipeline.decode.body_checks import BadBody
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.errors import ConfigError, ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.decode.test_type_lattice import ROWS
from tests.support.runs import extract, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def decoder_of(kind: str, shape: Shape, **said: Any) -> Decoder:
    format = DECODERS[kind].model_validate({"kind": kind, **said})
    return format.decoder(shape, label="api/things")


@given(st.lists(ROWS, max_size=5))
def test_lines_are_what_a_list_would_be(rows: list[dict[str, Any]]) -> None:
    lines = decoder_of("jsonl", Shape(infer=True))
    whole = DEFAULT_FORMAT.decoder(Shape(infer=True), label="api/things")
    body = "\r\n\n".join(json.dumps(row) for row in rows).encode() + b"\n"
    try:
        expected = whole.read(json.dumps(rows).encode())
    except ContractBroken:
        with pytest.raises(ContractBroken):
            lines.read(body)
        return
    page = lines.read(body)
    assert page.table.equals(expected.table)
    assert page.items == len(rows)
    assert lines.schema == whole.schema


def test_lines_are_read_together_and_in_other_forms() -> None:
    decoder = decoder_of("jsonl", Shape(infer=True))
    body = b'\xef\xbb\xbf{"id": 1}\n{"id": 2}'
    assert decoder.read(body).table.to_pylist() == [{"id": 1}, {"id": 2}]
    pages = decoder.read_together([b'{"id": 3}\n', b"", b'{"id": 4}\n{"id": 5}'])
    assert pages is not None
    assert [page.table.num_rows for page in pages] == [1, 0, 2]
    inside = decoder_of("jsonl", Shape(rows=RowSelection(("*", "event")), infer=True))
    assert inside.read(b'{"event": {"id": 1}}\n{"event": {"id": 2}}').table.num_rows == 2
    arrays = decoder_of("jsonl", Shape(rows=RowSelection(form="values"), infer=True))
    assert arrays.read(b'[1, "a"]\n[2, "b"]\n').table.to_pylist()[1] == {"0": 2, "1": "b"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"id": 1}\n{"id": 2', "end early"),
        (b'{"id": 1}\n{"id": {"a": 2}\n', "not JSON"),
        (b"<html>", "starts with '<html>'"),
        (b'{"id":\n 1}\n', "not JSON"),
    ],
)
def test_lines_that_are_none(body: bytes, sentence: str) -> None:
    with pytest.raises(BadBody, match=sentence):
        decoder_of("jsonl", Shape(infer=True)).read(body)


COLUMNS = (
    Column("id", parse_type("int64")),
    Column("price", parse_type("decimal(9, 2)")),
    Column("at", parse_type("timestamp[iso]")),
)


def test_csv_rows() -> None:
    body = b'id,name,price,at\r\n1,"a ""b"", c",1.50,2026-11-01\r\n2,"x\ny",,\r\n'
    table = decoder_of("csv", Shape(columns=COLUMNS, infer=True)).read(body).table
    assert [list(row.values()) for row in table.to_pylist()] == [
        [1, Decimal("1.50"), datetime(2026, 11, 1, tzinfo=UTC), 'a "b", c'],
        [2, None, None, "x\ny"],
    ]
    tabs = decoder_of("csv", Shape(infer=True), delimiter="\\t")
    assert tabs.read(b"\xef\xbb\xbfid\tn\n1\t2\n").table.to_pylist() == [{"id": "1", "n": "2"}]
    assert tabs.read(b"id\tn\n").table.num_rows == 0
    place = Column("id", parse_type("int64"), ("0",))
    bare = decoder_of("csv", Shape(columns=(place,)), header=False)
    assert bare.read(b"1,2\n3,4\n").table.to_pylist() == [{"id": 1}, {"id": 3}]
    assert bare.read(b"").table.num_rows == 0
    latin = bare.read(b"5,caf\xe9\n")
    assert latin.converted == {"(invalid UTF-8)": 1, "id": 1}


def test_names_that_come_again_among_the_rows_are_none() -> None:
    """Files that were joined. A single column may have its own name as a value."""
    reader = decoder_of("csv", Shape(infer=True))
    joined = reader.read(b"id,n\n1,a\nid,n\n2,id\n")
    assert (joined.table.to_pylist(), joined.items) == (
        [{"id": "1", "n": "a"}, {"id": "2", "n": "id"}],
        2,
    )
    assert decoder_of("csv", Shape(infer=True)).read(b"n\n1\nn\n").table.num_rows == 2


@pytest.mark.parametrize(
    ("body", "error", "sentence"),
    [
        (
            b"id,n\n1,2\nTotal,2\n",
            ContractBroken,
            r"the last line seems to be a total and no row: .*`where: {id: {not: Total}}`",
        ),
        (b"id,n\nTotal,2\n1,2\n", ContractBroken, 'row 0 .* has "Total": expected a whole number'),
        (b"", BadBody, "the body is empty"),
        (b"<html>", BadBody, "starts with"),
        (b'[{"id": 1}]', BadBody, "starts with"),
        (b"id,n\n1,2\n3", BadBody, "row 1 has 1 cells, expected 2"),
        (b'id,n\n1,"2', BadBody, "not CSV"),
        (b"id,id\n1,2\n", ContractBroken, "a name twice"),
        (b"id;n\n1;2\n", ContractBroken, "no column `id`.*format.delimiter"),
        (
            b"ERROR: quota exceeded\n",
            ContractBroken,
            "no column `id`.*whether these words are an error",
        ),
        (b"id,n\nx,2\n", ContractBroken, 'column `id` is declared int64, but row 0 .*"x"'),
    ],
)
def test_csv_that_is_none(body: bytes, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        decoder_of("csv", Shape(columns=COLUMNS[:1], infer=True, needed=frozenset({"id"}))).read(
            body
        )


ERROR = '{"status": "error", "message": "timeout"}'


@pytest.mark.parametrize(
    ("lines", "columns", "refused"),
    [
        (['{"id": 1}', '{"id": 2}', ERROR], (), True),
        (['{"id": 1}', ERROR], ("id",), True),
        ([ERROR], ("id",), True),
        (['{"id": 1}', '{"exception": {"code": 7}}', ""], (), True),
        (['{"id": 1, "status": "fine"}', ERROR], (), False),
        ([ERROR, ERROR], (), False),
        ([ERROR], (), False),  # of logs each row may be an error
        ([ERROR], ("status",), False),
        (['{"id": 1}', '{"id": 2, "error": "none left"}'], (), False),
        (['{"id": 1}', '{"name": "b"}'], (), False),
    ],
)
def test_a_last_line_that_is_an_error_is_no_row(
    lines: list[str], columns: tuple[str, ...], refused: bool
) -> None:
    text = parse_type("json")
    shape = Shape(columns=tuple(Column(name, text) for name in columns), infer=True)
    decoder, body = decoder_of("jsonl", shape), "\n".join(lines).encode()
    if refused:
        assert decoder.read_together([body]) is None
        with pytest.raises(BadBody, match="the last line is an error and no row: "):
            decoder.read(body)
    else:
        assert decoder.read(body).table.num_rows == len(lines)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["jsonl", '{kind: csv, delimiter: ";"}'])
def test_pages_of_other_formats_land(lake: Lake, format: str) -> None:
    ids = list(range(1, 48))

    async def things(request: Request) -> Response:
        begin = int(request.query_params["offset"])
        some = ids[begin : begin + 10]
        if format == "jsonl":
            return Response("".join(f'{{"id": {n}, "at": {n}}}\n' for n in some))
        return Response("id;at\n" + "".join(f"{n};{n}\n" for n in some))

    yaml = f"""
    source: api
    base_url: URL
    start: 2026-11-01
    endpoints:
      things:
        format: {format}
        key: [id]
        columns: {{id: int64, at: "timestamp[s]"}}
        paging: {{kind: offset, limit: 10}}
        request: {{params: {{offset: "{{offset}}"}}}}
    """
    with serving(Starlette(routes=[Route("/things", things)])) as url:
        (manifest,) = extract(
            source_of(yaml.replace("URL", url)), lake, "things", ["2026-11-02"], NOW
        )
    assert sorted(key_rows(lake, manifest.files, ["id"])["id"].to_pylist()) == ids
    if "csv" in format:
        with pytest.raises(ConfigError, match="`format: csv` is rows alone"):
            source_of(yaml.replace("URL", "http://x").replace("key:", "rows: data\n        key:"))
