"""Values that fail by themselves, and whose rows before stand in for them: handed on in parts, and
resumed inside."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import ApiUnavailable, PageTokenDead, RequestRefused
from pipeline.extract import fan_out
from pipeline.extract.fan_out import FanOut, FanOutReader
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.partition_values import PartitionValue
from pipeline.extract.position import FanOutPosition, PageBatch, ResumePosition
from pipeline.extract.prefetch import Ahead
from pipeline.extract.seen_rows import row_digests
from pipeline.extract.sequential import SequentialReader
from pipeline.extract.value_failures import LaneFailures
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from tests.support.positions import as_stored

KEY = ("value", "id")
PAGES = 6
LANES = range(3)
Where = tuple[int, int]


class Pages:
    """Each lane has six pages of a row; ``errors`` says which pages raise, and what, in turn."""

    def __init__(self, errors: Mapping[Where, Sequence[Exception]] | None = None) -> None:
        self._errors = {where: list(several) for where, several in (errors or {}).items()}
        self.requested: list[Where] = []

    async def page(self, request: PageRequest) -> ParsedPage:
        assert isinstance(request.parent, int)
        where = request.parent, int(str(request.token or 0))
        self.requested.append(where)
        if self._errors.get(where):
            raise self._errors[where].pop(0)
        following = where[1] + 1
        info = PageInfo(1, token=str(following) if following < PAGES else None)
        return ParsedPage(request, info, pa.table({"value": [where[0]], "id": [where[1]]}))

    async def count(self, request: PageRequest) -> int | None:
        return None


def before(value: PartitionValue) -> pa.Table:
    """The rows of the day before: two that are still there, and one that is not."""
    assert isinstance(value.value, int)
    return pa.table({"value": [value.value] * 3, "id": [0, 5, 99]})


def lanes_of(pages: Pages, share: float = 0.5) -> FanOutReader:
    def reader(of_value: PageSource, value: PartitionValue, ahead: Ahead) -> SequentialReader:
        paging = TokenPaging(limit=1, next="next", numbered=False)
        return SequentialReader(of_value, paging, key=KEY, ahead=ahead)

    failures = LaneFailures(share, key="each")
    lanes = FanOut([*map(PartitionValue.of, LANES)], failures, keep=before, key=KEY)
    return FanOutReader(pages, lanes, reader, ahead=1)


def read(reader: FanOutReader, position: ResumePosition | None = None) -> list[PageBatch]:
    async def batches() -> list[PageBatch]:
        return [batch async for batch in reader.run(position)]

    return asyncio.run(batches())


def rows_of(batches: Sequence[PageBatch]) -> list[Where]:
    tables = [batch.table for batch in batches if batch.table.num_rows]
    return [pair for t in tables for pair in zip(*t.to_pydict().values(), strict=True)]


def all_rows(*lanes: int) -> list[Where]:
    return [(lane, n) for lane in lanes for n in range(PAGES)]


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane of more than two pages is long."""
    monkeypatch.setattr(fan_out, "HELD_PAGES", 2)


@pytest.mark.usefixtures("in_parts")
def test_behind_each_part_the_rest_of_the_lane_is_read_and_no_page_twice() -> None:
    batches = read(lanes_of(Pages()))
    assert rows_of(batches) == all_rows(*LANES)
    assert len([batch for batch in batches if batch.table.num_rows]) > len(LANES)
    for at in range(len(batches)):
        pages = Pages()
        reader = lanes_of(pages)
        rest = read(reader, as_stored(batches[at].position))
        assert rows_of(batches[: at + 1]) + rows_of(rest) == all_rows(*LANES)
        assert pages.requested == rows_of(rest), "what had landed is not requested again"
        assert reader.summary()["lanes"]["rows"] == len(LANES)


def test_a_short_lane_that_fails_hands_on_none_of_its_new_rows() -> None:
    reader = lanes_of(Pages({(1, 3): [RequestRefused("odd", 400)]}))
    rows = rows_of(read(reader))
    assert sorted(rows) == sorted([*all_rows(0, 2), (1, 0), (1, 5), (1, 99)])
    assert not reader.progress.reread_keys


@pytest.mark.usefixtures("in_parts")
def test_of_a_long_lane_that_fails_new_and_old_rows_come_and_the_commit_can_tell_them() -> None:
    reader = lanes_of(Pages({(1, 3): [RequestRefused("odd", 400)]}))
    rows = rows_of(read(reader))
    of_lane = [row for row in rows if row[0] == 1]
    assert of_lane == [(1, 0), (1, 1), (1, 0), (1, 5), (1, 99)], "two new ones, then the old ones"
    (keys,) = reader.progress.reread_keys
    old = pa.table({"value": [1, 1, 1], "id": [0, 5, 99]})
    assert np.array_equal(keys, row_digests(old, KEY))


@pytest.mark.usefixtures("in_parts")
def test_a_later_attempt_resumes_inside_the_lane_that_failed() -> None:
    ill = {(1, 3): [ApiUnavailable("throttled")]}
    reader = lanes_of(Pages(ill), share=0.0)
    batches: list[PageBatch] = []

    async def first() -> None:
        async for batch in reader.run(None):
            batches.append(batch)

    with pytest.raises(ApiUnavailable, match="1 of 3 lanes failed"):
        asyncio.run(first())
    position = as_stored(batches[-1].position)
    assert isinstance(position, FanOutPosition)
    assert [index for index, _ in position.cut_off] == [1]
    pages = Pages()
    rest = read(lanes_of(pages, share=0.0), position)
    assert pages.requested == [(1, n) for n in range(2, PAGES)]
    assert sorted(rows_of(batches) + rows_of(rest)) == all_rows(*LANES)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("expired", [PageTokenDead("expired", 400), RequestRefused("bad", 400)])
def test_a_position_that_is_refused_begins_its_lane_anew_and_no_other(expired: Exception) -> None:
    batches = read(lanes_of(Pages()))
    (at,) = [n for n, batch in enumerate(batches) if rows_of(batches[: n + 1])[-1] == (1, 3)]
    position = as_stored(batches[at].position)
    pages = Pages({(1, 4): [expired]})
    reader = lanes_of(pages)
    rest = rows_of(read(reader, position))
    assert pages.requested == [(1, 4), *all_rows(1, 2)]
    assert rest == all_rows(1, 2)
    reread = np.concatenate(reader.progress.reread_keys)
    again = pa.table({"value": [1] * PAGES, "id": [*range(PAGES)]})
    assert set(reread) == set(row_digests(again, KEY)), "the commit drops those that came twice"


@pytest.mark.parametrize("parts", [True, False])
def test_a_page_token_that_expires_begins_the_lane_anew_a_few_times(
    parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "HELD_PAGES", 2 if parts else 100)
    dead = [PageTokenDead("expired", 400) for _ in range(2)]
    pages = Pages({(1, 4): dead})
    reader = lanes_of(pages, share=0.0)
    assert set(rows_of(read(reader))) == set(all_rows(*LANES))
    assert pages.requested.count((1, 0)) == 3


def test_a_page_token_that_always_expires_fails_its_lane() -> None:
    dead = [PageTokenDead("the page token has expired", 400) for _ in range(9)]
    reader = lanes_of(Pages({(1, 4): dead}))
    assert {row for row in rows_of(read(reader)) if row[0] != 1} == set(all_rows(0, 2))
    (failed,) = reader.failed
    assert (failed.value, failed.outcome) == ("1", "failed")
    assert "the page token has expired" in failed.reason
