"""A sick API answers an empty page with status 200 or 204, once: it ends nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = ["2026-11-02"]
ROWS = [{"id": n, "at": "2026-11-02T05:00:00Z"} for n in range(47)]


def page(first: int, url: str) -> tuple[list[Any], dict[str, str]]:
    """Ten rows and where the next ones are, if there are any."""
    rows, after = ROWS[first : first + 10], first + 10
    if after >= len(ROWS):
        return rows, {}
    link = f'<{url.split("?")[0]}?first={after}>; rel="next"'
    return rows, {"Link": link, "Next": str(after)}


class Sick:
    """An API whose answers for these first rows are empty, and name no next page, for once."""

    def __init__(self, *sick: int, status: int = 200) -> None:
        self.sick, self.status, self.asked = list(sick), status, [0]

    async def things(self, request: Request) -> Response:
        given = request.query_params
        first = int(given.get("first", 10 * (int(given.get("page", 1)) - 1)))
        self.asked.append(first)
        if first in self.sick:
            self.sick.remove(first)
            return JSONResponse([]) if self.status == 200 else Response(status_code=self.status)
        rows, headers = page(first, str(request.url))
        return JSONResponse(rows, headers=headers)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/things", self.things)])


def source_at(url: str, paging: str, more: str = "", whole: str = "") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001}}
        endpoints:
          things:
            request: {{params: {{since: "{{start}}", until: "{{end}}"{more}}}}}
            paging: {{{paging}}}
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
            {whole}
        """
    )


PAGINGS = {
    "link": ("kind: link, limit: 10", ""),
    "token": ("kind: token, limit: 10, header: next", ', first: "{token}"'),
    "page": ("kind: page, limit: 10", ', page: "{page}"'),
}


@pytest.mark.parametrize("sick", [(0,), (20,), (40,), (0, 10, 20, 30, 40)])
@pytest.mark.parametrize("kind", PAGINGS)
@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_page_that_comes_for_once_ends_no_chain(
    lake: Lake, kind: str, status: int, sick: tuple[int, ...]
) -> None:
    with serving(Sick(*sick, status=status).app()) as url:
        outcome, _ = outcome_of(source_at(url, *PAGINGS[kind]), lake, "things", DAYS, NOW)
    (receipt,) = outcome.results
    rows = key_rows(lake, receipt.manifest.files, ["id"])
    assert sorted(rows["id"].to_pylist()) == list(range(47))


class CutOff:
    """Pages of ten rows that name the next one; the last full one is cut off, and empty pages
    follow, until a page that came is requested again."""

    def __init__(self, rows: int) -> None:
        self.rows, self.away, self.requests = ROWS[:rows], False, list[int]()

    async def things(self, request: Request) -> Response:
        first = int(request.query_params.get("first", 0))
        self.away = self.away and first not in self.requests
        rows = [] if self.away else self.rows[first : first + 10]
        if first == 30 and first not in self.requests:
            self.away, rows = True, rows[:3]
        self.requests.append(first)
        return JSONResponse(rows, headers={"Next": str(first + 10)} if rows else {})


@pytest.mark.parametrize("rows", [38, 40, 47])
def test_a_page_that_was_cut_off_before_an_empty_one_is_read_again(lake: Lake, rows: int) -> None:
    api = CutOff(rows)
    with serving(Starlette(routes=[Route("/things", api.things)])) as url:
        source = source_at(url, *PAGINGS["token"])
        manifest = extract(source, lake, "things", DAYS, NOW)[0]
    assert manifest.rows == rows


def test_all_in_one_answer_is_not_nothing_since_one_answer_was_empty(lake: Lake) -> None:
    api = Sick(0)
    with serving(api.app()) as url:
        source = source_at(url, "kind: none", whole="whole: true")
        assert extract(source, lake, "things", DAYS, NOW)[0].rows == 10
        api.sick = [0, 0, 0]  # twice, and where it had rows
        assert extract(source, lake, "things", DAYS, NOW)[0].rows == 10, "it had rows before"


def test_a_status_that_says_that_there_is_nothing_is_confirmed_once(lake: Lake) -> None:
    asked = []

    async def things(request: Request) -> Response:
        asked.append(str(request.url))
        return Response(status_code=204)

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        assert extract(source_at(url, "kind: none"), lake, "things", DAYS, NOW)[0].rows == 0
    assert len(asked) == 2


def test_parents_without_children_are_asked_once(lake: Lake) -> None:
    asked = []

    async def things(request: Request) -> Response:
        return JSONResponse(ROWS[:3])

    async def parts(request: Request) -> Response:
        asked.append(request.query_params["of"])
        return JSONResponse([])

    routes = [Route("/things", things), Route("/parts", parts)]
    with serving(Starlette(routes=routes)) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
              parts:
                request: {{params: {{of: "{{parent}}"}}}}
                key: [id]
                parents: {{endpoint: things}}
            """
        )
        outcome, _ = outcome_of(source, lake, ["things", "parts"], DAYS, NOW)
    assert not outcome.failed
    assert sorted(asked) == ["0", "1", "2"]
