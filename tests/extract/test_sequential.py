"""Chains and numbered pages: no row twice, and a second pass where the count does not agree."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.config.request import WindowFormat
from pipeline.errors import ContractBroken
from pipeline.extract.confirmation import OverlappingPages
from pipeline.extract.cursor_pages import CursorPages
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.position import CannotResume
from pipeline.extract.sequential import SequentialReader
from pipeline.extract.window_cuts import WindowCuts
from pipeline.pagination import Paging
from pipeline.pagination.cursor import CursorPaging
from pipeline.pagination.numbered import NumberedPaging, OffsetPaging
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from tests.support.moving import Moving
from tests.support.positions import as_stored
from tests.support.thorough import THOROUGH

SEEDS = st.integers(0, 2**32 - 1)


class Numbered(Moving):
    """Pages by number; beyond the last one a page is empty, or the last one again."""

    clamps = False
    stuck = False

    def keys_of_page(self, request: PageRequest) -> list[int]:
        number = 0 if self.stuck or request.page is None else request.page - 1
        size = min(request.limit, self.cap or request.limit)
        if self.clamps:
            number = min(number, max(0, (len(self.rows) - 1) // size))
        return self.rows[number * size : (number + 1) * size]


class Tokens(Moving):
    """A token is the last key; a slice of the window is a range of keys."""

    circle = False

    async def page(self, request: PageRequest) -> ParsedPage:
        await self._delay()
        low, high = (int(x or 0) for x in request.window) if request.window else (0, 10**9)
        rows = [row for row in self.rows if low <= row < high]
        after = int(str(request.token or -1))
        rest = [row for row in rows if row > after]
        found = rest[: request.limit]
        token = str(found[-1]) if len(rest) > len(found) else None
        if self.circle and token is None:
            token = "-1"
        page = self.parsed(request, found)
        await self._delay(back=True)
        total = len(rows) if self.total_in_page else None
        facts = PageInfo(len(found), token=token, total=total)
        return ParsedPage(request, facts, page.table)


class ByCursor(Moving):
    """Rows in order of a cursor that ``each`` of them have; a page goes on from a cursor."""

    each = 1

    def cursor(self, key: int) -> str:
        return (datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=key // self.each)).isoformat()

    def keys_of_page(self, request: PageRequest) -> list[int]:
        start = request.window[0] if request.window else None
        rows = [row for row in self.rows if start is None or self.cursor(row) >= start]
        return rows[: min(request.limit, self.cap or request.limit)]

    def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
        page = super().parsed(request, keys)
        if not keys:
            return page
        last = self.cursor(keys[-1])
        again = tuple((key,) for key in keys if self.cursor(key) == last)
        facts = PageInfo(
            len(keys), cursor=last, boundary_keys=again, first_cursor=self.cursor(keys[0])
        )
        return ParsedPage(request, facts, page.table)


def reader_of(
    model: PageSource, paging: Paging, ahead: int = 4, slices: Any = ()
) -> SequentialReader:
    return SequentialReader(
        model, paging, key=("id",), ahead=lambda: ahead, cuts=WindowCuts(slices)
    )


def read_all(
    reader: SequentialReader, position: Any = None, stop_after: int | None = None
) -> tuple[list[int], Any]:
    async def read() -> tuple[list[int], Any]:
        keys: list[int] = []
        at, number = position, 0
        pages = reader.run(position)
        async for handed in pages:
            keys += handed.table["id"].to_pylist()
            at = as_stored(handed.position)
            number += 1
            if number == stop_after:
                await pages.aclose()
                break
        return keys, at

    return asyncio.run(asyncio.wait_for(read(), 20))


@pytest.mark.slow
@settings(max_examples=60 * THOROUGH)
@given(
    count=st.integers(0, 60),
    gone=st.integers(0, 3),
    limit=st.integers(1, 9),
    ahead=st.integers(1, 8),
    in_page=st.booleans(),
    cap=st.integers(2, 9) | st.none(),
    seed=SEEDS,
)
def test_numbered_pages_whose_rows_shift_are_read_until_the_count_agrees(
    count: int, gone: int, limit: int, ahead: int, in_page: bool, cap: int | None, seed: int
) -> None:
    rng = random.Random(seed)
    # Deleted rows shift pages, so that rows are passed over; the count says so.
    model = Numbered(
        rng.sample(range(1, 200), count),
        rng,
        changes=min(gone, 2),
        counts=not in_page,
        total_in_page=in_page,
        cap=cap,
    )
    model.rng = Deleting(seed)
    reader = reader_of(model, NumberedPaging(limit=limit), ahead)
    keys, _ = read_all(reader)
    assert len(keys) == len(set(keys)) == reader.progress.rows
    if reader.progress.contiguous:
        assert not model.throughout - set(keys)
    else:
        assert reader.progress.passes == 3
    assert reader.progress.contiguous or gone


class Deleting(random.Random):
    """Changes are deletions only."""

    def random(self) -> float:
        return min(super().random(), 0.5)


def test_a_second_pass_finds_what_the_first_has_passed_over() -> None:
    class Once(Numbered):
        def change(self) -> None:
            if self.requests == 3 and 1 in self.rows:
                self.rows.remove(1)
                self.throughout.discard(1)

    model = Once(list(range(1, 11)), random.Random(0), most_delay=0)
    reader = reader_of(model, NumberedPaging(limit=3), ahead=1)
    keys, _ = read_all(reader)
    assert keys == [1, 2, 3, 5, 6, 7, 8, 9, 10, 4], "4 moved to the page before"
    assert reader.progress.passes == 2
    assert reader.progress.contiguous
    assert reader.progress.duplicate_rows > 0


def test_numbered_pages_are_read_side_by_side() -> None:
    model = Numbered(list(range(1, 99)), random.Random(3))
    keys, _ = read_all(reader_of(model, NumberedPaging(limit=5), ahead=8))
    assert keys == list(range(1, 99))
    assert model.most_open == 8
    assert model.requests == 20 + 2, "and the count, before and after"


@pytest.mark.parametrize("paging", [NumberedPaging(limit=5), OffsetPaging(limit=5, overlap=False)])
@pytest.mark.parametrize("counts", [True, False])
def test_a_page_number_that_is_ignored_is_said(paging: Paging, counts: bool) -> None:
    model = Numbered(list(range(1, 51)), random.Random(3), counts=counts)
    model.stuck = True
    with pytest.raises(ContractBroken, match="knows the paging parameter"):
        read_all(reader_of(model, paging))
    assert model.requests < 100


def test_rows_that_are_counted_but_never_come_are_said() -> None:
    model = Numbered([], random.Random(3), wrong_count=lambda count: 7)
    with pytest.raises(ContractBroken, match="The API counts 7 rows, but only 0 came"):
        read_all(reader_of(model, NumberedPaging(limit=5)))


def test_a_count_of_billions_is_not_planned_for_before_its_pages_come() -> None:
    model = Numbered(list(range(1, 51)), random.Random(3), wrong_count=lambda _: 10**15)
    reader = reader_of(model, NumberedPaging(limit=5))
    keys, _ = read_all(reader)
    assert keys == list(range(1, 51))
    assert not reader.progress.contiguous
    assert model.requests < 3 * 40


def test_a_wrong_count_is_not_a_proof() -> None:
    model = Numbered(list(range(1, 51)), random.Random(3), wrong_count=lambda count: count + 1)
    reader = reader_of(model, NumberedPaging(limit=5))
    keys, _ = read_all(reader)
    assert keys == list(range(1, 51))
    assert not reader.progress.contiguous
    assert reader.progress.passes == 3


@settings(max_examples=60 * THOROUGH)
@given(
    count=st.integers(0, 60),
    changes=st.integers(0, 20),
    limit=st.integers(1, 9),
    slices=st.integers(1, 5),
    ahead=st.integers(1, 8),
    stop=st.integers(1, 12),
    until_short=st.booleans(),
    seed=SEEDS,
)
def test_token_chains_bring_what_was_there_throughout_once_also_in_two_tries(
    count: int,
    changes: int,
    limit: int,
    slices: int,
    ahead: int,
    stop: int,
    until_short: bool,
    seed: int,
) -> None:
    rng = random.Random(seed)
    model = Tokens(rng.sample(range(1, 200), count), rng, changes=changes, counts=False)
    cuts = [0, *sorted(rng.sample(range(1, 200), slices - 1)), 10_000]
    windows = tuple((str(a), str(b)) for a, b in pairwise(cuts))
    paging = TokenPaging(limit=limit, next="next", until_short=until_short)
    first, position = read_all(reader_of(model, paging, ahead, windows), None, stop)
    model.change()
    rest, _ = read_all(reader_of(model, paging, ahead, windows), position) if position else ([], 0)
    keys = first + rest
    assert keys == sorted(set(keys))
    assert not model.throughout - set(keys)


@pytest.mark.slow
@settings(max_examples=60 * THOROUGH)
@given(
    count=st.integers(0, 60),
    changes=st.integers(0, 10),
    each=st.integers(1, 2),
    limit=st.integers(4, 9),
    cap=st.none() | st.integers(3, 6),
    keep=st.integers(0, 2),
    at=st.integers(1, 30),
    stop=st.integers(1, 30),
    seed=SEEDS,
)
def test_one_short_or_empty_page_by_the_cursor_costs_no_row(
    count: int,
    changes: int,
    each: int,
    limit: int,
    cap: int | None,
    keep: int,
    at: int,
    stop: int,
    seed: int,
) -> None:
    # The first page of a try does not tell an API that caps its pages from a short one; the second
    # is the third request where a row that goes has the first one asked for again. A second try
    # has a first page too: there is none where pages are capped.
    is_capped = cap is not None and cap < limit
    assume(not is_capped or at not in (2, 2 + bool(changes)))
    rng = random.Random(seed)
    model = ByCursor(rng.sample(range(1, 200), count), rng, changes=changes, counts=False, cap=cap)
    model.each = each
    model.fault = lambda request, found: found[:keep]
    model.fault_at = frozenset([at])
    windows = ((None, "2027-01-01T00:00:00+00:00"),)

    def reader() -> SequentialReader:
        return reader_of(CursorPages(model, WindowFormat()), CursorPaging(limit=limit), 1, windows)

    first, position = read_all(reader(), None, None if is_capped else stop)
    rest, _ = read_all(reader(), position) if position else ([], 0)
    keys = first + rest
    assert len(keys) == len(set(keys))
    assert not model.throughout - set(keys)


def test_the_totals_of_slices_add_up() -> None:
    model = Tokens(list(range(1, 31)), random.Random(1), counts=False, total_in_page=True)
    windows = (("0", "10"), ("10", "25"), ("25", "99"))
    reader = reader_of(model, TokenPaging(limit=4, next="next"), 2, windows)
    keys, position = read_all(reader, None, 4)
    assert len(position.counts.totals) == 2
    again = reader_of(model, TokenPaging(limit=4, next="next"), 2, windows)
    rest, _ = read_all(again, position)
    assert keys + rest == list(range(1, 31))
    assert (again.progress.passes, again.progress.contiguous) == (1, True)


def test_a_later_try_whose_count_does_not_agree_starts_over() -> None:
    model = Numbered(list(range(1, 31)), random.Random(1))
    _, position = read_all(reader_of(model, NumberedPaging(limit=4)), None, 3)
    model.rows = model.rows[2:]
    with pytest.raises(CannotResume):
        read_all(reader_of(model, NumberedPaging(limit=4)), position)


def test_many_slices_without_a_row_are_no_circle() -> None:
    model = Numbered([], random.Random(1), counts=False, most_delay=0)
    slices = tuple((str(n), str(n + 1)) for n in range(300))
    keys, _ = read_all(reader_of(model, NumberedPaging(limit=4), slices=slices))
    assert keys == []


class BySlice(Moving):
    """Numbered pages of rows in slices of ten keys, with a total that is the slice's own, or of
    all."""

    total_of_all = False

    async def page(self, request: PageRequest) -> ParsedPage:
        await self._delay()
        assert request.window is not None
        low, high = (int(x or 0) for x in request.window)
        rows = [row for row in self.rows if low <= row < high]
        first = (
            request.limit * (request.page - 1) if request.page is not None else request.offset or 0
        )
        page = self.parsed(request, rows[first : first + request.limit])
        await self._delay(back=True)
        total = len(self.rows) if self.total_of_all else len(rows)
        return replace(page, info=PageInfo(page.info.rows, total=total))


BY_NUMBER = [NumberedPaging(limit=4, total="t"), OffsetPaging(limit=4, total="t", overlap=False)]


@pytest.mark.parametrize("paging", BY_NUMBER, ids=["page", "offset"])
@pytest.mark.parametrize("empty", [range(30), range(5, 40)], ids=["first", "in between"])
def test_slices_behind_many_without_a_row_are_read(paging: Paging, empty: range) -> None:
    rows = [key for key in range(600) if key // 10 not in empty]
    model = BySlice(rows, random.Random(1), counts=False)
    slices = tuple((str(n), str(n + 10)) for n in range(0, 600, 10))
    reader = reader_of(model, paging, slices=slices)
    keys, _ = read_all(reader)
    assert keys == rows
    assert reader.progress.contiguous


def test_slices_whose_total_is_that_of_all_rows_are_all_read_and_not_proved() -> None:
    model = BySlice([*range(400)], random.Random(1), counts=False)
    model.total_of_all = True
    slices = tuple((str(n), str(n + 10)) for n in range(0, 400, 10))
    reader = reader_of(model, NumberedPaging(limit=4, total="t"), slices=slices)
    keys, _ = read_all(reader)
    assert {*keys} == {*range(400)}
    assert not reader.progress.contiguous


def test_tokens_that_go_round_in_a_circle_are_said() -> None:
    model = Tokens(list(range(1, 31)), random.Random(1), counts=False)
    model.circle = True
    with pytest.raises(ContractBroken, match="go round in a circle"):
        read_all(reader_of(model, TokenPaging(limit=4, next="next")))
    model = Tokens(list(range(1, 4)), random.Random(1), counts=False)
    model.circle = True
    with pytest.raises(ContractBroken, match="A page came again as the page after it") as error:
        read_all(reader_of(model, TokenPaging(limit=4, next="next")))
    assert "`until_short: true`" in str(error.value)


def test_a_page_that_comes_again_once_is_asked_for_again() -> None:
    model = Numbered(list(range(1, 31)), random.Random(1), counts=False)
    model.fault_at = frozenset([3])
    model.fault = lambda request, found: [row - 5 for row in found]
    keys, _ = read_all(reader_of(model, NumberedPaging(limit=5)))
    assert keys == list(range(1, 31))


def test_a_last_page_that_comes_for_ever_is_the_end_of_numbered_pages() -> None:
    model = Numbered(list(range(1, 28)), random.Random(1), counts=False)
    model.clamps = True
    keys, _ = read_all(reader_of(model, NumberedPaging(limit=5)))
    assert keys == list(range(1, 28))


def test_rows_without_an_end_of_their_own_stop_at_an_empty_page() -> None:
    model = Numbered(list(range(1, 31)), random.Random(1), counts=False, cap=4)
    keys, _ = read_all(reader_of(model, NumberedPaging(limit=10)))
    assert keys == list(range(1, 31))


class CutOnce(Moving):
    """Two days read side by side: the short page of one comes while the other's second page is cut
    off behind the row that it shares."""

    cut = False

    async def page(self, request: PageRequest) -> ParsedPage:
        assert request.window is not None
        is_first, offset = request.window[0] == "0", request.offset or 0
        ids = [*range(3)] if is_first else [*range(100, 130)]
        found = ids[offset : offset + request.limit]
        await asyncio.sleep(0.05 if is_first else 0.06 if offset else 0.02)
        if offset and not is_first and not self.cut:
            self.cut, found = True, found[:1]
        keys = [(key, key) for key in found]
        info = PageInfo(len(found), first_keys=next(iter(keys), None), boundary_keys=(*keys[-1:],))
        return ParsedPage(request, info, pa.table({"id": found, "b": found}))


def test_a_short_page_of_one_slice_says_nothing_of_the_pages_of_another() -> None:
    model = CutOnce([], random.Random(1), counts=False)
    paging = OffsetPaging(limit=10)
    reader = SequentialReader(
        OverlappingPages(model, 0),
        paging,
        key=("id", "b"),
        ahead=lambda: 4,
        cuts=WindowCuts((("0", "1"), ("1", "2"))),
    )
    keys, _ = read_all(reader)
    assert keys == [*range(3), *range(100, 130)]
