"""Where an earlier try stopped may be no place to go on from: a token, a link or a parent that was
refused then or is refused now must not fail every try to come."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import (
    ApiUnavailable,
    ContractBroken,
    HeadraceError,
    ReadAnew,
    RequestRefused,
)
from pipeline.lake.checkpoint import load, save
from pipeline.lake.files import key_rows
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS, PAGE = 60, 10
PARAMS = {"token": "{token: '{token}'}", "link": "{}"}


class Api:
    """60 things in a chain of pages. What was given before ``session`` changed is known no more."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.session = 1
        self.dead_answer: tuple[int, Any] = (410, {"message": "the cursor has expired"})
        self.refused: tuple[int, ...] = ()
        self.ends: int | None = None
        self.moved = 0
        self.asked: list[int] = []
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        session, _, first = request.query_params.get("token", f"{self.session}-0").partition("-")
        self.asked.append(int(first))
        if self.refused:
            return JSONResponse({"message": "not today"}, self.refused[0])
        if int(session) != self.session:
            status, said = self.dead_answer
            return JSONResponse(said, status)
        if self.ends is not None and int(first) >= self.ends:
            return JSONResponse({"message": "out of order"}, 500)
        last = min(ROWS, int(first) + PAGE)
        token = f"{self.session}-{last}" if last < ROWS else None
        link = f"{request.base_url}things?token={token}" if token else None
        rows = [{"id": n - self.moved} for n in range(int(first), last)]
        return JSONResponse({"rows": rows, "next": link if self.kind == "link" else token})


def source_at(url: str, kind: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          things:
            key: [id]
            columns: {{id: int64}}
            request: {{params: {PARAMS[kind]}}}
            paging: {{kind: {kind}, next: next, limit: {PAGE}}}
            rows: rows
            errors_at: error
            batch_rows: {2 * PAGE}
        """
    )


def error_of(source: Source, lake: Lake) -> HeadraceError:
    outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    assert not outcome.results
    return outcome.failed[0].error


def check_all(source: Source, lake: Lake) -> Any:
    (manifest,) = extract(source, lake, "things", DAY, NOW)
    read = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(read) == list(range(ROWS))
    return manifest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["token", "link"])
@pytest.mark.parametrize(
    "dead",
    [
        (400, {"message": "no such cursor"}),
        (404, {"message": "not found"}),
        (410, {"message": "the cursor has expired"}),
        (200, {"rows": [], "error": "the cursor has expired"}),
        (200, {"message": "the cursor has expired"}),
    ],
)
def test_what_has_expired_since_the_try_before_is_begun_again(
    kind: str, dead: tuple[int, Any], lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(kind)
    api.dead_answer = dead
    with serving(api.app) as url:
        source = source_at(url, kind)
        api.ends = 40
        assert isinstance(error_of(source, lake), ApiUnavailable)
        api.ends, api.session, api.asked = None, 2, []
        with caplog.at_level(logging.WARNING, "headrace.run"):
            manifest = check_all(source, lake)
    assert set(api.asked[: api.asked.index(0)]) == {40}, "it was gone on with first"
    assert manifest.resumed_pages == 0
    [said] = [r.getMessage() for r in caplog.records if r.name == "headrace.run"]
    assert said.startswith("api/things 2026-11-02: cannot resume, restarting from the first page")
    assert "the cursor has expired" in said or str(dead[0]) in said


@pytest.mark.parametrize("kind", ["token", "link"])
def test_what_is_refused_from_the_beginning_too_is_said_and_what_is_staged_stays(
    kind: str, lake: Lake
) -> None:
    api = Api(kind)
    with serving(api.app) as url:
        source = source_at(url, kind)
        api.ends = 40
        error_of(source, lake)
        for _ in range(2):
            api.ends, api.refused, api.asked = None, (403,), []
            error = error_of(source, lake)
            assert isinstance(error, RequestRefused)
            assert "403: " in str(error)
            assert "not today" in str(error)
            assert api.asked == [40, 0]
        api.refused, api.asked = (), []
        assert check_all(source, lake).resumed_pages == 4
    assert api.asked == [40, 50]


def test_rows_that_another_version_staged_are_read_anew(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api("token")
    with serving(api.app) as url:
        source = source_at(url, "token")
        api.ends = 40
        error_of(source, lake)
        place = PartitionPaths("api", "things", DAY[0])
        stored = load(lake, place)
        assert stored is not None
        assert stored.checkpoint is not None
        *_, last = stored.checkpoint.batches
        assert isinstance(last.progress, dict)
        last.progress["position"]["version"] += 1
        save(lake, place, stored.checkpoint.next(), replaces=stored.etag)
        api.ends, api.asked = None, []
        with caplog.at_level(logging.WARNING, "headrace.run"):
            manifest = check_all(source, lake)
    assert api.asked == [0, 10, 20, 30, 40, 50]
    assert manifest.resumed_pages == 0
    [warning] = [r.getMessage() for r in caplog.records if r.name == "headrace.run"]
    assert "another version of Headrace staged its rows" in warning


def test_a_link_that_was_changed_in_a_checkpoint_gets_no_credentials(lake: Lake) -> None:
    """Who may write to the lake need not know the API's key."""
    api, evil = Api("link"), Api("link")
    with serving(api.app) as url, serving(evil.app) as elsewhere:
        source = source_at(url, "link")
        api.ends = 40
        error_of(source, lake)
        place = PartitionPaths("api", "things", DAY[0])
        stored = load(lake, place)
        assert stored is not None
        assert stored.checkpoint is not None
        *_, last = stored.checkpoint.batches
        text = json.dumps(last.progress)
        assert url in text
        changed = json.loads(text.replace(url, elsewhere))
        assert isinstance(last.progress, dict)
        last.progress.clear()
        last.progress.update(changed)
        save(lake, place, stored.checkpoint.next(), replaces=stored.etag)
        api.ends, api.asked = None, []
        assert check_all(source, lake).resumed_pages == 0
    assert evil.asked == []
    assert api.asked == [0, 10, 20, 30, 40, 50]


def test_a_refusal_behind_the_first_page_is_no_stale_position(lake: Lake) -> None:
    """What is staged stays, and nothing is asked for a second time."""
    api = Api("token")
    with serving(api.app) as url:
        source = source_at(url, "token")
        api.ends = 20
        error_of(source, lake)
        api.ends, api.asked = None, []

        async def refuse_later(request: Request) -> Response:
            if len(api.asked) == 1:
                api.refused = (403,)
            return await Api.answer(api, request)

        api.app.router.routes[:] = [Route("/things", refuse_later)]
        assert isinstance(error_of(source, lake), RequestRefused)
    assert api.asked == [20, 30]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["token", "link"])
