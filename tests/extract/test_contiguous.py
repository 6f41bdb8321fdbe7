"""Every row that was there throughout arrives exactly once, in order, whatever moves meanwhile."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ContractBroken
from pipeline.extract.completeness import Coverage
from pipeline.extract.contiguous import ContiguousReader
from pipeline.pagination import Paging
from pipeline.pagination.keyset import KeysetPaging
from pipeline.pagination.numbered import OffsetPaging
from pipeline.pagination.page import PageInfo, PageRequest
from tests.support.moving import Fault, Moving
from tests.support.positions import as_stored
from tests.support.thorough import THOROUGH

SEEDS = st.integers(0, 2**32 - 1)
Keys = list[Any]


def paging_of(kind: str, limit: int, ranges: int, first: int = 0) -> Paging:
    if kind == "offset":
        return OffsetPaging(limit=limit, first=first)
    return KeysetPaging(limit=limit, ranges=ranges)


def extraction(model: Moving, paging: Paging, ahead: int, can_seek: bool) -> ContiguousReader:
    return ContiguousReader(
        model, paging, key="id", ahead=lambda: ahead, can_seek=can_seek, descending=model.descending
    )


def read_all(
    reader: ContiguousReader, position: Any = None, stop_after: int | None = None
) -> tuple[Keys, Any]:
    """The keys that were handed on, and the position behind them, as a checkpoint keeps it."""

    async def read() -> tuple[Keys, Any]:
        keys: Keys = []
        at = position
        pages = reader.run(position)
        number = 0
        async for handed in pages:
            keys += handed.table["id"].to_pylist()
            at = as_stored(handed.position)
            number += 1
            if number == stop_after:
                await pages.aclose()
                break
        return keys, at

    return asyncio.run(asyncio.wait_for(read(), 20))


def check(model: Moving, keys: Keys) -> None:
    assert keys == sorted(set(keys), reverse=model.descending), "in order, and no row twice"
    missing = {model.shown(key) for key in model.throughout} - set(keys)
    assert not missing, f"there throughout, and never arrived: {sorted(missing)}"


def most_requests(model: Moving, rows: int, step: int, changes: int) -> int:
    return 30 + 4 * (rows // max(1, step) + 1) + 12 * changes


@st.composite
def models(draw: st.DrawFn) -> tuple[Moving, Paging, int, bool, int]:
    rng = random.Random(draw(SEEDS))
    rows = rng.sample(range(1, 400), draw(st.integers(0, 60)))
    limit = draw(st.integers(2, 9))
    kind = draw(st.sampled_from(["offset", "keyset"]))
    can_seek = kind == "keyset" or draw(st.booleans())
    first = draw(st.sampled_from([0, 1])) if kind == "offset" else 0
    text_keys = draw(st.booleans())
    descending = draw(st.booleans())
    changes = draw(st.integers(0, 25))
    model = Moving(
        rows,
        rng,
        changes=changes,
        counts=draw(st.booleans()),
        descending=descending,
        text_keys=text_keys,
        first_offset=first,
        most_delay=draw(st.integers(0, 6)),
        # A count that says one while the page has none, four times in a row, is an error.
        always_there=rows[0] if rows and changes >= len(rows) else None,
    )
    paging = paging_of(kind, limit, draw(st.integers(1, 5)), first)
    return model, paging, draw(st.integers(1, 12)), can_seek, changes


@pytest.mark.slow
@settings(max_examples=400 * THOROUGH)
@given(models())
def test_rows_that_were_there_throughout_arrive_once_in_order(
    case: tuple[Moving, Paging, int, bool, int],
) -> None:
    model, paging, ahead, can_seek, changes = case
    rows = len(model.rows)
    reader = extraction(model, paging, ahead, can_seek)
    keys, _ = read_all(reader)
    check(model, keys)
    assert reader.progress.contiguous
    assert reader.progress.rows == len(keys)
    assert model.requests <= most_requests(model, rows, paging.first_request().limit - 1, changes)
    assert model.most_open <= max(2, ahead)


@pytest.mark.parametrize("seed", [5, 23, 71, 83])
def test_an_offset_behind_deleted_rows_is_gone_on_with_by_the_key(seed: int) -> None:
    rng = random.Random(seed)
    model = Moving(rng.sample(range(1, 400), 19), rng, changes=7, most_delay=1)
    reader = extraction(model, OffsetPaging(limit=5), ahead=1, can_seek=True)
    keys, _ = read_all(reader)
    check(model, keys)


@settings(max_examples=40 * THOROUGH)
@given(models(), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_later_try_goes_on_where_one_stopped_while_rows_move(
    case: tuple[Moving, Paging, int, bool, int], stops: list[int]
) -> None:
    model, paging, ahead, can_seek, _ = case
    keys: Keys = []
    position = None
    for stop in stops:
        more, position = read_all(extraction(model, paging, ahead, can_seek), position, stop)
        keys += more
        for _ in range(3):
            model.change()
    more, _ = read_all(extraction(model, paging, ahead, can_seek), position)
    check(model, keys + more)


def duplicated(model: Callable[[], Moving]) -> Fault:
    def fault(request: PageRequest, found: list[int]) -> list[int]:
        rows = model().rows
        at = rows.index(found[0]) if found else len(rows)
        return rows[max(0, at - request.limit) :][: request.limit]

    return fault


def empty(request: PageRequest, found: list[int]) -> list[int]:
    return []


def cut_to(rows: int) -> Fault:
    return lambda request, found: found[:rows]


def at_most(times: int, fault: Fault) -> Fault:
    """So often of one page: side by side, others are asked for in between."""
    odd: Counter[tuple[object, ...]] = Counter()

    def limited(request: PageRequest, found: list[int]) -> list[int]:
        page = (request.offset, request.after, request.before)
        odd[page] += 1
        return fault(request, found) if odd[page] <= times else found

    return limited


@pytest.mark.slow
@settings(max_examples=150 * THOROUGH)
@example(  # what lay behind the first key is gone, and another row came before it
    kind="keyset", fault=0, counts=False, count=4, limit=2, ranges=1, ahead=1, at={2}, changes=5,
    seed=1651,
)  # fmt: skip
@given(
    kind=st.sampled_from(["offset", "offset, no seek", "keyset"]),
    fault=st.sampled_from([0, 1, 2, -1, "duplicate"]),
    counts=st.booleans(),
    count=st.integers(1, 60),
    limit=st.integers(2, 9),
    ranges=st.integers(1, 4),
    ahead=st.integers(1, 8),
    at=st.sets(st.integers(1, 30), min_size=1, max_size=3),
    changes=st.integers(0, 6),
    seed=SEEDS,
)
def test_odd_pages_now_and_then_cost_no_row(
    kind: str,
    fault: int | str,
    counts: bool,
    count: int,
    limit: int,
    ranges: int,
    ahead: int,
    at: set[int],
    changes: int,
    seed: int,
) -> None:
    """Empty, cut, or the page before again; twice of one page only where rows are counted."""
    assume(counts or all(number + 1 not in at for number in at))
    # Not promised: two odd pages, of rows that move, where neither a count nor a key shows more.
    assume(counts or kind != "offset, no seek" or len(at) == 1 or not changes)
    rng = random.Random(seed)
    rows = rng.sample(range(1, 400), count)
    model = Moving(rows, rng, changes=changes, counts=counts, always_there=rng.choice(rows))
    fault_of = cut_to(fault) if isinstance(fault, int) else duplicated(lambda: model)
    model.fault = at_most(1 + counts, fault_of)
    model.fault_at = frozenset(at)
    paging = paging_of(kind.split(",")[0], limit, ranges)
    keys, _ = read_all(extraction(model, paging, ahead, kind != "offset, no seek"))
    # Not promised: an odd page at the end, and a row that came meanwhile, so that the count agrees.
    assume(not (changes and len(keys) == model.counted and model.throughout - set(keys)))
    check(model, keys)


def test_a_page_from_before_a_gap_witnesses_no_end() -> None:
    """It was cut, and so is the one behind the gap: two witnesses, had the first been one."""
    rng = random.Random(934238)
    rows = rng.sample(range(1, 400), 32)
    model = Moving(rows, rng, changes=1, counts=False, always_there=rng.choice(rows))
    model.fault, model.fault_at = cut_to(1), frozenset({2, 4})
    keys, _ = read_all(extraction(model, paging_of("offset", 3, 1), 1, False))
    check(model, keys)


class Hiding(Moving):
    """Takes a page's rows, and then leaves out what this user may not see; counts what he may."""

    every = 7

    def keys_of_page(self, request: PageRequest) -> list[int]:
        return [row for row in super().keys_of_page(request) if row % self.every]

    async def count(self, request: PageRequest) -> int:
        return sum(row % self.every > 0 for row in self._matching(request))


