"""What a feed shows by its pages, in the order in which a reader takes them. A page that is
requested once more (a confirmation, an outage) shows nothing of it, and each value has its own."""

import hashlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.run.test_newest_first import Posts, read_day, source_at
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of


class Confirmed(Posts):
    """A feed whose last page names an empty one, which may come in an outage of a moment.

    :ivar away: so many pages are empty, from the next empty one on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away, self.is_away = 0, False
        self.app = Starlette(routes=[Route("/posts", self.send)])

    async def send(self, request: Request) -> Response:
        token = int(request.query_params.get("token", 0))
        rows = self.rows()[token : token + 20]
        self.requests += 1
        self.is_away |= not rows
        if self.is_away and self.away:
            self.away, rows = self.away - 1, []
            return JSONResponse({"rows": [], "next": None})
        return JSONResponse({"rows": rows, "next": str(token + 20) if rows else None})


@pytest.mark.parametrize("hours", [240, 237])
def test_the_confirmation_of_an_end_does_not_hide_the_order_of_a_feed(
    hours: int, lake: Lake
) -> None:
    api = Confirmed()
    api.hours = hours
    with serving(api.app) as url:
        first, _ = read_day(api, source_at(url), lake, 5)
        assert first.notes.newest_first
        manifest, requests = read_day(api, source_at(url), lake, 6)
    assert (manifest.rows, requests <= 4) == (25, True)


@pytest.mark.parametrize("away", [4, 5])
def test_an_outage_at_the_end_of_a_feed_does_not_hide_that_it_comes_in_another_order(
    away: int, lake: Lake
) -> None:
    """Its first page is requested once more, to see whether the API is there."""
    api = Confirmed()
    api.away = away
    with serving(api.app) as url:
        api.changed = {40: "2026-11-05T03:00:00Z"}
        manifest, _ = read_day(api, source_at(url), lake, 5)
        assert api.away == 0
        assert not manifest.notes.newest_first
        api.changed = {41: "2026-11-06T03:00:00Z"}
        read_day(api, source_at(url), lake, 6)
    at = {row["id"]: row["at"] for row in current(lake, "api", "posts").to_pylist()}
    assert at[41] == datetime(2026, 11, 6, 3, tzinfo=UTC)


class Tagged(Posts):
    """A feed whose pages have an ETag."""

    def __init__(self) -> None:
        super().__init__()
        self.app = Starlette(routes=[Route("/posts", self.send)])

    async def send(self, request: Request) -> Response:
        response = await self.answer(request)
        tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        response.headers["etag"] = tag
        return response


def test_a_feed_is_known_to_come_newest_first_after_a_day_in_which_nothing_was_new(
    lake: Lake,
) -> None:
    api, days = Tagged(), []
    with serving(api.app) as url:
        source = source_at(url, more="conditional: true")
        for day, until in ((5, 6), (6, 6), (7, 8), (8, 8), (9, 10)):
            api.now, before = datetime(2026, 11, until, tzinfo=UTC), api.requests
            now = datetime(2026, 11, day + 1, 1, tzinfo=UTC)
            outcome, _ = outcome_of(source, lake, "posts", [f"2026-11-{day:02}"], now)
            notes = outcome.results[0].manifest.notes
            days.append((notes.not_modified, notes.newest_first, api.requests - before <= 5))
    assert days[0] == (False, True, False)
    assert days[1:] == [(True, True, True), (False, True, True)] * 2


class Notes:
    """Notes of an issue in each of two repositories, whose issues have one number: newest first."""

    def __init__(self) -> None:
        self.refused, self.now = "", datetime(2026, 11, 1, tzinfo=UTC)
        self.app = Starlette(
            routes=[Route("/issues", self.issues), Route("/notes/{repo}/{issue}", self.notes)]
        )

    async def issues(self, request: Request) -> Response:
        return JSONResponse([{"repo": repo, "number": 1} for repo in "ab"])

    def ids(self, repo: str) -> list[str]:
        hours = (self.now - datetime(2026, 11, 1, tzinfo=UTC)) // timedelta(hours=1)
        return [f"{repo}{n}" for n in range(hours + 1)]

    async def notes(self, request: Request) -> Response:
        repo, first = request.path_params["repo"], int(request.query_params.get("token", 0))
        if repo == self.refused:
            return JSONResponse({}, 403)
        begin = datetime(2026, 11, 1, tzinfo=UTC)
        ids = self.ids(repo)[::-1]
        rows = [
            {"id": name, "at": (begin + timedelta(hours=int(name[1:]))).isoformat()}
            for name in ids[first : first + 5]
        ]
        following = str(first + 5) if ids[first + 5 :] else None
        return Response(orjson.dumps({"rows": rows, "next": following}))


def notes_at(url: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        endpoints:
          issues: {{key: [repo, number], columns: {{repo: string, number: int64}}, whole: true}}
          notes:
            path: "notes/{{parent.repo}}/{{parent}}"
            key: [repo, id]
            cursor: at
            sort: newest_first
            safety_margin_s: 0
            columns: {{id: string, at: "timestamp[iso]", repo: {{type: string, from: parent.repo}}}}
            parents: {{endpoint: issues, column: number, max_failed_share: 0.6, concurrency: 1}}
            request: {{params: {{token: "{{token}}"}}}}
            window: {{start: none, end: none}}
            paging: {{kind: token, limit: 5, next: next, numbered: false}}
            rows: rows
        """
    )


