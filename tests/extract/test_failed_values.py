"""A value that can't be read: listed, or the end of the partition, in either order of the rows."""

import asyncio
from collections.abc import Mapping

import pyarrow as pa
import pytest

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.fan_out import FanOut, FanOutReader
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.partition_values import PartitionValue
from pipeline.extract.position import FanOutPosition, PageBatch, ResumePosition
from pipeline.extract.prefetch import Ahead
from pipeline.extract.sequential import SequentialReader
from pipeline.extract.value_failures import FAIL_PARTITION, FailurePolicy, ListFailures
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from tests.support.positions import as_stored

VALUES = range(5)


class Pages:
    """Each value has two pages of a row each; those that ``refuse`` names end with a 404."""

    def __init__(self, refuse: Mapping[int, str | None]) -> None:
        self._refuse = refuse
        self.requested: list[int] = []

    async def page(self, request: PageRequest) -> ParsedPage:
        assert isinstance(request.parent, int)
        self.requested.append(request.parent)
        token = request.token
        if request.parent in self._refuse and token == self._refuse[request.parent]:
            raise RequestRefused("404: no such value", 404)
        info = PageInfo(1, token=None if token else "second")
        table = pa.table({"value": [request.parent], "id": [1 + bool(token)]})
        return ParsedPage(request, info, table)

    async def count(self, request: PageRequest) -> int | None:
        return None


class LongPages(Pages):
    """Each value has twenty pages."""

    async def page(self, request: PageRequest) -> ParsedPage:
        await asyncio.sleep(0)
        number = int(str(request.token or 0))
        info = PageInfo(1, token=str(number + 1) if number < 19 else None)
        return ParsedPage(request, info, pa.table({"value": [request.parent], "id": [number]}))


def reader_of(
    pages: Pages, failures: FailurePolicy, *, ordered: bool, whole: bool | None = None
) -> FanOutReader:
    def reader(of_value: PageSource, value: PartitionValue, share: Ahead) -> SequentialReader:
        return SequentialReader(
            of_value, TokenPaging(limit=1, next="next"), key=("value", "id"), ahead=share
        )

    return FanOutReader(
        pages,
        FanOut(
            [*map(PartitionValue.of, VALUES)],
            failures,
            concurrency=3,
            ordered=ordered,
            as_a_whole=whole,
        ),
        reader,
        ahead=6,
    )


def read(reader: FanOutReader, position: ResumePosition | None = None) -> list[PageBatch]:
    async def batches() -> list[PageBatch]:
        return [batch async for batch in reader.run(position)]

    return asyncio.run(batches())


def rows_of(batches: list[PageBatch]) -> list[tuple[int, int]]:
    tables = [batch.table for batch in batches if batch.table.num_rows]
    rows = [table.to_pydict() for table in tables]
    return [pair for row in rows for pair in zip(row["value"], row["id"], strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
def test_a_failed_value_is_listed_and_gives_no_rows(ordered: bool) -> None:
    """Not even those of its first page, which came."""
    reader = reader_of(Pages({1: None, 3: "second"}), ListFailures(0.4, None, "a"), ordered=ordered)
    batches = read(reader)
    wanted = [(value, n) for value in (0, 2, 4) for n in (1, 2)]
    assert (rows_of(batches) if ordered else sorted(rows_of(batches))) == wanted
    assert {(failed.value, failed.kind) for failed in reader.failed} == {
        ("1", "RequestRefused"),
        ("3", "RequestRefused"),
    }
    assert not reader.progress.contiguous
    assert reader.summary()["failed"] == 2
    last = as_stored(batches[-1].position)
    assert isinstance(last, FanOutPosition)
    assert (last.next, last.open, set(last.failed)) == (5, (), set(reader.failed))


@pytest.mark.parametrize("ordered", [True, False])
def test_the_time_in_which_rows_are_written_is_not_that_of_a_value(ordered: bool) -> None:
    """The lake is slow for an hour at each batch."""
    failures = ListFailures(0.4, 60.0, "a")
    reader = reader_of(LongPages({}), failures, ordered=ordered, whole=False)

    async def rows() -> int:
        loop, waited_s, count = asyncio.get_running_loop(), 0.0, 0
        clock = loop.time
        loop.time = lambda: clock() + waited_s  # type: ignore[method-assign]
        async for batch in reader.run(None):
            count += batch.table.num_rows
            for _ in range(100):
                await asyncio.sleep(0)  # all that is being read has come
            waited_s += 3600.0
        return count

    assert asyncio.run(rows()) == 20 * len(VALUES)
    assert not reader.failed


@pytest.mark.parametrize("ordered", [True, False])
def test_more_failures_than_may_fail_the_partition(ordered: bool) -> None:
    reader = reader_of(Pages({1: None, 3: None}), ListFailures(0.3, None, "a"), ordered=ordered)
    with pytest.raises(ContractBroken, match=r"2 of 5 parents failed, and at most 30\.0% may"):
        read(reader)


@pytest.mark.parametrize("ordered", [True, False])
def test_without_a_list_the_first_failure_fails_the_partition(ordered: bool) -> None:
    with pytest.raises(RequestRefused, match="no such value"):
        read(reader_of(Pages({1: None}), FAIL_PARTITION, ordered=ordered))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("failures", [FAIL_PARTITION, ListFailures(0.5, None, "a")])
def test_a_position_behind_any_batch_resumes_to_all_rows(
    failures: FailurePolicy, ordered: bool
) -> None:
    failing = {} if failures is FAIL_PARTITION else {2: None}
    batches = read(reader_of(Pages(failing), failures, ordered=ordered))
    wanted = [(value, n) for value in VALUES for n in (1, 2) if value not in failing]
    for at in range(len(batches)):
        before, position = batches[: at + 1], as_stored(batches[at].position)
        rest = reader_of(Pages(failing), failures, ordered=ordered)
        assert sorted(rows_of(before) + rows_of(read(rest, position))) == wanted
        assert {failed.value for failed in rest.failed} == {str(value) for value in failing}