@settings(max_examples=40 * THOROUGH)
@given(
    count=st.integers(20, 60),
    every=st.integers(3, 9),
    limit=st.integers(3, 9),
    ranges=st.integers(1, 4),
    ahead=st.integers(1, 8),
    seed=SEEDS,
)
def test_rows_that_are_left_out_of_full_pages_cost_no_others(
    count: int, every: int, limit: int, ranges: int, ahead: int, seed: int
) -> None:
    rng = random.Random(seed)
    model = Hiding(rng.sample(range(1, 400), count), rng)
    model.every = every
    model.throughout = {row for row in model.rows if row % every}
    runs = ([*run] for hidden, run in groupby(model.rows, lambda row: row % every == 0) if hidden)
    assume(max((len(run) for run in runs), default=0) < len(model.keys_of_page(PageRequest(limit))))
    keys, _ = read_all(extraction(model, paging_of("keyset", limit, ranges), ahead, True))
    check(model, keys)


class Typed(Moving):
    """Compares a number with a text, so that nothing is greater."""

    def keys_of_page(self, request: PageRequest) -> list[int]:
        return [] if request.after is not None else super().keys_of_page(request)


@pytest.mark.parametrize("descending", [False, True])
def test_a_filter_on_the_key_that_gives_nothing_is_no_end(descending: bool) -> None:
    """Feathers in memory, and CouchDB: behind a full page it looks as if there were no more."""
    model = Typed([*range(1, 31)], random.Random(1), counts=False, descending=descending)
    with pytest.raises(ContractBroken, match="a number or a text"):
        read_all(extraction(model, paging_of("keyset", 10, 1), 4, True))
    honest = Moving([*range(1, 11)], random.Random(1), counts=False, descending=descending)
    keys, _ = read_all(extraction(honest, paging_of("keyset", 10, 1), 4, True))
    check(honest, keys)
    assert len(keys) == 10