@pytest.mark.parametrize("refused", ["a", "b"])
def test_parents_that_another_column_tells_apart_have_a_feed_each(refused: str, lake: Lake) -> None:
    """One could not be read for two days: it is read from further back than the other."""
    api = Notes()
    with serving(api.app) as url:
        source = notes_at(url)
        for day in range(1, 5):
            api.now = datetime(2026, 11, day + 1, 2, tzinfo=UTC)
            api.refused = refused if day in (2, 3) else ""
            for endpoint in ("issues", "notes"):
                outcome, _ = outcome_of(source, lake, endpoint, [f"2026-11-0{day}"], api.now)
                assert not outcome.failed
    ids = {*current(lake, "api", "notes")["id"].to_pylist()}
    assert ids == {f"{repo}{n}" for repo in "ab" for n in range(96)}
    checks = {check["name"]: check for check in outcome.results[0].manifest.checks}
    assert checks["feed_reaches_back"]["detail"] == "2 feeds reach back to before the window"


@pytest.mark.parametrize(
    ("kind", "place"), [("keyset", "after"), ("offset", "offset"), ("token", "token")]
)
def test_the_empty_feed_of_a_value_is_said_to_be_empty(kind: str, place: str, lake: Lake) -> None:
    async def send(request: Request) -> Response:
        return JSONResponse({"rows": [], "next": None})

    with serving(Starlette(routes=[Route("/sales", send)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-05
            endpoints:
              sales:
                key: [id]
                cursor: at
                columns: {{id: int64, shop: string, at: "timestamp[iso]"}}
                each: {{values: [a, b], column_here: shop}}
                request: {{params: {{shop: "{{each}}", place: "{{{place}}}"}}}}
                window: {{start: none, end: none}}
                paging: {{kind: {kind}, limit: 20{", next: next" if kind == "token" else ""}}}
                rows: rows
            """
        )
        for day in (5, 6):
            now = datetime(2026, 11, day + 1, 1, tzinfo=UTC)
            outcome, _ = outcome_of(source, lake, "sales", [f"2026-11-{day:02}"], now)
            assert not outcome.failed
    (manifest,) = [receipt.manifest for receipt in outcome.results]
    checks = {check["name"]: check["detail"] for check in manifest.checks}
    said = "of 2 feeds 2 may have lost rows: a, b. the feed is empty"
    assert said in checks["feed_reaches_back"]