def test_a_row_that_is_staged_and_comes_again_costs_a_retry_and_no_more(
    kind: str, lake: Lake
) -> None:
    """Two rows were inserted before the seam meanwhile: the last two that are staged come again."""
    api = Api(kind)
    with serving(api.app) as url:
        source = source_at(url, kind)
        api.ends = 40
        error_of(source, lake)
        api.ends, api.moved = None, PAGE + 2
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        [failed] = outcome.failed
        assert isinstance(failed.error, ReadAnew)
        assert "keys_unique" in str(failed.error)
        assert outcome.retry_wait_s is not None
        api.asked.clear()
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert (manifest.rows, manifest.resumed_pages, api.asked[0]) == (ROWS, 0, 0)


@pytest.mark.slow
def test_a_parent_that_failed_in_the_try_before_is_asked_again(lake: Lake) -> None:
    """Its failure is kept with what is staged, and would be held against every try to come."""
    sick = {3}

    async def posts(request: Request) -> Response:
        return JSONResponse([{"id": n} for n in range(8)])

    async def likes(request: Request) -> Response:
        post = int(request.path_params["post"])
        if post in sick:
            return JSONResponse({"message": "locked"}, 403)
        return JSONResponse([{"id": post * 10 + n} for n in range(5)])

    app = Starlette(routes=[Route("/posts", posts), Route("/posts/{post}/likes", likes)])
    with serving(app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              posts: {{key: [id], columns: {{id: int64}}}}
              things:
                path: posts/{{parent}}/likes
                key: [id]
                columns: {{id: int64}}
                batch_rows: 10
                parents: {{endpoint: posts, concurrency: 1}}
            """
        )
        extract(source, lake, "posts", DAY, NOW)
        assert isinstance(error_of(source, lake), ContractBroken)
        assert "1 of 8 parents failed" in str(error_of(source, lake)), "asked again, and still sick"
        sick.clear()
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert manifest.rows == 40
    assert manifest.notes.parents["failed"] == 0
