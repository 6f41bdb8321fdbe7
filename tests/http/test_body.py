"""Bodies as they come, and the pages that are cut out of a pack."""

import json
import tracemalloc
from typing import Any

import orjson
import pytest

from pipeline.decode.body_checks import BadBody, ConversionCounts, clean_utf8, in_utf8
from pipeline.dialects.igdb import split
from pipeline.messages import LARGE_BYTES, Incoming

PIECE = bytes(range(256)) * 1024


@pytest.mark.parametrize("pieces", [0, 1, 3, LARGE_BYTES // len(PIECE) + 1, 40])
def test_a_body_is_its_pieces_in_their_order(pieces: int) -> None:
    sent = [PIECE[n:] + PIECE[:n] for n in range(pieces)]
    body = Incoming()
    for piece in sent:
        body.add(piece)
    assert body.whole() == b"".join(sent)
    assert body.size == sum(map(len, sent))


def test_a_large_body_takes_hardly_more_memory_than_its_bytes() -> None:
    tracemalloc.start()
    try:
        body = Incoming()
        for n in range(80):
            body.add(PIECE[n:] + PIECE[:n])
        whole = body.whole()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(whole) == 80 * len(PIECE)
    assert peak < 1.3 * len(whole)


PARTS: list[dict[str, Any]] = [
    {"name": "JK", "result": [{"id": 1, "name": 'ü ]} , "KJ"'}, {"id": 2, "tags": [[1], []]}]},
    {"name": "KJ", "count": 7},
    {"name": "QV", "result": []},
]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(PARTS), id="as Python writes it"),
        pytest.param(orjson.dumps(PARTS).decode(), id="dense"),
        pytest.param(json.dumps(PARTS, indent=4), id="in lines"),
        pytest.param(json.dumps(PARTS[::-1], indent="\t") + "\r\n", id="in another order"),
        pytest.param(json.dumps([dict(reversed(p.items())) for p in PARTS]), id="name last"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_pack_is_cut_into_its_pages(text: str, kind: type[bytes] | type[bytearray]) -> None:
    pages = split(kind(text.encode()), ["JK", "KJ", "QV"])
    read = [json.loads(bytes(page)) for page in pages]
    assert read == [PARTS[0]["result"], {"count": 7}, []]


def test_pages_are_views_of_the_pack() -> None:
    body = bytearray(json.dumps(PARTS).encode())
    page = split(body, ["JK", "KJ", "QV"])[0]
    assert isinstance(page, memoryview)
    assert page.obj is body


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(PARTS[:2]), id="one is missing"),
        pytest.param(json.dumps(PARTS)[:-40], id="cut short"),
        pytest.param('{"message": "no"}', id="an error"),
        pytest.param("<html>JK KJ QV</html>", id="HTML"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_pack_is_asked_for_again(text: str) -> None:
    with pytest.raises(BadBody):
        split(text.encode(), ["JK", "KJ", "QV"])


NAME = '[{"name": "Zoë"}]'


@pytest.mark.parametrize(
    ("sent", "charset"),
    [
        (NAME.encode("latin-1"), "ISO-8859-1"),
        (NAME.encode("cp1252"), "windows-1252"),
        (NAME.encode(), "iso-8859-1"),
        (NAME.encode(), "us-ascii"),
        (NAME.encode(), "utf8"),
        (NAME.encode("utf-8-sig"), None),
        (NAME.encode("utf-16"), "utf-16"),
        (NAME.encode("utf-16"), None),
        (b"\xfe\xff" + NAME.encode("utf-16-be"), None),
        (NAME.encode("utf-16-le"), "UTF-16LE"),
        (NAME.encode("utf-32"), None),
    ],
)
def test_a_body_is_read_in_the_charset_that_it_is_written_in(
    sent: bytes, charset: str | None
) -> None:
    tally = ConversionCounts()
    assert str(clean_utf8(in_utf8(sent, charset), tally), "utf-8") == NAME
    assert not tally


@pytest.mark.parametrize("charset", [None, "utf-8", "no-such-charset", "base64", "utf-16", ""])
def test_a_charset_that_does_not_fit_changes_nothing(charset: str | None) -> None:
    sent = NAME.encode("latin-1")
    assert in_utf8(sent, charset) == sent
