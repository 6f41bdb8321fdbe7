"""Pages read together are what they are one by one, and who waits gets what is its own."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import runtime
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import BadBody
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.errors import ContractBroken
from pipeline.extract.prefetch import MAX_BATCH_BYTES, ParseBatcher
from tests.decode.test_type_lattice import ROWS
from tests.support.readers import reader_of
from tests.support.thorough import THOROUGH

COLUMNS = (Column("id", parse_type("int64")), Column("at", parse_type("timestamp[s]")))
SHAPES = (
    Shape(columns=COLUMNS),
    Shape(infer=True),
    Shape(columns=COLUMNS, infer=True),
    Shape(columns=(*COLUMNS, Column("object", parse_type("json")))),
    Shape(
        rows=RowSelection(("data", "rows")),
        infer=True,
        extras={"token": ("next",), "total": ("data", "n")},
    ),
)
PIECES = st.sampled_from(
    [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"',
        b"\n",
        b'{"id":1}',
        b'"a":',
        b"]]}",
        b'{"r":[[',
        b"1",
        b"\\",
    ]
)
BENT = st.lists(PIECES, min_size=1, max_size=8).map(b"".join)


def body_of(shape: Shape, rows: list[dict[str, Any]], number: int) -> bytes:
    body: Any = rows
    if shape.rows.path:
        body = {"next": f"t{number}" if number % 2 else None, "data": {"n": number, "rows": rows}}
    return json.dumps(body).encode()


def one_by_one(reader: Decoder, bodies: Sequence[bytes]) -> list[DecodedPage] | None:
    try:
        return [reader.read(body) for body in bodies]
    except (BadBody, ContractBroken):
        return None


def same(
    together: list[DecodedPage], alone: list[DecodedPage], reader: Decoder, other: Decoder
) -> bool:
    assert reader.schema == other.schema
    assert [page.extras for page in together] == [page.extras for page in alone]
    assert sum(page.converted.total() for page in together) == sum(
        page.converted.total() for page in alone
    )
    for one, two in zip(together, alone, strict=True):
        assert reader.conform(one.table).to_pylist() == other.conform(two.table).to_pylist()
    return True


@pytest.mark.slow
@settings(max_examples=60 * THOROUGH)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=4, max_size=7),
)
def test_together_they_are_what_they_are_alone(
    shape: Shape, pages: list[list[dict[str, Any]]]
) -> None:
    bodies = [body_of(shape, rows, number) for number, rows in enumerate(pages)]
    reader, other = reader_of(shape), reader_of(shape)
    first = one_by_one(reader, bodies[:2])
    together = reader.read_together(bodies[2:])
    alone = one_by_one(other, bodies)
    if first is not None and together is not None:
        assert alone is not None, "what is refused alone is not taken together"
        assert same(together, alone[2:], reader, other)


@pytest.mark.slow
@settings(max_examples=100 * THOROUGH)
@given(st.sampled_from(SHAPES[:3]), st.lists(BENT | st.just(b'[{"id":5}]'), min_size=2, max_size=4))
def test_no_body_reaches_into_the_next(shape: Shape, bodies: list[bytes]) -> None:
    reader, other = reader_of(shape), reader_of(shape)
    for each in (reader, other):
        each.read(b'[{"id":1,"a":"x"}]')
    together = reader.read_together(bodies)
    if together is not None:
        alone = one_by_one(other, bodies)
        assert alone is not None
        assert same(together, alone, reader, other)


def test_a_body_that_is_two_does_not_make_up_for_two_that_are_one() -> None:
    halves = [b'[{"a":"]', b'"}]']  # with a comma or nothing between them they are a page
    twice = b'[{"id":5}],[{"id":6}]'
    for bodies in ([*halves, twice], [twice, *halves], [b'[{"id":1}]', b'[]]}{"r":[[{"id":2}]']):
        reader = reader_of(SHAPES[0])
        reader.read(b'[{"id":1,"a":"x"}]')
        assert reader.read_together(bodies) is None


def test_pages_as_usual_are_read_in_one_go() -> None:
    for shape in SHAPES:
        reader = reader_of(shape)
        bodies = [body_of(shape, [{"id": n, "object": {"x": n}}], n) for n in range(1, 6)]
        for body in bodies[:2]:  # the types of the scalar facts are learned from a page
            reader.read(body)
        pages = reader.read_together(bodies[2:])
        assert pages is not None
        assert [page.table.num_rows for page in pages] == [1, 1, 1]


def test_a_page_that_is_nested_too_deep_is_no_matter_of_the_others() -> None:
    reader = reader_of(SHAPES[3])  # pyarrow is not asked to read json
    usual, deep = b'[{"id":1}]', b'[{"id":2,"object":%b%b}]' % (b"[" * 2000, b"]" * 2000)
    assert reader.read_together([usual, usual]) is not None
    assert reader.read_together([usual, deep]) is None


def test_a_page_that_is_odd_sends_all_back_to_be_read_alone_and_not_for_ever() -> None:
    reader = reader_of(Shape(columns=COLUMNS))
    usual, odd = b'[{"id":1}]', b'[{"id":"1"}]'
    assert reader.read_together([usual, b"<html>"]) is None
    assert reader.read_together([usual, usual]) is not None
    for _ in range(20):
        assert reader.read_together([usual, odd]) is None
    assert not reader.reads_together, "mostly it is in vain"
    assert reader.read_together([usual, usual]) is None


def test_who_waits_gets_its_own_result_and_its_own_error() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    groups: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int | Exception]:
        groups.append(list(items))
        begun.release()
        go_on.wait(10)
        return [ValueError(str(item)) if item == 3 else item * 10 for item in items]

    async def run() -> list[int | BaseException]:
        together = ParseBatcher(work)
        readers = runtime.READERS._max_workers
        busy = []
        for number in range(1, readers + 1):  # one after the other, else one reader takes both
            busy.append(asyncio.create_task(together.result_of(-number, 1)))
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        waiting = [asyncio.create_task(together.result_of(n, 1)) for n in range(6)]
        large = asyncio.create_task(together.result_of(7, MAX_BATCH_BYTES))
        await asyncio.sleep(0)
        waiting[4].cancel()
        await asyncio.sleep(0)
        go_on.set()
        found = await asyncio.gather(*busy, *waiting, large, return_exceptions=True)
        return found[readers:]

    found = asyncio.run(run())
    assert [found[n] for n in (0, 1, 2, 5, 6)] == [0, 10, 20, 50, 70]
    assert isinstance(found[3], ValueError)
    assert isinstance(found[4], asyncio.CancelledError)
    assert sorted(groups[-2:]) == [[0, 1, 2, 3, 5], [7]], "what nobody wants is not done"


def test_an_error_of_the_work_itself_reaches_all_who_wait() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        raise MemoryError

    async def run() -> list[Any]:
        together = ParseBatcher(work)
        return await asyncio.gather(
            *(together.result_of(n, 1) for n in range(3)), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(run())] == [MemoryError] * 3


HOURS_S = 3_600.0


def results_of(*items: tuple[int, int, float]) -> tuple[list[list[int]], list[int]]:
    """The groups in which items of a number, a size and a linger were done, and their results."""
    groups: list[list[int]] = []

    def work(numbers: Sequence[int]) -> list[int | Exception]:
        groups.append(list(numbers))
        return [number * 10 for number in numbers]

    async def run() -> list[int]:
        together = ParseBatcher(work)
        return await asyncio.gather(*(together.result_of(*item) for item in items))

    async def bounded() -> list[int]:
        return await asyncio.wait_for(run(), 30)

    return groups, asyncio.run(bounded())


def test_items_that_may_wait_are_done_with_the_first_that_may_not() -> None:
    groups, results = results_of((1, 1, HOURS_S), (2, 1, HOURS_S), (3, 1, 0.0))
    assert groups == [[1, 2, 3]]
    assert results == [10, 20, 30]


def test_a_large_group_waits_for_no_more() -> None:
    groups, _ = results_of((1, 2**18, HOURS_S), (2, 2**18, HOURS_S))
    assert groups == [[1, 2]]


def test_what_does_not_fit_into_a_group_is_done_next() -> None:
    groups, results = results_of((1, 1, HOURS_S), (2, MAX_BATCH_BYTES, HOURS_S))
    assert sorted(groups) == [[1], [2]]
    assert results == [10, 20]


def test_nothing_waits_where_reading_together_gains_nothing() -> None:
    async def run() -> int:
        alone = ParseBatcher[int, int](lambda items: [*items], gains=lambda: False)
        return await alone.result_of(1, 1, HOURS_S)

    async def bounded() -> int:
        return await asyncio.wait_for(run(), 30)

    assert asyncio.run(bounded()) == 1
