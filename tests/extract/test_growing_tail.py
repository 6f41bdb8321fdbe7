"""A collection that grows at every request: the reading ends, with all rows that were there."""

import asyncio
import random
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.extract.confirmation import ConfirmedEmptyPages, OverlappingPages
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.growing_tail import GrowingTail
from pipeline.extract.pages import ParsedPage
from pipeline.extract.position import EndpointReader, ExtractionProgress, ResumePosition
from pipeline.extract.sequential import SequentialReader
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.pagination import Paging
from pipeline.pagination.keyset import KeysetPaging
from pipeline.pagination.numbered import NumberedPaging, OffsetPaging
from pipeline.pagination.page import PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from tests.support.moving import Moving
from tests.support.positions import as_stored
from tests.support.runs import outcome_of, serving
from tests.support.thorough import THOROUGH
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)

LIMIT = 20
KINDS = ("keyset", "offset", "no overlap", "two columns", "page", "token", "always a token")


class Growing(Moving):
    """At every request rows are added behind all others; a token is the last key."""

    added = 0

    def change(self) -> None:
        newest = self.rows[-1] if self.rows else 0
        for _ in range(self.rng.randint(0, self.added) if self.rng.random() < 0.9 else 0):
            newest += self.rng.randint(1, 3)
            self.rows.append(newest)

    def keys_of_page(self, request: PageRequest) -> list[int]:
        if request.page is not None:
            size = self.cap or request.limit
            return self.rows[(request.page - 1) * size :][:size]
        if request.token is not None:
            request = replace(request, after=int(str(request.token)), token=None)
        return super().keys_of_page(request)

    def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
        page = super().parsed(request, keys)
        edges = [(key,) for key in (keys[0], keys[-1])] if keys else []
        info = replace(
            page.info,
            token=str(keys[-1]) if keys and self.tokens(keys) else None,
            first_keys=edges[0] if edges and self.shares else None,
            boundary_keys=tuple(edges[1:]) if self.shares else (),
        )
        return replace(page, info=info)

    shares = False
    always = False

    def tokens(self, keys: list[int]) -> bool:
        return self.always or keys[-1] != self.rows[-1]


def reader(model: Growing, kind: str, ahead: int = 4) -> EndpointReader:
    """As ``plan.reader_of`` puts it together."""
    key = ("id",)
    if kind in ("keyset", "offset"):
        paging: Paging = (
            KeysetPaging(limit=LIMIT) if kind == "keyset" else OffsetPaging(limit=LIMIT)
        )
        tail = GrowingTail(model, model, paging, key)
        return ContiguousReader(
            tail,
            paging,
            key="id",
            ahead=lambda: ahead,
            can_seek=kind == "keyset",
            descending=False,
            tail=tail,
        )
    paging = {
        "no overlap": OffsetPaging(limit=LIMIT, overlap=False),
        "two columns": OffsetPaging(limit=LIMIT),
        "page": NumberedPaging(limit=LIMIT),
    }.get(kind) or TokenPaging(limit=LIMIT, next="next")
    model.shares, model.always = kind == "two columns", kind == "always a token"
    if kind == "two columns":
        confirmed: Any = model if model.counts else OverlappingPages(model, 0)
    else:
        confirmed = model if model.counts else ConfirmedEmptyPages(model, paging)
    tail = GrowingTail(confirmed, model, paging, key)
    return SequentialReader(tail, paging, key=key, ahead=lambda: ahead, tail=tail)


def read(
    model: Moving, of: EndpointReader, position: ResumePosition | None = None
) -> tuple[list[int], ExtractionProgress]:
    async def run() -> list[int]:
        keys: list[int] = []
        async for batch in of.run(position):
            keys += batch.table["id"].to_pylist()
            assert model.requests < 2_000, "the reader follows the tail"
        return keys

    return asyncio.run(asyncio.wait_for(run(), 30)), of.progress