def test_empty_pages_of_a_range_in_which_rows_are_counted_are_not_its_end() -> None:
    for times in range(1, 8):
        model = rows_of(400)
        asked = model.keys_of_page
        left = [times]

        def some(request: PageRequest, asked: Any = asked, left: list[int] = left) -> list[int]:
            if request.after == 117 and left[0]:
                left[0] -= 1
                return []
            return list(asked(request))

        model.keys_of_page = some  # type: ignore[method-assign]
        keys, _ = read_all(extraction(model, KeysetPaging(limit=10, ranges=4), 4, can_seek=True))
        assert keys == list(range(1, 401))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("deleted", [0, 2])
def test_a_page_that_is_short_where_a_gap_is_closed(counts: bool, deleted: int) -> None:
    model = rows_of(60, counts=counts, most_delay=0)
    asked, short = model.keys_of_page, {24} if deleted else {28, 30}

    def answer(request: PageRequest) -> list[int]:
        if request.offset == 28 and deleted:
            model.rows = model.rows[-58:]
        found = asked(request)
        if request.offset in short:
            short.remove(request.offset)
            return found[:1]
        return found

    model.keys_of_page = answer  # type: ignore[method-assign]
    keys, _ = read_all(extraction(model, OffsetPaging(limit=8), 1, can_seek=False))
    assert keys[-58:] == list(range(3, 61))


def test_a_gap_that_does_not_close_is_said() -> None:
    model = rows_of(60, most_delay=0)
    asked = model.keys_of_page
    model.keys_of_page = lambda request: [] if request.after == 8 else asked(request)  # type: ignore[method-assign]
    model.fault = lambda request, found: found[2:]
    model.fault_at = frozenset(range(3, 1000))
    said = broken(model, OffsetPaging(limit=8), can_seek=True)
    assert said.startswith("No page joins the rows up to `id` = 8. Check: ")


