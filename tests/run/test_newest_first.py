"""A feed in pages that comes newest first is read up to the first page older than the window."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

PAGE = 20
END = datetime(2026, 11, 10, tzinfo=UTC)


class Posts:
    """A post an hour for ``hours`` before ``END``, and on after it: the newest first."""

    def __init__(self) -> None:
        self.now = END
        self.hours = 240
        self.old_on_top: int | None = None
        self.changed: dict[int, str] = {}
        self.requests = 0
        self.refused: str | None = None
        self.app = Starlette(routes=[Route("/posts", self.answer)])

    def rows(self) -> list[dict[str, Any]]:
        made = [(n, END - timedelta(hours=self.hours - n)) for n in range(self.hours + 240)]
        rows = [
            {"id": n, "at": self.changed.get(n, at.isoformat().replace("+00:00", "Z"))}
            for n, at in made
            if at < self.now
        ][::-1]
        return rows if self.old_on_top is None else [rows[-1], *rows[:-1]]

    async def answer(self, request: Request) -> Response:
        self.requests += 1
        given = request.query_params
        if self.refused is not None and given.get("token") == self.refused:
            return JSONResponse({}, 403)
        first = int(given.get("token", PAGE * (int(given.get("page", 1)) - 1)))
        rows = self.rows()
        following = str(first + PAGE) if first + PAGE < len(rows) else None
        return JSONResponse({"rows": rows[first : first + PAGE], "next": following})


PAGINGS = {
    "token": ("{kind: token, limit: 20, next: next, numbered: false}", 'token: "{token}"'),
    "page": ("{kind: page, limit: 20}", 'page: "{page}"'),
}


def source_at(url: str, kind: str = "token", more: str = "") -> Source:
    paging, params = PAGINGS[kind]
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-05
        endpoints:
          posts:
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
            request: {{params: {{{params}}}}}
            window: {{start: none, end: none}}
            paging: {paging}
            rows: rows
            {more}
        """
    )


def read_day(api: Posts, source: Source, lake: Lake, day: int) -> tuple[Any, int]:
    """The day's manifest, and how many requests it took, on the night after it."""
    api.now, before = datetime(2026, 11, day + 1, 1, tzinfo=UTC), api.requests
    outcome, _ = outcome_of(source, lake, "posts", [f"2026-11-{day:02}"], api.now)
    assert not outcome.failed
    return outcome.results[0].manifest, api.requests - before


@pytest.mark.slow
def test_a_feed_that_has_come_newest_first_is_read_to_the_first_older_page(lake: Lake) -> None:
    api = Posts()
    with serving(api.app) as url:
        source = source_at(url)
        first, requests = read_day(api, source, lake, 5)
        assert (first.notes.newest_first, requests) == (True, 8)
        for day in (6, 7, 8):
            manifest, requests = read_day(api, source, lake, day)
            assert requests <= 4, "of 9 to 12 pages"
            assert manifest.proof.rests_on == "chain"
            assert all(check["passed"] for check in manifest.checks)
    ids = set(dataset(lake, "api", "posts").to_table()["id"].to_pylist())
    assert ids == {row["id"] for row in api.rows() if row["at"] < "2026-11-09"}


def test_a_feed_that_was_in_another_order_is_read_whole(lake: Lake) -> None:
    """Rows of the window may lie anywhere: here a row changes that is deep down in the feed."""
    api = Posts()
    with serving(api.app) as url:
        source = source_at(url)
        api.changed = {40: "2026-11-05T03:00:00Z"}
        manifest, _ = read_day(api, source, lake, 5)
        assert not manifest.notes.newest_first
        api.changed = {41: "2026-11-06T03:00:00Z"}
        manifest, requests = read_day(api, source, lake, 6)
        assert requests == 9
    assert 41 in dataset(lake, "api", "posts", "2026-11-06").to_table()["id"].to_pylist()


@pytest.mark.parametrize("kind", PAGINGS)
def test_the_yaml_may_say_so_and_a_pinned_row_on_top_makes_the_feed_be_read_whole(
    kind: str, lake: Lake
) -> None:
    api = Posts()
    with serving(api.app) as url:
        source = source_at(url, kind, "sort: newest_first")
        read_day(api, source, lake, 5)
        assert read_day(api, source, lake, 6)[1] <= 4
        api.old_on_top = 0
        manifest, requests = read_day(api, source, lake, 7)
        assert requests >= 10
        assert manifest.rows == 25


@pytest.mark.slow
def test_nine_days_of_a_long_feed_cost_at_most_four_requests_each(lake: Lake) -> None:
    """Read to its end every day, 150 pages a day, they would cost 1,350 requests."""
    api, pages = Posts(), 150
    with serving(api.app) as url:
        source = source_at(url, more="sort: newest_first")
        api.hours = 24 * 6 + PAGE * pages
        _, baseline = read_day(api, source, lake, 5)
        assert baseline > pages
        costs = [read_day(api, source, lake, day)[1] for day in range(6, 15)]
    assert max(costs) <= 4
    ids = dataset(lake, "api", "posts").to_table()["id"].to_pylist()
    assert {*ids} == {row["id"] for row in api.rows() if row["at"] < "2026-11-15"}


def test_a_resumed_feed_does_not_show_its_order_by_its_remainder(lake: Lake) -> None:
    """The row that is out of order came in the attempt before."""
    api = Posts()
    with serving(api.app) as url:
        source = source_at(url, more="batch_rows: 10")
        api.changed, api.refused = {220: "2026-11-05T03:00:00Z"}, "60"
        api.now = datetime(2026, 11, 6, 1, tzinfo=UTC)
        day = ["2026-11-05"]
        outcome, _ = outcome_of(source, lake, "posts", day, api.now, run_id="one")
        assert outcome.failed
        api.refused = None
        outcome, _ = outcome_of(source, lake, "posts", day, api.now, run_id="one", attempt=2)
        manifest = outcome.results[0].manifest
        assert manifest.resumed_pages
        assert not manifest.notes.newest_first
        api.changed = {41: "2026-11-06T03:00:00Z"}
        read_day(api, source, lake, 6)
    assert 41 in dataset(lake, "api", "posts", "2026-11-06").to_table()["id"].to_pylist()