@pytest.mark.slow
@settings(max_examples=40 * THOROUGH)
@given(
    kind=st.sampled_from(KINDS),
    rows=st.integers(0, 300),
    added=st.integers(1, 18),
    counts=st.booleans(),
    in_page=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_tail_that_grows_at_every_request_ends_with_all_rows_that_were_there(
    kind: str, rows: int, added: int, counts: bool, in_page: bool, seed: int
) -> None:
    rng = random.Random(seed)
    model = Growing(rng.sample(range(1, 4 * rows + 1), rows), rng, counts=counts)
    model.added, model.total_in_page = added, in_page
    there = set(model.rows)
    keys, _ = read(model, reader(model, kind))
    assert there <= set(keys)
    # Confirmations come to no more than the pages: of the rows at the end, with those that came.
    pages = len(keys) // (LIMIT - added) + 1
    assert model.requests <= 2 * pages + 60


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_lay_behind_the_end_are_counted(kind: str) -> None:
    if kind in ("page", "token"):
        pytest.skip("the API itself says that there is no more")
    model = Growing([*range(1, 201)], random.Random(1), counts=False)
    model.added = 15
    model.change = lambda: model.rows.extend(range(model.rows[-1] + 1, model.rows[-1] + 11))  # type: ignore[method-assign]
    _, progress = read(model, reader(model, kind))
    assert 0 < progress.tail_rows <= 10
    named = kind == "always a token"  # the API may have kept these pages short
    assert progress.contiguous is (kind != "no overlap" and not named)
    assert ("each named another one" in str(progress.unproved)) is named


class ShortPages(Growing):
    """An API that caps its pages by their bytes: none is full, and the next has other rows."""

    def keys_of_page(self, request: PageRequest) -> list[int]:
        found = super().keys_of_page(request)
        return found[: 5 + (found[0] * 7 % 13 if found else 0)]


@pytest.mark.parametrize("kind", ["keyset", "offset", "always a token"])
def test_pages_that_are_short_for_another_reason_are_all_read_and_cost_few_requests(
    kind: str,
) -> None:
    model = ShortPages([*range(1, 1001)], random.Random(1), counts=False)
    keys, progress = read(model, reader(model, kind))
    assert keys == [*range(1, 1001)]
    assert progress.tail_rows == 0
    assert model.requests <= progress.pages + 20


@pytest.mark.parametrize("kind", ["keyset", "page"])
def test_rows_that_come_faster_than_a_page_holds_end_with_a_doubt(kind: str) -> None:
    model = Growing([*range(1, 401)], random.Random(1))
    model.change = lambda: model.rows.extend(range(model.rows[-1] + 1, model.rows[-1] + 31))  # type: ignore[method-assign]
    keys, progress = read(model, reader(model, kind, ahead=1))
    assert set(range(1, 401)) <= set(keys)
    assert not progress.contiguous
    assert "faster than they are read" in str(progress.unproved)


def test_a_count_that_is_far_too_low_ends_nothing() -> None:
    model = Growing([*range(1, 2001)], random.Random(1), wrong_count=lambda _: 100)
    keys, _ = read(model, reader(model, "keyset"))
    assert keys == [*range(1, 2001)]


def test_rows_that_are_all_newer_than_the_reading_end_with_a_doubt() -> None:
    class Newer(Growing):
        def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
            page = super().parsed(request, keys)
            is_newer = bool(keys) and keys[0] > 400
            table = page.table.slice(0, 0) if is_newer else page.table
            return replace(page, newer_than_reading=is_newer, table=table)

    model = Newer([*range(1, 401)], random.Random(1), counts=False)
    model.change = lambda: model.rows.extend(range(model.rows[-1] + 1, model.rows[-1] + 31))  # type: ignore[method-assign]
    keys, progress = read(model, reader(model, "always a token", ahead=1))
    assert set(range(1, 401)) <= set(keys)
    assert not progress.contiguous
    assert "newer than the reading" in str(progress.unproved)


@pytest.mark.parametrize("kind", ["keyset", "offset", "two columns", "no overlap", "page"])
def test_rows_that_nothing_counts_and_that_outrun_the_reader_end_behind_those_that_were_there(
    kind: str,
) -> None:
    model = Growing([*range(1, 1001)], random.Random(1), counts=False)
    model.change = lambda: model.rows.extend(range(model.rows[-1] + 1, model.rows[-1] + 31))  # type: ignore[method-assign]
    keys, progress = read(model, reader(model, kind, ahead=1))
    assert set(range(1, 1001)) <= set(keys)
    assert keys == [*range(1, len(keys) + 1)]
    assert model.requests < 250
    assert progress.tail_rows > 0
    assert progress.contiguous is (kind == "keyset"), "a place by number moves with the rows"
    assert progress.unproved is None or "faster than they are read" in progress.unproved


async def cut_off(
    of: EndpointReader, pages: int, position: ResumePosition | None
) -> ResumePosition:
    """Where an attempt stops after so many pages."""
    batches = of.run(position)
    async with aclosing(batches):
        for _ in range(pages):
            position = (await anext(batches)).position
    assert position is not None
    return as_stored(position)


@pytest.mark.parametrize("attempts", [2, 3])
@pytest.mark.parametrize("kind", ["keyset", "offset", "always a token"])
def test_a_reading_that_is_resumed_follows_the_tail_no_longer_than_another(
    kind: str, attempts: int
) -> None:
    """The API counts the rows of the earlier attempts, too."""
    model = Growing([*range(1, 4001)], random.Random(1), counts=kind == "offset")
    model.total_in_page = kind != "offset"

    def change() -> None:
        model.rows += range(model.rows[-1] + 1, model.rows[-1] + 1 + model.rng.randint(1, 6))

    model.change = change  # type: ignore[method-assign]

    position: ResumePosition | None = None
    for pages in (180, 10)[: attempts - 1]:
        position = asyncio.run(cut_off(reader(model, kind, ahead=1), pages, position))
    keys, _ = read(model, reader(model, kind), position)
    assert 4000 in keys
    assert model.requests < 400


class Warming(Growing):
    """Pages by key that are short at first, with the number of the rows behind their key."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: Counter[Any] = Counter()

    def keys_of_page(self, request: PageRequest) -> list[int]:
        self.asked[request.after] += 1
        return super().keys_of_page(request)[: 8 + 4 * min(self.asked[request.after], 2)]

    def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
        page = super().parsed(request, keys)
        return replace(page, info=replace(page.info, total=len(self._matching(request))))


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_pages_that_an_api_keeps_short_are_no_end_where_it_counts_the_rows_behind_a_key(
    attempts: int,
) -> None:
    """What came in earlier attempts is no part of that count."""
    model = Warming([*range(1, 4001)], random.Random(1), counts=False)
    position: ResumePosition | None = None
    for pages in (200, 10)[: attempts - 1]:
        position = asyncio.run(cut_off(reader(model, "keyset", ahead=1), pages, position))
    _, progress = read(model, reader(model, "keyset", ahead=1), position)
    assert model.asked[4000]
    assert progress.tail_rows == 0


@pytest.mark.parametrize("kind", ["keyset", "page"])
def test_the_end_of_rows_that_stay_is_looked_for_once(kind: str) -> None:
    model = Growing([*range(1, 4001)], random.Random(1), counts=False)
    keys, progress = read(model, reader(model, kind, ahead=1))
    assert keys == [*range(1, 4001)]
    assert progress.tail_rows == 0
    assert model.requests <= progress.pages + 14


@pytest.mark.parametrize("at", [40, 46])
def test_a_gap_behind_an_end_that_was_looked_for_by_number_is_read_by_key(at: int) -> None:
    """Keys are far higher than offsets: a page by key must not seem to lie behind the end."""
    model = Growing([*range(100_000, 102_000)], random.Random(1), counts=False)

    def change() -> None:
        if model.requests == at:
            del model.rows[:45]

    model.change = change  # type: ignore[method-assign]
    paging = OffsetPaging(limit=LIMIT)
    of = ContiguousReader(
        GrowingTail(model, model, paging, ("id",)),
        paging,
        key="id",
        ahead=lambda: 1,
        can_seek=True,
        descending=False,
    )
    keys, progress = read(model, of)
    assert {*range(100_045, 102_000)} <= {*keys}
    assert progress.contiguous
    assert progress.tail_rows == 0


class WarmingCache(Moving):
    """An API that fills a page for some milliseconds: requested again, it has more rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: Counter[int] = Counter()

    def keys_of_page(self, request: PageRequest) -> list[int]:
        first = int(request.token or 0)  # type: ignore[arg-type]
        self.asked[first] += 1
        return self.rows[first:][: min(request.limit, 40 + 10 * min(self.asked[first], 3))]

    def parsed(self, request: PageRequest, keys: list[int]) -> ParsedPage:
        page = super().parsed(request, keys)
        following = int(request.token or 0) + len(keys)  # type: ignore[arg-type]
        token = str(following) if following < len(self.rows) else None
        total = len(self.rows) if self.total_in_page else None
        return replace(page, info=PageInfo(len(keys), token=token, total=total))


@pytest.mark.parametrize(
    ("limit", "total"), [(100, False), (50, False), (100, True)], ids=["", "limit", "total"]
)
def test_named_pages_that_an_api_keeps_short_are_no_end_without_a_doubt_and_its_remedies_work(
    limit: int, total: bool
) -> None:
    model = WarmingCache([*range(3_000)], random.Random(1), counts=False, total_in_page=total)
    paging = TokenPaging(limit=limit, next="next", total="total" if total else None)
    pages = GrowingTail(ConfirmedEmptyPages(model, paging), model, paging, ("id",))
    keys, progress = read(model, SequentialReader(pages, paging, key=("id",), ahead=lambda: 1))
    is_mended = limit == 50 or total
    assert (keys == model.rows) is is_mended is progress.contiguous
    assert (progress.unproved is None) is is_mended
    assert is_mended or "a lower `paging.limit`, which each page fills" in str(progress.unproved)


class GrowingApi:
    """Sixty rows come with every request, behind all others, with cursors inside the window."""

    def __init__(self) -> None:
        self.rows = [*range(1, 1001)]
        self.requests = 0

    def _row(self, key: int) -> dict[str, Any]:
        at = datetime(2026, 11, 2, 1, tzinfo=UTC) + timedelta(seconds=key / 10)
        return {"id": key, "at": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}

    async def things(self, request: Request) -> Response:
        given = request.query_params
        self.requests += 1
        self.rows += range(self.rows[-1] + 1, self.rows[-1] + 61)
        first = int(given.get("offset", 0))
        rows = [self._row(key) for key in self.rows if key > int(given.get("after", 0))]
        since = given.get("since", "")
        rows = [row for row in rows if row["at"] >= since][first : first + 200]
        last = rows[-1]["id"] if rows else given.get("after", 0)
        link = f'<{str(request.url).split("?")[0]}?after={last}>; rel="next"'
        return JSONResponse(rows, headers={"Link": link, "Next": str(last)})


SERVED = {
    "keyset": ("kind: keyset, limit: 200", 'after: "{after}"'),
    "offset": ("kind: offset, limit: 200, overlap: false", 'offset: "{offset}"'),
    "token": ("kind: token, limit: 200, header: next", 'after: "{token}"'),
    "until_short": (
        "kind: token, limit: 200, header: next, until_short: true",
        'after: "{token}"',
    ),
    "link": ("kind: link, limit: 200", ""),
    "cursor": ("kind: cursor, limit: 200", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVED)
def test_an_api_whose_tail_grows_is_read_to_an_end_and_a_person_is_told(
    kind: str, lake: Lake
) -> None:
    paging, params = SERVED[kind]
    api = GrowingApi()
    with serving(Starlette(routes=[Route("/things", api.things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                request: {{params: {{since: "{{start}}", {params}}}}}
                window: {{end: none, resolution_s: 0.1, format: "%Y-%m-%dT%H:%M:%S.%fZ"}}
                paging: {{{paging}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    assert not outcome.failed
    (manifest,) = [receipt.manifest for receipt in outcome.results]
    keys = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert set(range(1, 1001)) <= set(keys)
    assert len(keys) == len({*keys})
    assert api.requests <= 40
    assert 0 < manifest.notes.tail_rows <= 60
    named = kind in ("token", "link")  # the API may have kept these pages short
    assert manifest.proof.contiguous is not (named or kind == "offset")
    assert ("left to the next partition" in manifest.notes.warning) is not named
    details = " ".join(check["detail"] for check in manifest.checks)
    assert ("each named another one" in details) is named