def test_ranges_stay_within_the_numbers_that_an_api_may_keep_a_key_in() -> None:
    for last, most in ((100_000_006, 2**31), (2**40, 2**63), (1_700_000_000 * 10**9, 2**63)):
        facts = PageInfo(10, 1, last, total=403)
        planned = [*(KeysetPaging(limit=10, ranges=4).planned(PageRequest(10), facts) or ())]
        assert planned
        assert all(int(str(segment.request.before or 0)) < most for segment in planned)
    near_the_end = PageInfo(10, 1, 2**63 - 2, total=403)
    assert KeysetPaging(limit=10, ranges=4).planned(PageRequest(10), near_the_end) is None


WRONG_COUNTS: dict[str, Callable[[int], int]] = {
    "none": lambda count: 0,
    "too few": lambda count: count // 2,
    "one less": lambda count: max(0, count - 1),
    "one more": lambda count: count + 1,
    "all rows of the table": lambda count: 10 * count + 1000,
}


@settings(max_examples=40 * THOROUGH)
@given(
    kind=st.sampled_from(["offset", "offset, no seek", "keyset"]),
    wrong=st.sampled_from(sorted(WRONG_COUNTS)),
    count=st.integers(1, 60),
    limit=st.integers(2, 9),
    ranges=st.integers(1, 4),
    ahead=st.integers(1, 8),
    changes=st.integers(0, 10),
    seed=SEEDS,
)
def test_a_wrong_count_costs_no_row_and_few_requests(
    kind: str,
    wrong: str,
    count: int,
    limit: int,
    ranges: int,
    ahead: int,
    changes: int,
    seed: int,
) -> None:
    rng = random.Random(seed)
    rows = rng.sample(range(1, 400), count)
    # Without a row, a count that knows no filter is a contradiction; see the test of that.
    model = Moving(
        rows, rng, changes=changes, wrong_count=WRONG_COUNTS[wrong], always_there=rng.choice(rows)
    )
    paging = paging_of(kind.split(",")[0], limit, ranges)
    keys, _ = read_all(extraction(model, paging, ahead, kind != "offset, no seek"))
    check(model, keys)
    assert model.requests <= 30 + 8 * (count // (limit - 1) + 1) + 12 * changes + 2 * ahead


@settings(max_examples=40 * THOROUGH)
@given(
    kind=st.sampled_from(["offset", "offset, no seek", "keyset"]),
    cap=st.integers(2, 6),
    counts=st.booleans(),
    count=st.integers(1, 60),
    limit=st.integers(5, 12),
    ranges=st.integers(1, 4),
    ahead=st.integers(1, 8),
    seed=SEEDS,
)
def test_a_silently_capped_page_size_costs_no_row(
    kind: str,
    cap: int,
    counts: bool,
    count: int,
    limit: int,
    ranges: int,
    ahead: int,
    seed: int,
) -> None:
    rng = random.Random(seed)
    model = Moving(rng.sample(range(1, 400), count), rng, counts=counts, cap=cap)
    paging = paging_of(kind.split(",")[0], limit, ranges)
    keys, _ = read_all(extraction(model, paging, ahead, kind != "offset, no seek"))
    check(model, keys)


def test_pages_of_a_capped_size_are_read_side_by_side() -> None:
    for paging in (OffsetPaging(limit=50), KeysetPaging(limit=50, ranges=8)):
        model = rows_of(600, cap=20)
        keys, _ = read_all(extraction(model, paging, 8, can_seek=True))
        assert keys == list(range(1, 601))
        assert model.most_open == 8
        assert model.requests <= 4 + 600 // 19 + 9


def broken(model: Moving, paging: Paging, can_seek: bool) -> str:
    with pytest.raises(ContractBroken) as caught:
        read_all(extraction(model, paging, 4, can_seek))
    assert model.requests < 400, "it gives up soon"
    return str(caught.value)


def rows_of(count: int, **options: Any) -> Moving:
    return Moving(list(range(1, count + 1)), random.Random(1), **options)


@pytest.mark.parametrize("can_seek", [True, False])
@pytest.mark.parametrize("counts", [True, False])
def test_an_offset_that_is_ignored_is_said(counts: bool, can_seek: bool) -> None:
    model = rows_of(100, counts=counts, ignored=frozenset(["offset"]))
    said = broken(model, OffsetPaging(limit=10), can_seek=can_seek)
    assert said == (
        "The page with keys 1 to 10 came again and again in place of the pages after it. Check: "
        "that the API knows the paging parameter"
    )


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(
    "paging", [OffsetPaging(limit=10), KeysetPaging(limit=10), KeysetPaging(limit=10, ranges=4)]
)
def test_a_filter_on_the_key_that_is_ignored_is_said(counts: bool, paging: Paging) -> None:
    model = rows_of(100, counts=counts, ignored=frozenset(["offset", "after"]))
    said = broken(model, paging, can_seek=True)
    assert "Check: that the API knows the paging parameter" in said or (
        said.startswith("The page has rows with `id` from 1 to 10, expected after 10 and before ")
        and "The API seems to ignore the filter on the key. Check: the parameters" in said
    )


@pytest.mark.parametrize("paging", [OffsetPaging(limit=10), KeysetPaging(limit=10)])
def test_pages_that_stay_empty_while_rows_are_counted_are_said(paging: Paging) -> None:
    model = rows_of(7, fault=empty, fault_at=frozenset(range(1000)))
    said = broken(model, paging, can_seek=True)
    assert said == (
        "The API counts 7 rows, but its first page is empty. Check: that the count has the same "
        "filter as the page"
    )


def test_one_row_a_page_can_not_overlap() -> None:
    said = broken(rows_of(20, cap=1), OffsetPaging(limit=10), can_seek=False)
    assert "paging.overlap: false" in said
    keys, _ = read_all(extraction(rows_of(20, cap=1), OffsetPaging(limit=10), 4, can_seek=True))
    assert keys == list(range(1, 21))


def test_an_offset_that_counts_pages_is_said() -> None:
    model = rows_of(60, counts=False)
    asked = model.keys_of_page

    def by_pages(request: PageRequest) -> list[int]:
        number = (request.offset or 0) // request.limit
        return asked(PageRequest(request.limit, offset=number * request.limit))

    model.keys_of_page = by_pages  # type: ignore[method-assign]
    said = broken(model, OffsetPaging(limit=5), can_seek=False)
    assert "that the API counts the offset in rows" in said or "paging parameter" in said


def test_keys_of_two_types_are_said() -> None:
    with pytest.raises(ContractBroken, match="expected one type for all keys of an endpoint"):
        Coverage(covered=7).joins(PageRequest(5, offset=4), PageInfo(1, "a", "a"))


@pytest.mark.parametrize("can_seek", [True, False])
def test_a_count_of_billions_is_not_planned_for_before_its_pages_come(can_seek: bool) -> None:
    model = rows_of(300)
    model.wrong_count = lambda _: 10**15
    keys, _ = read_all(extraction(model, OffsetPaging(limit=50), 4, can_seek=can_seek))
    assert keys == list(range(1, 301))


def test_reading_in_full_needs_hardly_more_requests_than_pages() -> None:
    model = rows_of(1000)
    keys, _ = read_all(extraction(model, OffsetPaging(limit=50), 8, can_seek=True))
    assert len(keys) == 1000
    assert model.requests == 1 + 21, "the count, and pages of 49 new rows"
    model = rows_of(1000)
    read_all(extraction(model, KeysetPaging(limit=50), 8, can_seek=True))
    assert model.requests <= 1 + 20 + 2
    model = rows_of(30)
    read_all(extraction(model, OffsetPaging(limit=50), 8, can_seek=True))
    assert model.requests == 2
    model = rows_of(0)
    read_all(extraction(model, OffsetPaging(limit=50), 8, can_seek=True))
    assert model.requests == 2


def test_an_odd_page_does_not_turn_off_reading_side_by_side() -> None:
    model = rows_of(1000, fault=empty, fault_at=frozenset([6]))
    keys, _ = read_all(extraction(model, OffsetPaging(limit=50), 8, can_seek=True))
    assert keys == list(range(1, 1001))
    assert model.requests <= 1 + 21 + 3
    assert model.most_open == 8
