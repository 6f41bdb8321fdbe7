"""Cursors in whole days: windows, bounds, and the rows that coarse bounds bring besides."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from pipeline.config import load_source
from pipeline.config.request import WindowFormat
from pipeline.dialects.placeholders import bound, may_come
from pipeline.errors import ConfigError
from pipeline.extract.pages import ParsedPage
from pipeline.extract.position import ResumePosition
from pipeline.extract.sequential import SequentialReader
from pipeline.extract.window_cuts import WindowCuts
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from pipeline.partitions import SCHEMES, Calendar
from pipeline.partitions.window import incremental

SLICES: tuple[tuple[str | None, str], ...] = (("a", "b"), ("b", "c"), ("c", "d"))


class Rows:
    """So many rows a slice, in chains of pages; every page has one row more that lies outside."""

    def __init__(self, *counts: int, outside: int = 0) -> None:
        self._counts, self._outside = counts, outside

    async def page(self, request: PageRequest) -> ParsedPage:
        index = [*SLICES].index(request.window) if request.window else 0
        at, rows = int(str(request.token or 0)), self._counts[index]
        ids = list(range(at, min(at + request.limit, rows)))
        pages = max(1, -(-rows // request.limit))
        facts = PageInfo(
            rows=len(ids) + self._outside,
            token=str(at + request.limit) if at + request.limit < rows else None,
            total=rows + pages * self._outside,
        )
        table = pa.table({"slice": pa.array([index] * len(ids)), "id": pa.array(ids, pa.int64())})
        return ParsedPage(request, facts, table, outside=self._outside)

    async def count(self, request: PageRequest) -> int | None:
        return None


def _chain(pages: Rows, slices: tuple[tuple[str | None, str], ...] = ()) -> SequentialReader:
    return SequentialReader(
        pages,
        TokenPaging(limit=10, next="next"),
        key=("slice", "id"),
        ahead=lambda: 2,
        cuts=WindowCuts(slices),
    )


def _read(
    chain: SequentialReader, position: ResumePosition | None = None, pages: int = 1000
) -> tuple[int, ResumePosition | None]:
    async def read() -> tuple[int, ResumePosition | None]:
        rows, last, seen = 0, position, 0
        async for handed in chain.run(position):
            rows, last, seen = rows + handed.table.num_rows, handed.position, seen + 1
            if seen == pages:
                break
        return rows, last

    return asyncio.run(read())


def test_rows_outside_the_window_count_as_seen() -> None:
    chain = _chain(Rows(25, outside=2))
    assert _read(chain)[0] == 25
    assert (chain.progress.contiguous, chain.progress.passes) == (True, 1)


@pytest.mark.parametrize("stopped_after", range(1, 8))
def test_a_resumed_try_counts_what_came_before(stopped_after: int) -> None:
    pages = Rows(25, 0, 31, outside=1)
    early, position = _read(_chain(pages, SLICES), pages=stopped_after)
    chain = _chain(pages, SLICES)
    late, _ = _read(chain, position)
    assert early + late == 56
    assert chain.progress.contiguous


def test_an_empty_page_needs_no_key_columns() -> None:
    class Empty(Rows):
        async def page(self, request: PageRequest) -> ParsedPage:
            return ParsedPage(request, PageInfo(0), pa.table({}))

    assert _read(_chain(Empty(0)))[0] == 0


DAYS = WindowFormat(format="%Y-%m-%d", resolution_s=86_400)


def test_a_window_of_days_is_asked_for_in_whole_days() -> None:
    calendar = Calendar(SCHEMES["days"](kind="days"), date(2013, 1, 1), ZoneInfo("UTC"))
    noon = datetime(2013, 1, 5, 12, tzinfo=UTC)
    window = incremental(
        calendar,
        "2013-01-06",
        now=datetime(2020, 1, 1, tzinfo=UTC),
        safety_margin_s=3600,
        watermark_before=noon,
        step_s=86_400,
    )
    assert window.start == datetime(2013, 1, 5, tzinfo=UTC)
    assert window.boundary == datetime(2013, 1, 6, tzinfo=UTC)
    assert bound(DAYS, window.start, is_end=False) == "2013-01-05"
    assert bound(DAYS, window.end, is_end=True) == "2013-01-07"


def test_an_inclusive_end_is_asked_for_itself_but_in_whole_days() -> None:
    """A cursor may be finer than the step, but not than a day that an API takes as a whole."""
    end = datetime(2013, 1, 7, tzinfo=UTC)
    seconds = WindowFormat(end="inclusive")
    assert bound(seconds, end, is_end=True) == "2013-01-07T00:00:00Z"
    days = DAYS.model_copy(update={"end": "inclusive"})
    assert bound(days, end, is_end=True) == "2013-01-06"
    minutes = WindowFormat(format="%Y-%m-%dT%H:%M", resolution_s=60, end="inclusive")
    latest = may_come(minutes, None, end)[1]
    assert latest == datetime(2013, 1, 7, 0, 1, tzinfo=UTC), "the minute may be taken as a whole"


def test_a_row_of_another_day_is_beyond_a_window_of_days() -> None:
    start, end = datetime(2013, 1, 5, tzinfo=UTC), datetime(2013, 1, 6, 12, tzinfo=UTC)
    earliest, latest = may_come(DAYS, start, end)
    assert earliest is not None
    assert latest is not None
    assert datetime(2013, 1, 4, tzinfo=UTC) < earliest <= start
    assert datetime(2013, 1, 7, tzinfo=UTC) <= latest < datetime(2013, 1, 8, tzinfo=UTC)


SOURCE = """
source: shop
base_url: http://127.0.0.1:1
start: 2013-01-01
timezone: UTC
endpoints:
  orders:
    request: {params: {since: "{start}", until: "{end}"}}
    window: {format: "%Y-%m-%d", resolution_s: 86400}
    key: [id]
    cursor: day
    columns: {id: int64, day: date}
"""


def _load(folder: Path, old: str = "", new: str = "") -> None:
    path = folder / "shop.yaml"
    path.write_text(SOURCE.replace(old, new) if old else SOURCE)
    load_source(path, {})


def test_a_plain_request_needs_no_dialect(tmp_path: Path) -> None:
    _load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", resolution_s: 86400", "", "writes steps of 86400 s: set `resolution_s: 86400`"),
        ('"%Y-%m-%d", resolution_s: 86400', "iso", "`day` is a day without a time: say so with"),
        ("day: date", "day: string", "`day` is declared as `string`: expected `date` or a"),
        ("timezone: UTC", "timezone: America/New_York", "whole days, which have no time zone"),
        (
            '"%Y-%m-%d"',
            "epoch",
            "`format: epoch` is not known: expected `epoch_s`, `epoch_ms`, `iso` or a",
        ),
        ("{params:", "{dialect: soap, params:", "'soap'"),
    ],
)
def test_a_window_that_would_lose_rows_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, old, new)
